// Uses a file both ways whose path is longer than the kernel tells anybody, from where it has a short name.
#include "hazard.h"

int main(int argc, char **argv) {
    char name[201], *page = filled(PAGE, 'd');
    (void)argc;
    memset(name, 'a', 200);
    name[200] = 0;
    MUST(chdir(argv[1]));
    for (int i = 0; i < 25; i++) {
        MUST(mkdir(name, 0700));
        MUST(chdir(name));
    }
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "file %d", i);
        int direct = MUST(open(name, O_RDWR | O_CREAT | O_DIRECT, 0600)), buffered = MUST(open(name, O_RDWR));
        MUST(pwrite(direct, page, PAGE, 0));
        MUST(pread(buffered, page, PAGE, 0));
        MUST(truncate(name, 0));
    }
    say("right");
    return 0;
}
