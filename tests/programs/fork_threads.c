// Forks while other threads are inside calls on the same file: nothing of theirs may be locked,
// waited for or undone in the child.
#include "hazard.h"

static struct both file;
static volatile int stop;

static void *worker(void *argument) {
    long slot = (long)argument;
    char *page = filled(PAGE, 'a' + slot), *seen = filled(PAGE, 0);
    int fd = slot % 2 ? file.direct : file.buffered;
    long wrong = 0;
    while (!stop) {
        MUST(pwrite(fd, page, PAGE, slot * PAGE));
        MUST(pread(fd, seen, PAGE, slot * PAGE));
        wrong += !all(seen, PAGE, 'a' + slot);
    }
    return (void *)wrong;
}

static int child(int n) {
    alarm(20);
    off_t at = (off_t)(16 + n) * PAGE;
    char *page = filled(PAGE, 'A' + n % 26), *seen = filled(PAGE, 0);
    MUST(pwrite(file.direct, page, PAGE, at));
    MUST(pread(file.buffered, seen, PAGE, at));
    if (!all(seen, PAGE, 'A' + n % 26))
        return 1;
    MUST(pwrite(file.buffered, page, PAGE, at));
    MUST(pread(file.direct, seen, PAGE, at));
    return all(seen, PAGE, 'A' + n % 26) ? 0 : 1;
}

int main(int argc, char **argv) {
    (void)argc;
    file = open_both(argv[1], "f");
    pthread_t threads[4];
    for (long i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, worker, (void *)i);
    int bad = 0;
    for (int n = 0; n < 100; n++) {
        pid_t pid = MUST(fork());
        if (pid == 0)
            _exit(child(n));
        int status = 0;
        MUST(waitpid(pid, &status, 0));
        bad += status != 0;
    }
    stop = 1;
    long wrong = 0;
    for (int i = 0; i < 4; i++) {
        void *result = NULL;
        pthread_join(threads[i], &result);
        wrong += (long)result;
    }
    say("children that failed: %d", bad);
    say("threads that read something else: %ld", wrong);
}
