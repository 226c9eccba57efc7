// Reads the start of a file until it can't, and ends with the error as its exit code. Usage: endless FILE
#include "hazard.h"

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    int fd = MUST(open(argv[1], O_RDONLY));
    char byte;
    say("ready");
    fflush(stdout);
    while (pread(fd, &byte, 1, 0) == 1) {
    }
    _exit(errno);
}
