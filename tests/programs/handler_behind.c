// A handler's call that comes while others wait for what its thread is doing: it is behind nobody who waits for itself.
#include "hazard.h"
#include <stdatomic.h>

enum { CALL = 96 << 20, ROUNDS = 4 };

static struct both file;
static pthread_t writer;
static char *page;
static atomic_int writing, errors, handled;

static void handler(int signal) {
    (void)signal;
    int error = errno;
    // Not what the thread writes, but what the reader wants that waits for it.
    if (pwrite(file.buffered, page, PAGE, CALL + (4 << 20)) != PAGE)
        errors++;
    handled++;
    errno = error;
}

static void *reader(void *arg) {
    (void)arg;
    char *seen = filled(8 << 20, 0);
    if (pread(file.direct, seen, 8 << 20, CALL - (1 << 20)) < 0)
        errors++;
    free(seen);
    return NULL;
}

static void *others(void *arg) {
    (void)arg;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t waits;
        while (writing == round)
            usleep(100);
        usleep(1000);
        MUST(pthread_create(&waits, NULL, reader, NULL));
        usleep(10000);
        MUST(pthread_kill(writer, SIGUSR1));
        MUST(pthread_join(waits, NULL));
    }
    return NULL;
}

int main(int argc, char **argv) {
    (void)argc;
    file = open_both(argv[1], "f");
    page = filled(PAGE, 'h');
    char *much = filled(CALL, 'w');
    MUST(ftruncate(file.buffered, CALL + (8 << 20)));
    writer = pthread_self();
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    MUST(sigaction(SIGUSR1, &action, NULL));
    pthread_t thread;
    MUST(pthread_create(&thread, NULL, others, NULL));
    for (int round = 0; round < ROUNDS; round++) {
        writing++;
        for (int done = 0; done < CALL;)
            done += MUST(pwrite(file.buffered, much + done, CALL - done, done));
        while (handled == round)
            usleep(100);
    }
    MUST(pthread_join(thread, NULL));
    say("handled %d, errors %d", handled, errors);
}
