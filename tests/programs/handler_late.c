// A handler that uses files is installed while other threads open and close theirs, and comes at once: in children, of which
// each begins like its parent, which has had none for long. handler_late DIR
#include "hazard.h"

enum { CHILDREN = 200, THREADS = 2, SIGNALS = 50 };

static char *own[THREADS], *handlers;
static volatile int stop;
static volatile long handled;

static void use(const char *path) {
    char byte = 'b';
    int fd = MUST(open(path, O_RDWR));
    MUST(pwrite(fd, &byte, 1, 0));
    MUST(close(fd));
}

static void *uses(void *path) {
    while (!stop)
        use(path);
    return NULL;
}

static void handler(int number) {
    int error = errno;
    (void)number;
    use(handlers);
    __sync_fetch_and_add(&handled, 1);
    errno = error;
}

extern __sighandler_t bsd_signal(int, __sighandler_t);

// By a different door each time.
static void install(int turn) {
    struct sigaction action = {.sa_handler = handler};
    if (turn % 3 == 0)
        MUST(sigaction(SIGUSR1, &action, NULL));
    else if (turn % 3 == 1)
        signal(SIGUSR1, handler);
    else
        bsd_signal(SIGUSR1, handler);
}

static void child(int turn) {
    pthread_t threads[THREADS];
    alarm(20); // one that waits for itself
    for (int i = 0; i < THREADS; i++)
        MUST(-pthread_create(&threads[i], NULL, uses, own[i]));
    usleep(200 + turn * 7 % 500);
    install(turn);
    for (int i = 0; i < SIGNALS; i++)
        MUST(-pthread_kill(threads[i % THREADS], SIGUSR1));
    stop = 1;
    for (int i = 0; i < THREADS; i++)
        MUST(-pthread_join(threads[i], NULL));
    _exit(handled ? 0 : 1);
}

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    handlers = path_in(argv[1], "handlers");
    MUST(close(MUST(creat(handlers, 0644))));
    for (int i = 0; i < THREADS; i++) {
        own[i] = path_in(argv[1], i ? "second" : "first");
        MUST(close(MUST(creat(own[i], 0644))));
        for (int turn = 0; turn < 100; turn++)
            use(own[i]);
    }
    int well = 0;
    for (int turn = 0; turn < CHILDREN; turn++) {
        pid_t pid = MUST(fork());
        int status = 0;
        if (pid == 0)
            child(turn);
        MUST(waitpid(pid, &status, 0));
        well += status == 0;
        if (status) {
            say("child %d: status %x", turn, status);
            break;
        }
    }
    say("children that ended well: %d", well);
    return 0;
}
