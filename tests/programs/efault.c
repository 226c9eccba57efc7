// Bad pointers, bad iovecs, bad descriptors: the kernel's own errors, and the program lives. After
// a success errno is what it was.
#include "hazard.h"

// Volatile, or the compiler sees what is wrong and refuses.
static char *volatile bad_pointer = (char *)0x10, *volatile null_pointer = NULL;
static volatile int minus_one = -1, too_many = IOV_MAX + 1;
#define BAD bad_pointer

// A direct write from half-bad memory: the filesystems differ, btrfs even from file to file.
static void half(int fd, char *pages) {
    ssize_t n = pwrite(fd, pages, 2 * PAGE, PAGE);
    int known = n == PAGE || (n < 0 && errno == EFAULT);
    say("half a write: %s", known ? "half or EFAULT" : n < 0 ? strerrorname_np(errno) : "another length");
    SAY(pwrite(fd, pages, PAGE, PAGE)); // What the file holds afterwards doesn't differ.
}

// The bad pointer is misaligned, too, for direct I/O. Linux 6.1 looks at that first, 6.18 at the memory. Then the one error
// stands for the other, because the library always looks at the memory first.
static int alignment_comes_first;
#define SAY_BAD(call) say_result(#call, as_fault((errno = 0, (long)(call))))

static long as_fault(long n) {
    if (alignment_comes_first && n < 0 && errno == EINVAL)
        errno = EFAULT;
    return n;
}

static void series(const char *what, int fd) {
    say("--- %s", what);
    char *pages = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(pages, 'e', 3 * PAGE);
    MUST(mprotect(pages + PAGE, PAGE, PROT_NONE));
    struct iovec second_bad[2] = {{pages, PAGE}, {BAD, PAGE}}, first_bad[2] = {{BAD, PAGE}, {pages, PAGE}};
    struct iovec huge[2] = {{pages, PAGE}, {pages, (size_t)-1}}, empty[2] = {{pages, 0}, {pages, PAGE}};
    MUST(lseek(fd, 0, SEEK_SET));
    SAY_BAD(read(fd, BAD, PAGE));
    SAY_BAD(write(fd, BAD, PAGE));
    SAY_BAD(pread(fd, BAD, PAGE, 0));
    SAY_BAD(pwrite(fd, BAD, PAGE, 0));
    SAY(pread(fd, null_pointer, PAGE, 0));
    SAY(pwrite(fd, null_pointer, PAGE, 0));
    SAY(pread(fd, BAD, 0, 0));
    half(fd, pages);
    SAY(pread(fd, pages, 2 * PAGE, PAGE));
    SAY_BAD(readv(fd, second_bad, 2));
    SAY(lseek(fd, 0, SEEK_SET));
    SAY_BAD(writev(fd, second_bad, 2));
    SAY(lseek(fd, 0, SEEK_SET));
    SAY_BAD(preadv(fd, first_bad, 2, 0));
    SAY_BAD(pwritev(fd, first_bad, 2, 0));
    SAY(pwritev(fd, huge, 2, 0));
    SAY(preadv(fd, empty, 2, 0));
    SAY(pwritev2(fd, empty, 2, 0, 0));
    SAY(preadv(fd, (struct iovec *)BAD, 2, 0));
    SAY(pwritev(fd, (struct iovec *)BAD, 2, 0));
    SAY(pwritev2(fd, (struct iovec *)(pages + PAGE), 2, 0, 0));
    SAY(preadv2(fd, (struct iovec *)(pages + PAGE - 16), 2, 0, 0));
    SAY(readv(fd, empty, 0));
    SAY(readv(fd, empty, minus_one));
    SAY(writev(fd, empty, too_many));
    SAY(pwritev(fd, NULL, 0, 0));
    SAY(pwritev(fd, (struct iovec *)null_pointer, 1, 0));
    struct iovec *many = calloc(IOV_MAX, sizeof *many);
    for (int i = 0; i < IOV_MAX; i++)
        many[i] = (struct iovec){pages, i % 2 ? 0 : PAGE};
    SAY(pwritev(fd, many, IOV_MAX, 0));
    SAY(preadv(fd, many, IOV_MAX, 0));
    errno = 77;
    ssize_t n = pwrite(fd, pages, PAGE, 0);
    say("after a write of %zd errno is %d", n, errno);
    errno = 77;
    n = pread(fd, pages, PAGE, 0);
    say("after a read of %zd errno is %d", n, errno);
    free(many);
    munmap(pages, 3 * PAGE);
}

int main(int argc, char **argv) {
    (void)argc;
    struct both file = open_both(argv[1], "f");
    alignment_comes_first = pread(file.direct, BAD, PAGE, 0) < 0 && errno == EINVAL;
    series("buffered", file.buffered);
    series("direct", file.direct);
    char *map = map_page(file.buffered, 8 * PAGE);
    map[0] = 'm';
    series("direct beside a mapping", file.direct);
    char byte = 0;
    SAY(read(-1, &byte, 1));
    SAY(pwrite(12345, &byte, 1, 0));
    SAY(pwrite(INT_MAX, &byte, 1, 0));
    int reader = MUST(open(file.path, O_RDONLY)), writer = MUST(open(file.path, O_WRONLY | O_DIRECT));
    int nothing = MUST(open(file.path, O_PATH));
    SAY(write(reader, &byte, 1));
    SAY(read(writer, &byte, 1));
    SAY(pread(nothing, &byte, 1, 0));
    SAY(ftruncate(reader, 5));
    SAY(ftruncate(writer, -1));
    SAY(truncate(file.path, -1));
    SAY(truncate("/nonexistent/file", 0));
    SAY(truncate(BAD, 0));
    SAY(fallocate(reader, 0, 0, 10));
    SAY(fallocate(writer, 0, -1, 10));
    SAY(fallocate(writer, 0, 0, 0));
    SAY(fallocate(writer, 0x4000, 0, PAGE));
    SAY(fallocate(writer, FALLOC_FL_PUNCH_HOLE, 0, PAGE));
    SAY(posix_fallocate(writer, 0, 0));
    SAY(fsync(-1));
    SAY(fsync(nothing));
    SAY(open(BAD, O_RDONLY));
    SAY(open("/nonexistent", O_RDWR | O_DIRECT));
    SAY(open(argv[1], O_RDWR));
    SAY(open(file.path, O_RDWR | O_CREAT | O_EXCL, 0600));
    SAY(openat(-1, "relative", O_RDONLY));
    SAY(mmap(NULL, 0, PROT_READ, MAP_SHARED, file.buffered, 0) == MAP_FAILED ? -1 : 0);
    SAY(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, -1, 0) == MAP_FAILED ? -1 : 0);
    SAY(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file.buffered, 7) == MAP_FAILED ? -1 : 0);
    SAY(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, reader, 0) == MAP_FAILED ? -1 : 0);
    SAY(munmap(map + 1, PAGE));
    SAY(mprotect(map + 1, PAGE, PROT_READ));
}
