// Uses each file that is named, directly and through the cache, and keeps all of them open: what a fence knows of
// them it knows by these names.
#include "hazard.h"

int main(int argc, char **argv) {
    char *page = filled(PAGE, 'd');
    for (int i = 1; i < argc; i++) {
        int direct = MUST(open(argv[i], O_RDWR | O_CREAT | O_DIRECT, 0600));
        int buffered = MUST(open(argv[i], O_RDWR));
        MUST(pwrite(direct, page, PAGE, 0));
        MUST(pread(buffered, page, PAGE, 0));
        say("%d: %s", i, all(page, PAGE, 'd') ? "right" : "wrong");
    }
    return 0;
}
