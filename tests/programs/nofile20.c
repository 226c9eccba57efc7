// With 20 descriptors at most a direct write beside a mapping is right even when not one is free,
// and the program gets them all but for one or two that a fence needs, the highest.
#include "hazard.h"

int main(int argc, char **argv) {
    (void)argc;
    MUST(setrlimit(RLIMIT_NOFILE, &(struct rlimit){20, 20}));
    struct both file = open_both(argv[1], "f");
    char *map = map_page(file.buffered, PAGE), *page = filled(PAGE, 'n');
    int last = -1, fd, count = 0;
    while ((fd = open("/dev/null", O_RDONLY)) >= 0) {
        last = fd;
        count++;
    }
    say("%s more, then %s", count >= 12 ? "enough" : "too few", strerrorname_np(errno));
    say("the lowest first: %d", last == file.direct + count);
    map[0] = 'm';
    say("none free: %zd", pwrite(file.direct, page, PAGE, 2 * PAGE));
    say("flags: %d", !!(fcntl(file.direct, F_GETFL) & O_DIRECT));
    say("over the mapping: %zd", pwrite(file.direct, page, PAGE, PAGE));
    say("mapping: %c", map[0]);
    say("append: %zd", pwrite(file.direct, page, PAGE, SIZE));
    memset(page, 0, PAGE);
    say("direct read: %zd", pread(file.direct, page, PAGE, 2 * PAGE));
    say("it is %c", page[0]);
    MUST(close(last));
    say("one free: %zd", pwrite(file.direct, page, PAGE, 3 * PAGE));
    int fds[2];
    SAY(pipe(fds));
    SAY(open("/dev/null", O_RDONLY) == last ? 1 : 0);
    SAY(open("/dev/null", O_RDONLY));
    MUST(close(file.buffered));
    say("the same again: %d", open("/dev/null", O_RDONLY) == file.buffered);
    pid_t pid = MUST(fork());
    if (pid == 0) {
        alarm(20);
        say("child: %zd", pwrite(file.direct, page, PAGE, 4 * PAGE));
        exit(0);
    }
    say_child("child", pid);
    // A dynamically linked program needs one for its libraries.
    MUST(close(last));
    pid = vfork();
    if (pid == 0) {
        execl("/bin/echo", "echo", "executed", NULL);
        _exit(1);
    }
    say_child("echo", pid);
}
