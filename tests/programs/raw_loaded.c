// A library that is loaded while the program runs, and again, makes system calls of its own. With "threads" others load it,
// too, at the same time.
#include "raw.h"
#include <dlfcn.h>

static const char *library;
static int direct;

static void *use(void *unused) {
    static char page[PAGE] __attribute__((aligned(PAGE)));
    for (int i = 0; i < 5; i++) {
        void *handle = dlopen(library, RTLD_NOW);
        long (*writes)(long, const void *, long, long) = dlsym(handle, "writes_raw");
        printf("written by a library: %ld\n", writes(direct, page, PAGE, 0));
        dlclose(handle);
    }
    return unused;
}

int main(int count, char **arguments) {
    const char *file = path_in(arguments[1], "file");
    static char page[PAGE];
    library = arguments[2];
    int buffered = MUST(open(file, O_RDWR | O_CREAT | O_TRUNC, 0600));
    direct = MUST(open(file, O_RDWR | O_DIRECT));
    MUST(pwrite(buffered, page, PAGE, PAGE));
    pthread_t threads[4];
    for (int i = 0; count > 3 && i < 4; i++)
        if (pthread_create(&threads[i], NULL, use, NULL))
            abort();
    use(NULL);
    for (int i = 0; count > 3 && i < 4; i++)
        pthread_join(threads[i], NULL);
}
