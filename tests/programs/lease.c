// A file with a lease: who opens it to empty it, or a stream on it, waits in the kernel until the lease is given up.
// Whoever reads the file meanwhile doesn't wait. Says after how many milliseconds each came back.
#include "hazard.h"

static double begun;

static void on_break(int signal) {
    (void)signal;
}

static int taken(void) {
    return (int)((now() - begun) * 1000);
}

int main(int argc, char **argv) {
    int stream = argc > 2;
    char *path = path_in(argv[1], "f"), *data = filled(PAGE, 'd');
    int made = MUST(open(path, O_RDWR | O_CREAT, 0600));
    MUST(pwrite(made, data, PAGE, 0));
    MUST(fsync(made));
    MUST(close(made));
    volatile int *step = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    pid_t holder = MUST(fork());
    if (holder == 0) {
        signal(SIGIO, on_break);
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
        int fd = stream ? fileno(fopen(path, "w")) : open(path, O_WRONLY | O_TRUNC);
        say("emptied=%d", taken());
        MUST(pwrite(fd, "new", 3, 0));
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
