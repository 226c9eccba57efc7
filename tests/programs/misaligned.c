// What the kernel refuses of a direct request by its alignment is refused just so when the
// request falls back, and what it grants is granted.
#include "hazard.h"

static void attempt(const char *what, int fd, char *memory, size_t length, off_t at) {
    ssize_t n = pwrite(fd, memory, length, at);
    int error = errno;
    ssize_t m = pread(fd, memory, length, at);
    say("%s %zu at %ld: write %zd %s, read %zd %s", what, length, (long)at, n, n < 0 ? strerrorname_np(error) : "", m,
        m < 0 ? strerrorname_np(errno) : "");
}

static void series(const char *what, int fd, char *memory) {
    say("--- %s", what);
    attempt("whole", fd, memory, PAGE, 0);
    attempt("length", fd, memory, 100, 0);
    attempt("length", fd, memory, 512, 0);
    attempt("length", fd, memory, 1024, 512);
    attempt("offset", fd, memory, PAGE, 100);
    attempt("offset", fd, memory, PAGE, 512);
    attempt("memory", fd, memory + 1, PAGE, 0);
    attempt("memory", fd, memory + 4, PAGE, 0);
    attempt("memory", fd, memory + 512, PAGE, PAGE);
    attempt("past the end", fd, memory, PAGE, SIZE + 100);
    attempt("past the end", fd, memory, PAGE, SIZE + 16 * PAGE);
    attempt("nothing", fd, memory, 0, 3);
    struct iovec parts[2] = {{memory, 512}, {memory + PAGE, PAGE - 512}}, odd[2] = {{memory, 100}, {memory + PAGE, PAGE - 100}};
    SAY(pwritev(fd, parts, 2, 0));
    SAY(preadv(fd, parts, 2, 0));
    SAY(pwritev(fd, odd, 2, 0));
    SAY(preadv(fd, odd, 2, 0));
    MUST(ftruncate(fd, SIZE));
    MUST(ftruncate(fd, SIZE - 100));
    SAY(pread(fd, memory, PAGE, SIZE - PAGE));
    SAY(pread(fd, memory, PAGE, SIZE));
    SAY(pread(fd, memory, PAGE, SIZE - 100));
    MUST(ftruncate(fd, SIZE));
}

int main(int argc, char **argv) {
    (void)argc;
    struct both file = open_both(argv[1], "f");
    char *memory = filled(4 * PAGE, 'a');
    series("direct", file.direct, memory);
    char *map = map_page(file.buffered, 4 * PAGE);
    map[0] = 'm';
    series("direct beside a mapping", file.direct, memory);
    series("buffered", file.buffered, memory);
}
