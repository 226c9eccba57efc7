// Calls on a file while a signal comes every 0.2 ms whose handler was installed without SA_RESTART: none of them may be cut short.
// A read of a pipe is, as it should be. Usage: cut_short DIR
#include "hazard.h"

static volatile long heard;
static void hear(int number) {
    (void)number;
    heard++;
}

static void every(long microseconds) {
    struct itimerval timer = {{0, microseconds}, {0, microseconds}};
    MUST(setitimer(ITIMER_REAL, &timer, NULL));
}

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    char *path = path_in(argv[1], "f"), *memory = filled(PAGE, 'c');
    struct sigaction action = {.sa_handler = hear};
    MUST(sigaction(SIGALRM, &action, NULL));
    every(200);
    for (int round = 0; round < 500; round++) {
        int fd = MUST(open(path, O_RDWR | O_CREAT | O_TRUNC, 0644));
        MUST(pwrite(fd, memory, PAGE, 0));
        MUST(read(fd, memory, PAGE));
        MUST(dup2(fd, 20));
        MUST(ftruncate(fd, 100));
        char *map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        MUST(map == MAP_FAILED ? -1 : 0);
        MUST(munmap(map, PAGE));
        MUST(close(fd));
    }
    say("heard some: %d", heard > 10);
    int ends[2];
    MUST(pipe(ends));
    every(20000);
    SAY(read(ends[0], memory, 1));
    return 0;
}
