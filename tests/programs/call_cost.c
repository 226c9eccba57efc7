// How long calls take: small reads and large ones of a file that is in the page cache, and as long a time without calls.
// Usage: call_cost DIR. Says: small=NS large=NS nothing=NS, of one call each, the best of several rounds.
#include "hazard.h"

enum { LARGE = 1 << 20, ROUNDS = 7 };

static double best(int n, void (*act)(int)) {
    double least = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        double begun = now();
        act(n);
        double each = (now() - begun) / n * 1e9;
        least = each < least ? each : least;
    }
    return least;
}

static int fd;
static char *memory;
static volatile unsigned long sum;

static void small(int n) {
    for (int i = 0; i < n; i++)
        MUST(pread(fd, memory, PAGE, (i % 256) * PAGE));
}
static void large(int n) {
    for (int i = 0; i < n; i++)
        MUST(pread(fd, memory, LARGE, 0));
}
static void nothing(int n) {
    for (int i = 0; i < n * 1000; i++)
        sum += i;
}

int main(int argc, char **argv) {
    (void)argc;
    memory = filled(LARGE, 'x');
    fd = MUST(open(path_in(argv[1], "data"), O_RDWR | O_CREAT, 0644));
    MUST(pwrite(fd, memory, LARGE, 0));
    double s = best(2000, small), l = best(50, large), nil = best(2000, nothing);
    say("small=%.0f large=%.0f nothing=%.0f", s, l, nil);
    return 0;
}
