// One file by two names: FIRST is used directly, then SECOND through the cache and through a mapping, then FIRST
// again, directly, into the mapped page: what a fence must not let go past the cache. With `apart` SECOND is used by
// another process, which has no other number of the file.
#include "hazard.h"

static void use_second(const char *path) {
    char *page = filled(PAGE, 0);
    int second = MUST(open(path, O_RDWR));
    MUST(pread(second, page, PAGE, 0));
    MUST(pread(second, page, PAGE, 0));
    map_page(second, 0)[1] = 'm';
}

int main(int argc, char **argv) {
    char *page = filled(PAGE, 'd'), go = 0;
    int ready[2];
    pid_t apart = 0;
    MUST(pipe(ready));
    if (argc > 3 && (apart = MUST(fork())) == 0) {
        MUST(read(ready[0], &go, 1));
        use_second(argv[2]);
        _exit(0);
    }
    int first = MUST(open(argv[1], O_RDWR | O_DIRECT));
    MUST(pwrite(first, page, PAGE, 0));
    MUST(write(ready[1], &go, 1));
    if (apart)
        say_child("SECOND, apart", apart);
    else
        use_second(argv[2]);
    MUST(pwrite(first, page, PAGE, 0));
    say("done");
    return 0;
}
