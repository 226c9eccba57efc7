// Makes children that do nothing, between two lines on the standard error output, with a file open that is used.
#include "hazard.h"

enum { TIMES = 16 };

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    int fd = MUST(open(path_in(argv[1], "f"), O_RDWR | O_CREAT, 0644));
    // Often enough to be worth a look whether any handler can come.
    MUST(pwrite(fd, "x", 1, 0));
    for (int i = 0; i < 40; i++)
        MUST(fork() == 0 ? (_exit(0), 0) : waitpid(-1, NULL, 0));
    MUST(write(STDERR_FILENO, "begin", 5));
    for (int i = 0; i < TIMES; i++) {
        pid_t pid = MUST(fork());
        if (pid == 0)
            _exit(0);
        MUST(waitpid(pid, NULL, 0));
    }
    MUST(write(STDERR_FILENO, "end", 3));
    return 0;
}
