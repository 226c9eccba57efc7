// Calls that may not wait, on a file that somebody else holds: DIR/held says that he does, DIR/ready that they are about
// to begin. Says of each how long it took and what came of it.
#include "hazard.h"

#define NOWAIT 0x8

static char *path, *data;

static void one(const char *what, int fd, int write, off_t at) {
    struct iovec iov = {data, PAGE};
    double begun = now();
    errno = 0;
    ssize_t n = write ? pwritev2(fd, &iov, 1, at, NOWAIT) : preadv2(fd, &iov, 1, at, NOWAIT);
    int error = errno;
    say("ms=%d", (int)((now() - begun) * 1000));
    say("%s %s at %ld: %zd %s", what, write ? "write" : "read", (long)at, n, n < 0 ? strerrorname_np(error) : "");
}

static void all_of(const char *what, int fd) {
    for (int write = 0; write < 2; write++)
        for (off_t at = -1; at <= SIZE; at += SIZE / 2 + 1)
            one(what, fd, write, at < 0 ? -1 : at / PAGE * PAGE);
}

int main(int argc, char **argv) {
    (void)argc;
    struct both file = open_both(argv[1], "f");
    path = file.path;
    data = filled(PAGE, 'n');
    char *held = path_in(argv[1], "held");
    int fresh = MUST(open(path, O_RDWR | O_DIRECT)), append = MUST(open(path, O_RDWR | O_APPEND));
    map_page(file.buffered, SIZE / 2)[0] = 'm';
    MUST(open(path_in(argv[1], "ready"), O_WRONLY | O_CREAT, 0600));
    while (access(held, F_OK))
        usleep(2000);
    all_of("direct", file.direct);
    all_of("buffered", file.buffered);
    all_of("fresh", fresh);
    all_of("append", append);
}
