// A thread that has been there while a hundred modules with thread-local variables were loaded: where the library kept
// its own as they do, its next call would allocate. The program's allocator is its own, and counts. With -DLIB it is
// such a module.
#ifdef LIB
__thread int of_a_thread = 1;
int *mine(void) { return &of_a_thread; }
#else
#include "hazard.h"
#include <dlfcn.h>

enum { MODULES = 100, HEAD = 16 };

static char heap[64 << 20] __attribute__((aligned(PAGE)));
static size_t used;
static volatile int counts, counted, go;

static void *taken(size_t size, size_t alignment) {
    if (counts)
        counted++;
    size_t room = size + alignment + HEAD, at = __atomic_fetch_add(&used, (room + 15) / 16 * 16, __ATOMIC_SEQ_CST);
    if (at + room > sizeof heap)
        abort();
    size_t place = ((size_t)heap + at + HEAD + alignment - 1) / alignment * alignment;
    ((size_t *)place)[-1] = size;
    return (void *)place;
}

void *malloc(size_t size) { return taken(size, 16); }
void *calloc(size_t n, size_t size) { return taken(n * size, 16); }
void *memalign(size_t alignment, size_t size) { return taken(size, alignment); }
void *aligned_alloc(size_t alignment, size_t size) { return taken(size, alignment); }
void free(void *at) { (void)at; }

int posix_memalign(void **at, size_t alignment, size_t size) {
    *at = taken(size, alignment);
    return 0;
}

void *realloc(void *at, size_t size) {
    void *larger = taken(size, 16);
    if (at)
        memcpy(larger, at, ((size_t *)at)[-1] < size ? ((size_t *)at)[-1] : size);
    return larger;
}

static struct both file;

static void *caller(void *page) {
    while (!go)
        usleep(1000);
    counts = 1;
    ssize_t n = pwrite(file.direct, page, PAGE, PAGE) + pwrite(file.buffered, page, PAGE, 2 * PAGE);
    n += pread(file.direct, page, PAGE, PAGE);
    counts = 0;
    return (void *)n;
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    file = open_both(argv[1], "f");
    pthread_t thread;
    pthread_create(&thread, NULL, caller, filled(PAGE, 't'));
    char command[3 * PATH_MAX], name[PATH_MAX];
    for (int i = 0; i < MODULES; i++) {
        snprintf(name, sizeof name, "%s/m%d.so", argv[1], i);
        snprintf(command, sizeof command, "cp %s %s", argv[2], name);
        if (system(command) || !dlopen(name, RTLD_NOW))
            exit(98);
    }
    go = 1;
    void *n;
    pthread_join(thread, &n);
    say("moved %ld, allocated %d times", (long)n, counted);
    return 0;
}
#endif
