// A program under RLIMIT_FSIZE (what `ulimit -f` sets) that keeps to it, and breaks it once at the end: the signal for
// that is the only one it may see. MODE: "default", "handled", "ignored", or "pending" (one is pending all the while).
#include "hazard.h"

static volatile sig_atomic_t seen;

static void handler(int signal) {
    (void)signal;
    seen++;
}

static int is_pending(void) {
    sigset_t set;
    sigpending(&set);
    return sigismember(&set, SIGXFSZ);
}

static void use_both_ways(const char *dir) {
    struct both file = open_both(dir, "data");
    char *page = filled(PAGE, 'b'), *back = filled(PAGE, 0);
    for (int i = 0; i < 8; i++) {
        MUST(pwrite(file.buffered, page, PAGE, i * PAGE));
        MUST(pread(file.direct, back, PAGE, i * PAGE));
        MUST(pwrite(file.direct, page, PAGE, i * PAGE));
    }
    say("data %s", all(back, PAGE, 'b') ? "right" : "wrong");
}

// Writes that end at the limit, beyond it, and begin there, beside a mapping and without one.
static void up_to_the_limit(const char *dir) {
    struct rlimit limit;
    MUST(getrlimit(RLIMIT_FSIZE, &limit));
    off_t end = limit.rlim_cur & ~(off_t)(PAGE - 1);
    char *pages = filled(4 * PAGE, 'e');
    for (int mapped = 0; mapped < 2; mapped++) {
        struct both file = open_both(dir, mapped ? "mapped" : "plain");
        if (mapped)
            map_page(file.buffered, end - PAGE);
        SAY(pwrite(file.direct, pages, 4 * PAGE, end - 2 * PAGE));
        SAY(pwrite(file.buffered, pages, 4 * PAGE, end - PAGE));
        say("signals: %d", (int)seen);
        SAY(pwrite(file.direct, pages, PAGE, end));
        SAY(pwrite(file.buffered, pages, PAGE, end));
        SAY(ftruncate(file.buffered, end + PAGE));
        say("signals: %d", (int)seen);
    }
}

int main(int argc, char **argv) {
    const char *mode = argc > 2 ? argv[2] : "default";
    if (!strcmp(mode, "handled"))
        signal(SIGXFSZ, handler);
    if (!strcmp(mode, "ignored"))
        signal(SIGXFSZ, SIG_IGN);
    if (!strcmp(mode, "pending")) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGXFSZ);
        sigprocmask(SIG_BLOCK, &set, NULL);
        pthread_kill(pthread_self(), SIGXFSZ);
    }
    use_both_ways(argv[1]);
    say("signals: %d, pending: %d", (int)seen, is_pending());
    if (!strcmp(mode, "handled"))
        up_to_the_limit(argv[1]);
    if (!strcmp(mode, "default")) {
        int fd = MUST(open(path_in(argv[1], "own"), O_RDWR | O_CREAT, 0600));
        SAY(pwrite(fd, "x", 1, 1L << 40));
    }
    return 0;
}
