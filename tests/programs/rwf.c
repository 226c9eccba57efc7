// preadv2 and pwritev2: offset -1 is the file offset, flags mean what they mean.
#include "hazard.h"

static const char *ok_or_again(ssize_t n, ssize_t want) {
    if (n == want || (n < 0 && errno == EAGAIN))
        return "done or EAGAIN";
    return n < 0 ? strerrorname_np(errno) : "short";
}

static void series(const char *what, int fd) {
    say("--- %s", what);
    char *page = filled(4 * PAGE, 'r');
    struct iovec two[2] = {{page, PAGE}, {page + PAGE, PAGE}};
    MUST(lseek(fd, 2 * PAGE, SEEK_SET));
    SAY(pwritev2(fd, two, 2, -1, 0));
    SAY(lseek(fd, 0, SEEK_CUR));
    SAY(preadv2(fd, two, 2, -1, 0));
    SAY(lseek(fd, 0, SEEK_CUR));
    SAY(preadv2(fd, two, 2, 0, 0));
    SAY(lseek(fd, 0, SEEK_CUR));
    SAY(preadv2(fd, two, 2, -2, 0));
    SAY(pwritev2(fd, two, 2, -2, 0));
    SAY(pwritev(fd, two, 2, -1));
    SAY(preadv(fd, two, 2, -1));
    SAY(pread(fd, page, PAGE, -1));
    SAY(pwrite(fd, page, PAGE, -1));
    SAY(pwritev2(fd, two, 2, PAGE, RWF_DSYNC));
    SAY(pwritev2(fd, two, 2, PAGE, RWF_SYNC));
    SAY(preadv2(fd, two, 2, PAGE, RWF_HIPRI));
    SAY(preadv2(fd, two, 2, PAGE, 1 << 30));
    SAY(pwritev2(fd, two, 2, PAGE, 1 << 30));
    SAY(preadv2(fd, two, 2, SIZE - PAGE, 0));
    SAY(preadv2(fd, two, 2, SIZE, 0));
    SAY(preadv2(fd, two, 2, LONG_MAX - 10, 0));
    SAY(pwritev2(fd, two, 2, LONG_MAX - 10, 0));
    say("nowait read: %s", ok_or_again(preadv2(fd, two, 2, PAGE, RWF_NOWAIT), 2 * PAGE));
    memset(page, 'w', 2 * PAGE); // Whatever was read.
    say("nowait write: %s", ok_or_again(pwritev2(fd, two, 2, PAGE, RWF_NOWAIT), 2 * PAGE));
    // Whether it wrote may differ; what the file holds afterwards must not.
    SAY(pwritev2(fd, two, 2, PAGE, 0));
    free(page);
}

int main(int argc, char **argv) {
    (void)argc;
    struct both file = open_both(argv[1], "f");
    series("buffered", file.buffered);
    series("direct", file.direct);
    char *map = map_page(file.buffered, 0);
    map[0] = 'm';
    series("direct beside a mapping", file.direct);
    int pair[2];
    MUST(pipe(pair));
    SAY(pwritev2(pair[1], &(struct iovec){"abc", 3}, 1, -1, 0));
    char bytes[8];
    SAY(preadv2(pair[0], &(struct iovec){bytes, 8}, 1, -1, 0));
    SAY(preadv2(pair[0], &(struct iovec){bytes, 8}, 1, 0, 0));
    SAY(preadv2(pair[0], &(struct iovec){bytes, 8}, 1, -1, RWF_NOWAIT));
    SAY(pread(pair[0], bytes, 8, 0));
    SAY(lseek(pair[0], 0, SEEK_CUR));
}
