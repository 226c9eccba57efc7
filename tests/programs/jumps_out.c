// A signal handler jumps out of direct calls that look, fall back and register, some thousand times. Afterwards nothing
// is left of them: direct writes go directly again, dup2 onto the library's numbers is quick, other processes get in.
#include "hazard.h"
#include <setjmp.h>
#include <sys/time.h>

enum { LIMIT = 1200 };

static sigjmp_buf home;
static volatile sig_atomic_t jumps, armed;

static void handler(int signal) {
    (void)signal;
    if (armed) {
        jumps++;
        siglongjmp(home, 1);
    }
}

int main(int argc, char **argv) {
    (void)argc;
    struct both file = open_both(argv[1], "f");
    char *page = filled(PAGE, 'j'), *map = map_page(file.buffered, PAGE);
    char *into = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file.buffered, 64 * PAGE);
    char *spot = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(sigaction(SIGALRM, &(struct sigaction){.sa_handler = handler}, NULL));
    struct itimerval often = {{0, 150}, {0, 150}}, never = {{0, 0}, {0, 0}};
    volatile unsigned turn = 0;
    double end = now() + 3;
    sigsetjmp(home, 1);
    MUST(setitimer(ITIMER_REAL, &often, NULL));
    armed = 1;
    while (now() < end) {
        switch (turn++ % 6) {
        case 0: // falls back
            (void)!pwrite(file.direct, page, PAGE, 2 * PAGE);
            break;
        case 1: // looks
            (void)!pwrite(file.direct, page, PAGE, 3 * 1024 * 1024);
            break;
        case 2: // into a mapping of the file
            (void)!pread(file.direct, into, PAGE, 3 * 1024 * 1024);
            break;
        case 3: // registers, where it can be found again
            mmap(spot, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file.buffered, 32 * PAGE);
            munmap(spot, PAGE);
            break;
        case 4: // waits for all others
            fcntl(file.direct, F_SETFL, O_DIRECT);
            break;
        case 5:
            dup2(file.buffered, 40);
            (void)!pwrite(40, page, 8, 5 * PAGE);
            break;
        }
    }
    armed = 0;
    MUST(setitimer(ITIMER_REAL, &never, NULL));
    munmap(map, PAGE);
    munmap(into, PAGE);
    munmap(spot, PAGE);
    for (int fd = 3; fd < LIMIT; fd++)
        if (fd != file.direct && fd != file.buffered)
            close(fd);
    struct rlimit limit;
    MUST(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = LIMIT;
    MUST(setrlimit(RLIMIT_NOFILE, &limit));
    double begun = now();
    int taken = 0;
    for (int fd = 900; fd < LIMIT; fd++) {
        char link[64], to[8];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        if (readlink(link, to, sizeof to) >= 0 && dup2(0, fd) == fd) {
            taken++;
            close(fd);
        }
    }
    fprintf(stderr, "%d jumps, %d numbers taken in %.3f s\n", (int)jumps, taken, now() - begun);
    say("jumps %d, taken quickly %d", jumps > 300, now() - begun < 0.5);
    say_free(file.path, 3 * PAGE);
    say("last: %zd", pwrite(file.direct, page, PAGE, 1024 * 1024));
    say("flags: %d", !!(fcntl(file.direct, F_GETFL) & O_DIRECT));
}
