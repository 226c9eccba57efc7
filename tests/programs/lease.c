// A file with a lease: who opens it to empty it, or truncates it by its name, waits in the kernel until the lease is given up.
// Whoever reads the file meanwhile doesn't wait. Says after how many milliseconds each came back.
#include "hazard.h"

static double begun;

static void on_signal(int signal) {
    (void)signal;
}

static int taken(void) {
    return (int)((now() - begun) * 1000);
}

// A number for the file, which has been emptied in this way.
static int empty(const char *path, const char *way) {
    if (strcmp(way, "interrupted") == 0) {
        struct sigaction once = {.sa_handler = on_signal};
        sigaction(SIGALRM, &once, NULL);
        ualarm(500000, 0);
        int result = truncate(path, 0);
        say("%d %s", result, strerrorname_np(errno));
        say("interrupted=%d", taken());
        signal(SIGALRM, on_signal); // and one that does not interrupt
        ualarm(300000, 0);
        way = "truncate";
    }
    if (strcmp(way, "truncate") == 0) {
        MUST(truncate(path, 0));
        return MUST(open(path, O_WRONLY));
    }
    if (strcmp(way, "fopen") == 0)
        return fileno(fopen(path, "w"));
    if (strcmp(way, "fopen, odd") == 0)
        return fileno(fopen(path, "wm"));
    if (strcmp(way, "freopen") == 0)
        return fileno(freopen(path, "w", fopen("/dev/null", "r")));
    return MUST(open(path, O_WRONLY | O_TRUNC));
}

int main(int argc, char **argv) {
    const char *way = argc > 2 ? argv[2] : "open";
    char *path = path_in(argv[1], "f"), *data = filled(PAGE, 'd');
    int made = MUST(open(path, O_RDWR | O_CREAT, 0600));
    MUST(pwrite(made, data, PAGE, 0));
    MUST(fsync(made));
    MUST(close(made));
    volatile int *step = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    pid_t holder = MUST(fork());
    if (holder == 0) {
        signal(SIGIO, on_signal);
        int fd = MUST(open(path, O_RDONLY));
        MUST(fcntl(fd, F_SETLEASE, F_RDLCK));
        *step = 1;
        pause(); // until somebody wants it
        usleep(1500000);
        MUST(fcntl(fd, F_SETLEASE, F_UNLCK));
        _exit(0);
    }
    while (*step < 1)
        usleep(1000);

    int buffered = MUST(open(path, O_RDONLY)), direct = MUST(open(path, O_RDONLY | O_DIRECT));
    MUST(pread(buffered, data, PAGE, 0));
    MUST(pread(direct, data, PAGE, 0));
    begun = now();
    pid_t opener = MUST(fork());
    if (opener == 0) {
        int lowest = MUST(dup(0));
        close(lowest);
        int fd = empty(path, way);
        say("emptied=%d", taken());
        MUST(pwrite(fd, "new", 3, 0));
        close(fd);
        int left = MUST(dup(0));
        say("left=%d", left - lowest);
        _exit(0);
    }
    usleep(300000);
    begun = now();
    say("old=%zd", pread(buffered, data, PAGE, 0));
    say("read=%d", taken());
    say_child("opener", opener);
    say_child("holder", holder);
    say("new=%zd", pread(buffered, data, PAGE, 0));
}
