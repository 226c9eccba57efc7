// Every way to duplicate a descriptor keeps its mode and shares its offset.
#include "hazard.h"

static void offsets(const char *what, int a, int b) {
    say("%s: flags %s, O_DIRECT %d", what, fcntl(a, F_GETFL) == fcntl(b, F_GETFL) ? "equal" : "differ",
        !!(fcntl(b, F_GETFL) & O_DIRECT));
    say("%s: cloexec %d", what, fcntl(b, F_GETFD));
    MUST(lseek(a, 8 * PAGE, SEEK_SET));
    char *page = filled(PAGE, 'k');
    say("write: %zd", write(b, page, PAGE));
    say("offset of the other: %ld", (long)lseek(a, 0, SEEK_CUR));
    say("read: %zd", read(a, page, PAGE));
    say("offset of the other: %ld", (long)lseek(b, 0, SEEK_CUR));
    say("readv: %zd", readv(b, &(struct iovec){page, PAGE}, 1));
    say("offset: %ld", (long)lseek(a, 0, SEEK_CUR));
    ssize_t n = pwrite(b, page, 100, 100);
    say("unaligned: %zd %s", n, n < 0 ? strerrorname_np(errno) : "");
    free(page);
}

static void family(const char *what, int fd) {
    say("--- %s", what);
    offsets("dup", fd, MUST(dup(fd)));
    offsets("dup2", fd, MUST(dup2(fd, 50)));
    offsets("dup2 onto itself", fd, MUST(dup2(fd, fd)));
    offsets("dup3", fd, MUST(dup3(fd, 51, O_CLOEXEC)));
    offsets("F_DUPFD", fd, MUST(fcntl(fd, F_DUPFD, 60)));
    offsets("F_DUPFD_CLOEXEC", fd, MUST(fcntl(fd, F_DUPFD_CLOEXEC, 70)));
    SAY(dup3(fd, fd, 0));
    SAY(dup2(999, 50));
    SAY(dup2(fd, -1));
    SAY(dup3(fd, 52, 12345));
}

int main(int argc, char **argv) {
    (void)argc;
    struct both file = open_both(argv[1], "f");
    family("buffered", file.buffered);
    family("direct", file.direct);
    // A number that was direct becomes a buffered one, and back.
    char *page = filled(PAGE, 'z');
    MUST(dup2(file.buffered, 50));
    say("now buffered: %zd", pwrite(50, page, 100, 100));
    MUST(dup2(file.direct, 50));
    ssize_t n = pwrite(50, page, 100, 100);
    say("now direct: %zd %s", n, n < 0 ? strerrorname_np(errno) : "");
    close(file.direct);
    say("original closed: %zd", pwrite(50, page, PAGE, PAGE));
    char *map = map_page(file.buffered, 2 * PAGE);
    memset(map, 'y', PAGE);
    say("beside a mapping: %zd", pwrite(50, page, PAGE, PAGE));
    say_page("direct", file.path, PAGE);
    say_page("mapped", file.path, 2 * PAGE);
}
