// Threads write through one number while another makes it stand for the file "free" and for the file "held" in turn,
// with dup2 or dup3. Somebody else holds all of "held": a write that ends there must have waited, or be refused.
// argv: the directory, whether "free" is used in both modes too, what to replace with (0: dup2, 1: dup3, 2: freopen).
#include "hazard.h"
#include <pthread.h>
#include <stdatomic.h>

enum { WRITERS = 3, SECONDS = 1 };

static int number;
static atomic_int over;
static atomic_long done, refused;

static void *writer(void *argument) {
    (void)argument;
    char *page = filled(PAGE, 'x');
    while (!over) {
        if (pwrite(number, page, PAGE, 0) == PAGE)
            done++;
        else
            refused += errno == EDEADLK;
    }
    free(page);
    return NULL;
}

int main(int argc, char **argv) {
    (void)argc;
    int mixed = atoi(argv[2]), how = atoi(argv[3]);
    char *names[2] = {path_in(argv[1], "free"), path_in(argv[1], "held")};
    int fds[2];
    for (int i = 0; i < 2; i++) {
        fds[i] = MUST(open(names[i], O_RDWR));
        if (i || mixed)
            MUST(dup(MUST(open(names[i], O_RDWR | O_DIRECT)))); // so that it is known
    }
    FILE *stream = fopen(names[0], "r+");
    number = how == 2 ? fileno(stream) : MUST(dup(fds[0]));
    pthread_t threads[WRITERS];
    for (int i = 0; i < WRITERS; i++)
        pthread_create(&threads[i], NULL, writer, NULL);
    long turns = 0;
    double end = now() + SECONDS;
    for (long i = 0; now() < end; i++) {
        for (int to = 1; to >= 0; to--) {
            if (how == 2 && !freopen(names[to], "r+", stream))
                MUST(-1);
            if (how < 2)
                MUST(how ? dup3(fds[to], number, O_CLOEXEC) : dup2(fds[to], number));
            turns++;
            if (i % 32 == 0)
                usleep(to ? 3000 : 200);
        }
    }
    over = 1;
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    fprintf(stderr, "%ld turns, %ld done, %ld refused\n", turns, (long)done, (long)refused);
    say("done %d, refused %d", done > 100, refused > 2);
}
