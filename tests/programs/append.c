// Appends: where they land, what they return, where the offset is afterwards, for every call that
// can append.
#include "hazard.h"

static void where(const char *what, int fd, ssize_t n) {
    int error = errno;
    struct stat st;
    fstat(fd, &st);
    say("%s: %zd %s, size %ld, offset %ld", what, n, n < 0 ? strerrorname_np(error) : "", (long)st.st_size,
        (long)lseek(fd, 0, SEEK_CUR));
}

static void series(const char *what, int fd, int other) {
    say("--- %s", what);
    char *page = filled(2 * PAGE, 'p');
    struct iovec two[2] = {{page, PAGE}, {page + PAGE, PAGE}};
    where("write", fd, write(fd, page, PAGE));
    where("pwrite at 0", fd, pwrite(fd, page, PAGE, 0));
    where("writev", fd, writev(fd, two, 2));
    where("pwritev at 0", fd, pwritev(fd, two, 2, 0));
    where("pwritev2 at -1", fd, pwritev2(fd, two, 2, -1, 0));
    where("pwritev2 RWF_APPEND", other, pwritev2(other, two, 1, 0, RWF_APPEND));
    where("pwritev2 RWF_APPEND at -1", other, pwritev2(other, two, 1, -1, RWF_APPEND));
    where("pwritev2 RWF_NOAPPEND", fd, pwritev2(fd, two, 1, PAGE, 0x20));
    where("truncated", fd, ftruncate(fd, 3 * PAGE));
    where("write", fd, write(fd, page, PAGE));
    where("seek back, write", fd, (lseek(fd, 0, SEEK_SET), write(fd, page, PAGE)));
    where("nothing", fd, write(fd, page, 0));
    // Past the end: the bytes between read as zero.
    where("past the end", other, pwrite(other, page, PAGE, 40 * PAGE));
    char byte = 'x';
    where("the hole", other, pread(other, page, PAGE, 20 * PAGE));
    byte = page[5];
    say("the hole has %d", byte);
    free(page);
}

int main(int argc, char **argv) {
    (void)argc;
    char *path = path_in(argv[1], "f");
    int plain = MUST(open(path, O_RDWR | O_CREAT, 0644));
    int append = MUST(open(path, O_RDWR | O_APPEND));
    int direct = MUST(open(path, O_RDWR | O_APPEND | O_DIRECT));
    int direct_plain = MUST(open(path, O_RDWR | O_DIRECT));
    series("buffered", append, plain);
    series("direct", direct, direct_plain);
    MUST(ftruncate(plain, SIZE));
    char *map = map_page(plain, SIZE - PAGE);
    map[0] = 'm';
    series("direct beside a mapping", direct, direct_plain);
    series("buffered beside a mapping", append, plain);
    // Unaligned tail, then a direct append: what the kernel says of it.
    char page[100];
    memset(page, 't', sizeof page);
    where("unaligned tail", append, write(append, page, 100));
    char *whole = filled(PAGE, 'w');
    where("direct append after it", direct, write(direct, whole, PAGE));
    where("unaligned direct append", direct, write(direct, whole, 100));
}
