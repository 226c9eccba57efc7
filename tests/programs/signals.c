// A handler that does I/O while its thread is inside I/O on the same range, and one that jumps
// out: nobody waits for himself, and nothing stays locked.
#include "hazard.h"
#include <setjmp.h>
#include <sys/time.h>

static struct both file;
static char *handler_page, *handler_seen;
static volatile sig_atomic_t handled, wrong;
static sigjmp_buf out;
static volatile sig_atomic_t jump;

static void handler(int signal) {
    (void)signal;
    int error = errno;
    // The next page: another byte range, but within what a direct write excludes.
    if (pwrite(file.buffered, handler_page, PAGE, PAGE) != PAGE)
        wrong = 1;
    if (pread(file.direct, handler_seen, PAGE, PAGE) != PAGE || !all(handler_seen, PAGE, 'h'))
        wrong = 2;
    if (pwrite(file.direct, handler_page, PAGE, 2 * PAGE) != PAGE)
        wrong = 3;
    handled++;
    errno = error;
    if (jump && handled % 3 == 0)
        siglongjmp(out, 1);
}

static void series(const char *what, int fd, int interval) {
    char *page = filled(PAGE, 'w'), *seen = filled(PAGE, 0);
    volatile int lost = 0, armed_for = -1;
    handled = wrong = 0;
    struct itimerval timer = {{0, 0}, {0, interval}}, none = {{0, 0}, {0, 0}};
    double end = now() + 20;
    sigsetjmp(out, 1);
    while (handled < 200 && now() < end) {
        // One signal at a time: where I/O takes longer than the interval, handlers alone would run, for ever.
        if (armed_for != handled) {
            armed_for = handled;
            MUST(setitimer(ITIMER_REAL, &timer, NULL));
        }
        if (pwrite(fd, page, PAGE, 0) != PAGE || pread(fd, seen, PAGE, 0) != PAGE || !all(seen, PAGE, 'w'))
            lost++;
    }
    MUST(setitimer(ITIMER_REAL, &none, NULL));
    say("%s: handled %s, handler's errors %d, lost %d", what, handled >= 200 ? "all" : "too few", (int)wrong, lost);
    // What a jump left behind is given back by the thread's next call.
    MUST(pread(file.buffered, seen, PAGE, 3 * PAGE));
    say_free(file.path, 0);
    free(page);
    free(seen);
}

int main(int argc, char **argv) {
    (void)argc;
    file = open_both(argv[1], "f");
    handler_page = filled(PAGE, 'h');
    handler_seen = filled(PAGE, 0);
    MUST(pwrite(file.buffered, handler_page, PAGE, PAGE));
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    MUST(sigaction(SIGALRM, &action, NULL));
    series("buffered", file.buffered, 1000);
    series("direct", file.direct, 1000);
    char *map = map_page(file.buffered, 3 * PAGE);
    map[0] = 'm';
    series("beside a mapping", file.direct, 2000);
    munmap(map, PAGE);
    jump = 1;
    series("jumping out, buffered", file.buffered, 1000);
    series("jumping out, direct", file.direct, 1000);
}
