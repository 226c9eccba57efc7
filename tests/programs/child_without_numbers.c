// A child that is forked while no number is free: which numbers are there, and what can be written by the others.
#include "hazard.h"

#define LIMIT 17

static void numbers(const char *who, const char *page) {
    for (int fd = 3; fd < LIMIT; fd++) {
        errno = 0;
        ssize_t n = pwrite(fd, page, PAGE, SIZE);
        say("%s: number %d: %zd %s", who, fd, n, n < 0 ? strerrorname_np(errno) : "");
    }
}

int main(int argc, char **argv) {
    (void)argc;
    char *page = filled(PAGE, 'p');
    MUST(setrlimit(RLIMIT_NOFILE, &(struct rlimit){LIMIT, LIMIT}));
    struct both file = open_both(argv[1], "f");
    MUST(pwrite(file.direct, page, PAGE, 0));
    MUST(pwrite(file.buffered, page, PAGE, PAGE));
    MUST(pwrite(file.direct, page, PAGE, 0));
    // All but one that the program had and closed again, and what others may have taken in its stead.
    int last = -1, left = 0;
    for (int fd; errno = 0, (fd = open("/dev/null", O_RDONLY)) >= 0; last = fd)
        left |= errno;
    say("errno after opens that went well: %d", left);
    MUST(close(last));
    MUST(pwrite(file.direct, page, PAGE, 0));
    pid_t pid = MUST(fork());
    if (pid == 0) {
        numbers("child", page);
        say("the next: %d", open("/dev/null", O_RDONLY));
        fflush(NULL);
        _exit(0);
    }
    say_child("it", pid);
}
