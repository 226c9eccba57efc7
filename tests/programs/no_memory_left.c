// A program that has mapped all that its RLIMIT_AS allows, and then opens, maps, forks and closes: none of that needs
// memory of its own.
#include "hazard.h"

enum { FILES = 9000 };

int main(int argc, char **argv) {
    (void)argc;
    char *page = filled(PAGE, 'm');
    MUST(chdir(argv[1]));
    // What this process has open by now needs no more room than the next thousand.
    int first = MUST(open("first", O_RDWR | O_CREAT, 0600));
    MUST(pwrite(first, page, PAGE, 0));
    say("begins");
    for (size_t step = 64 << 20; step >= PAGE; step /= 2)
        while (mmap(NULL, step, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
            ;
    int opened = 0, written = 0;
    static int fds[FILES];
    for (int i = 0; i < FILES; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        fds[i] = open(name, O_RDWR | O_CREAT | (i % 2 ? O_DIRECT : 0), 0600);
        opened += fds[i] >= 0;
        written += pwrite(fds[i], page, PAGE, 0) == PAGE;
    }
    for (int i = 0; i < FILES; i++)
        written += pread(fds[i], page, PAGE, 0) == PAGE;
    say("opened %d, written and read %d", opened, written);
    pid_t child = MUST(fork());
    if (child == 0)
        _exit(pread(fds[0], page, PAGE, 0) == PAGE ? 0 : 1);
    say_child("a child reads", child);
    return 0;
}
