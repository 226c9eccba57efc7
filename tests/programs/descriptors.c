// 5,000 descriptors of one file, every second one direct, each used, then closed: all of them are
// the program's, and each keeps its mode.
#include "hazard.h"

enum { COUNT = 5000 };

int main(int argc, char **argv) {
    (void)argc;
    closefrom(3);
    struct rlimit limit;
    MUST(getrlimit(RLIMIT_NOFILE, &limit));
    MUST(setrlimit(RLIMIT_NOFILE, &(struct rlimit){COUNT + 100, COUNT + 100}));
    // The library's own descriptors are at the end of the numbers there were when it was loaded.
    if (limit.rlim_cur < COUNT + 100)
        MUST(execv("/proc/self/exe", argv));
    struct both file = open_both(argv[1], "f");
    char *map = map_page(file.buffered, SIZE - PAGE), *page = filled(PAGE, 'd');
    map[0] = 'm';
    static int fds[COUNT];
    for (int i = 0; i < COUNT; i++) {
        fds[i] = MUST(open(file.path, O_RDWR | (i % 2 ? O_DIRECT : 0)));
        if (fds[i] != file.direct + 1 + i) {
            say("number %d where %d was free", fds[i], file.direct + 1 + i);
            return 1;
        }
    }
    long wrong = 0, refused = 0;
    for (int i = 0; i < COUNT; i++) {
        wrong += pwrite(fds[i], page, PAGE, i % 1000 * PAGE) != PAGE;
        refused += pwrite(fds[i], page, 100, 50) < 0;
        wrong += !!(fcntl(fds[i], F_GETFL) & O_DIRECT) != i % 2;
    }
    say("wrong %ld, unaligned refused %ld", wrong, refused);
    for (int i = 0; i < COUNT; i += 2)
        wrong += dup2(fds[i], fds[i + 1]) != fds[i + 1];
    refused = 0;
    for (int i = 0; i < COUNT; i++)
        refused += pwrite(fds[i], page, 100, 50) < 0;
    say("after dup2: wrong %ld, unaligned refused %ld", wrong, refused);
    for (int i = 0; i < COUNT; i++)
        wrong += close(fds[i]) != 0;
    say("closed: wrong %ld, next is %d", wrong, (int)MUST(open("/dev/null", O_RDONLY)) - file.direct);
    say("direct: %zd", pwrite(file.direct, page, PAGE, 0));
    say_page("at last", file.path, 0);
}
