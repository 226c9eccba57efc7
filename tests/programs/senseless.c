// Requests that make no sense, one after the other, while another process works on the same file: each fails as the
// kernel says, and the other is not disturbed.
#include "hazard.h"
#include <sys/uio.h>

static volatile size_t nothing = 0;

static void *map(int fd, size_t length, off_t at) {
    return mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, at);
}

static void ask_all(struct both file, char *page, int (*told)(const char *, long)) {
    struct iovec none = {page, 0};
    told("mmap of nothing", (long)map(file.buffered, nothing, PAGE));
    told("mmap of nothing at the end", (long)map(file.buffered, nothing, SIZE));
    told("mmap at half a page", (long)map(file.buffered, PAGE, PAGE / 2));
    told("mmap before the beginning", (long)map(file.buffered, PAGE, -PAGE));
    told("mmap of more than there is", (long)map(file.buffered, -PAGE, PAGE));
    told("pwrite of nothing", pwrite(file.buffered, page, nothing, PAGE));
    told("direct pwrite of nothing", pwrite(file.direct, page, nothing, PAGE));
    told("pwritev of nothing", pwritev(file.direct, &none, 1, PAGE));
    told("pwrite before the beginning", pwrite(file.direct, page, PAGE, -PAGE));
    told("pwrite beyond the end of time", pwrite(file.buffered, page, PAGE, INT64_MAX - PAGE / 2));
    told("ftruncate to less than nothing", ftruncate(file.buffered, -1));
    told("fallocate of nothing", fallocate(file.buffered, 0, PAGE, nothing));
    told("punching a hole of nothing", fallocate(file.buffered, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, nothing));
    told("fallocate before the beginning", fallocate(file.buffered, 0, -PAGE, PAGE));
}

static int say_it(const char *what, long rc) {
    say("%s: %s", what, rc == -1 ? strerrorname_np(errno) : "done");
    return 0;
}

static int quiet(const char *what, long rc) {
    (void)what;
    (void)rc;
    return 0;
}

// mremap knows nothing of a file, but the mapping is one.
static void remap_senseless(struct both file) {
    char *at = map_page(file.buffered, PAGE);
    say("mremap of nothing to nothing: %s", mremap(at, 0, 0, 0) == MAP_FAILED ? strerrorname_np(errno) : "done");
    say("mremap to nothing: %s", mremap(at, PAGE, 0, 0) == MAP_FAILED ? strerrorname_np(errno) : "done");
    MUST(munmap(at, PAGE));
    say("munmap of nothing: %s", munmap(at, 0) ? strerrorname_np(errno) : "done");
}

int main(int argc, char **argv) {
    (void)argc;
    struct both file = open_both(argv[1], "senseless");
    char *page = filled(PAGE, 's'), *seen = filled(PAGE, 0);
    ask_all(file, page, say_it);
    remap_senseless(file);
    pid_t other = MUST(fork());
    if (other == 0)
        for (;;)
            ask_all(file, page, quiet);
    int right = 0;
    double end = now() + 0.7;
    for (int n = 0; now() < end; n++) {
        memset(page, 'a' + n % 26, PAGE);
        MUST(pwrite(n % 2 ? file.direct : file.buffered, page, PAGE, PAGE));
        MUST(pread(n % 2 ? file.buffered : file.direct, seen, PAGE, PAGE));
        if (memcmp(page, seen, PAGE))
            say("another page than was written");
        right = 1;
    }
    MUST(kill(other, SIGKILL));
    say_child("the other", other);
    say("it went on: %d", right);
    MUST(pwrite(file.buffered, filled(PAGE, 'z'), PAGE, PAGE)); // so that the file ends up as always
    return 0;
}
