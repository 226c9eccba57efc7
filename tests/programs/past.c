// Ordinary reads and writes, of all lengths at all places, in all forms, and what the file is afterwards: taken past the page
// cache they must be the same, to the byte.
#include "hazard.h"
#include <sys/sendfile.h>

static char *memory, *odd, *seen;

static unsigned long sum_of(const char *bytes, size_t size) {
    unsigned long sum = size;
    for (size_t i = 0; i < size; i++)
        sum = sum * 1099511628211u + (unsigned char)bytes[i];
    return sum;
}

// How long the file is, and all that is in it.
static void whole(const char *what, const char *path) {
    int fd = MUST(open(path, O_RDONLY));
    struct stat stat;
    MUST(fstat(fd, &stat));
    memset(seen, 'u', SIZE + PAGE);
    long n = MUST(read(fd, seen, SIZE));
    say("%s: %ld long, %lx, behind it %s", what, (long)stat.st_size, sum_of(seen, (size_t)n),
        all(seen + n, PAGE, 'u') ? "untouched" : "touched");
    MUST(close(fd));
}

static unsigned random_state = 7;
static unsigned up_to(unsigned most) {
    random_state = random_state * 1664525 + 1013904223;
    return (random_state >> 8) % most;
}

// Writes and reads at random, sometimes across the end.
static void at_random(const char *path) {
    static const unsigned lengths[] = {1, 511, 512, 513, 4095, 4096, 4097, 8192, 10240, 65536, 70000, 1048576, 1048577, 1500000};
    int fd = MUST(open(path, O_RDWR | O_CREAT | O_TRUNC, 0644));
    for (int i = 0; i < 300; i++) {
        unsigned len = lengths[up_to(14)], at = up_to(SIZE - 1600000);
        if (up_to(3) == 0)
            at = at / 4096 * 4096;
        char *from = up_to(2) ? memory : odd;
        from[up_to(len)] += 1;
        if (up_to(2))
            say("%u at %u: %ld", len, at, pwrite(fd, from, len, at));
        else {
            memset(seen, 'u', len + 1);
            long n = pread(fd, up_to(2) ? seen : seen + 1, len, at);
            say("%u from %u: %ld %lx", len, at, n, sum_of(seen, len + 2));
        }
        if (i % 50 == 49) {
            say("cut off: %d", ftruncate(fd, up_to(SIZE / 2)));
            whole("so far", path);
        }
    }
    MUST(close(fd));
    whole("at random", path);
}

// One after the other, at the offset.
static void in_a_row(const char *path, int flags, unsigned len) {
    int fd = MUST(open(path, O_RDWR | O_CREAT | O_TRUNC | flags, 0644));
    for (int i = 0; i < 60; i++) {
        if (MUST(write(fd, odd + i, len)) != len)
            say("short");
    }
    SAY(lseek(fd, 0, SEEK_CUR));
    MUST(lseek(fd, 0, SEEK_SET));
    long n, all_of_it = 0;
    unsigned long sum = 0;
    while ((n = MUST(read(fd, seen, 5000))) > 0) {
        all_of_it += n;
        sum = sum * 31 + sum_of(seen, (size_t)n);
    }
    say("%u in a row, flags %x: %ld read, %lx", len, flags, all_of_it, sum);
    MUST(close(fd));
    whole("in a row", path);
}

static void forms(const char *path) {
    int fd = MUST(open(path, O_RDWR | O_CREAT | O_TRUNC, 0644));
    say("O_DIRECT shows: %d", (fcntl(fd, F_GETFL) & O_DIRECT) != 0);
    struct iovec even[2] = {{memory, PAGE}, {memory + 2 * PAGE, PAGE}}, uneven[3] = {{odd, 100}, {memory, PAGE}, {odd, 7}};
    SAY(pwritev(fd, even, 2, 0));
    SAY(pwritev(fd, uneven, 3, 777));
    SAY(writev(fd, uneven, 3));
    SAY(lseek(fd, 0, SEEK_CUR));
    SAY(preadv(fd, even, 2, 0));
    SAY(readv(fd, uneven, 3));
    SAY(preadv(fd, uneven, 3, 8000));
    SAY(pwritev2(fd, uneven, 3, 100, RWF_DSYNC));
    SAY(pwritev2(fd, even, 2, -1, RWF_SYNC));
    SAY(pwritev2(fd, uneven, 3, 5, RWF_APPEND));
    SAY(preadv2(fd, even, 2, 0, RWF_HIPRI));
    SAY(pwritev2(fd, even, 2, 0, 0x4000));
    SAY(preadv2(fd, even, 2, 0, 0x4000));
    SAY(pwrite(fd, memory, 0, 3));
    SAY(pread(fd, memory, 0, 3));
    SAY(pwrite(fd, memory, 10, -1));
    SAY(pread(fd, memory, 10, LONG_MAX - 5));
    SAY(pread(fd, memory, 10, 1L << 40));
    SAY(pwrite(fd, memory, PAGE, LONG_MAX - PAGE + 1));
    int reads = MUST(open(path, O_RDONLY)), writes = MUST(open(path, O_WRONLY)), appends = MUST(open(path, O_RDWR | O_APPEND));
    SAY(write(reads, memory, PAGE));
    SAY(read(writes, memory, PAGE));
    SAY(write(appends, odd, 5000));
    SAY(pwrite(appends, odd, 5000, 0));
    SAY(lseek(appends, 0, SEEK_CUR));
    SAY(read(appends, odd, 5000));
    whole("forms", path);
    // O_DIRECT of its own, for a while.
    SAY(fcntl(fd, F_SETFL, O_DIRECT));
    say("O_DIRECT shows: %d", (fcntl(fd, F_GETFL) & O_DIRECT) != 0);
    SAY(pwrite(fd, memory, PAGE, PAGE));
    SAY(fcntl(fd, F_SETFL, 0));
    SAY(pwrite(fd, odd, 10, PAGE + 5));
    SAY(fsync(fd));
    SAY(fdatasync(fd));
    SAY(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
    SAY(ftruncate(fd, 6000));
    SAY(pwrite(fd, odd, 500, 300000));
    SAY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 100000));
    whole("and with holes", path);
}

static char *volatile bad = (char *)16;

// The memory is bad behind its first page.
static void bad_memory(const char *path) {
    int fd = MUST(open(path, O_RDWR | O_CREAT | O_TRUNC, 0644));
    MUST(pwrite(fd, memory, 5 * PAGE, 0));
    char *pages = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(pages, 'e', 3 * PAGE);
    MUST(mprotect(pages + PAGE, 2 * PAGE, PROT_NONE));
    struct iovec second_bad[2] = {{pages, PAGE}, {pages + PAGE, PAGE}};
    SAY(pwrite(fd, pages, 2 * PAGE, 0));
    SAY(pwrite(fd, pages + 100, 2 * PAGE, 10));
    SAY(pread(fd, pages, 2 * PAGE, 0));
    SAY(pread(fd, pages + 100, 2 * PAGE, 10));
    SAY(pwrite(fd, pages + PAGE, PAGE, 0));
    SAY(pread(fd, pages + PAGE, PAGE, 0));
    SAY(writev(fd, second_bad, 2));
    SAY(lseek(fd, 0, SEEK_CUR));
    SAY(readv(fd, second_bad, 2));
    SAY(lseek(fd, 0, SEEK_CUR));
    SAY(pwrite(fd, bad, PAGE, PAGE));
    SAY(preadv(fd, (struct iovec *)bad, 2, 0));
    MUST(mprotect(pages, PAGE, PROT_READ));
    SAY(pread(fd, pages, PAGE, 0));
    SAY(pwrite(fd, pages, PAGE, 0));
    whole("bad memory", path);
}

static volatile int signals;
static void count(int number UNUSED) {
    signals++;
}

static void limited(const char *path) {
    signal(SIGXFSZ, count);
    struct rlimit old, limit;
    MUST(getrlimit(RLIMIT_FSIZE, &old));
    limit = old;
    limit.rlim_cur = 10000;
    int fd = MUST(open(path, O_RDWR | O_CREAT | O_TRUNC, 0644)), appends = MUST(open(path, O_RDWR | O_APPEND));
    MUST(setrlimit(RLIMIT_FSIZE, &limit));
    SAY(pwrite(fd, memory, 8192, 0));
    SAY(pwrite(fd, memory, 8192, 4096));
    SAY(pwrite(fd, memory, 10, 10000));
    SAY(ftruncate(fd, 8192));
    SAY(pwrite(fd, memory, 8192, 16384));
    SAY(write(appends, memory, 8192));
    say("signals: %d", signals);
    MUST(setrlimit(RLIMIT_FSIZE, &old));
    whole("limited", path);
}

// The offset belongs to both.
static void shared(const char *path) {
    int fd = MUST(open(path, O_RDWR | O_CREAT | O_TRUNC, 0644));
    SAY(write(fd, memory, 10000));
    pid_t pid = MUST(fork());
    if (pid == 0) {
        SAY(write(fd, odd, 6000));
        SAY(lseek(fd, 100, SEEK_SET));
        SAY(read(fd, memory, 5000));
        _exit(0);
    }
    say_child("child", pid);
    SAY(lseek(fd, 0, SEEK_CUR));
    SAY(write(fd, odd, 3000));
    int other = MUST(dup(fd));
    SAY(read(other, memory, 5000));
    SAY(lseek(fd, 0, SEEK_CUR));
    MUST(dup2(fd, 7));
    pid = MUST(fork());
    if (pid == 0) {
        MUST(execl("/bin/sh", "sh", "-c", "echo by another program; printf %05000d 0; head -c 700 >/dev/null", NULL));
    }
    say_child("a child of the shell's kind", pid);
    whole("shared", path);
}

static void mapped(const char *path) {
    int fd = MUST(open(path, O_RDWR | O_CREAT | O_TRUNC, 0644));
    MUST(write(fd, memory, 4 * PAGE));
    char *page = map_page(fd, PAGE);
    page[0] = 'M';
    SAY(pread(fd, seen, 10, PAGE));
    say("stored: %c", seen[0]);
    SAY(pwrite(fd, "written", 7, PAGE + 10));
    say("written: %.7s", page + 10);
    SAY(pwrite(fd, odd, 3 * PAGE, 100));
    say("%lx", sum_of(page, PAGE));
    MUST(munmap(page, PAGE));
    char *view = mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
    unsigned long before = sum_of(view, 4 * PAGE);
    SAY(pwrite(fd, "later", 5, 2 * PAGE + 5));
    say("%lx, then %lx: %.5s", before, sum_of(view, 4 * PAGE), view + 2 * PAGE + 5);
    whole("mapped", path);
}

static void times(const char *path) {
    int fd = MUST(open(path, O_RDWR | O_NOATIME));
    struct timespec old[2] = {{1000, 0}, {2000, 0}};
    struct stat stat;
    MUST(futimens(fd, old));
    SAY(pread(fd, seen, PAGE, 0));
    MUST(fstat(fd, &stat));
    say("read without a trace: %ld", stat.st_atime);
    SAY(pwrite(fd, memory, PAGE, 0));
    MUST(fstat(fd, &stat));
    say("modified now: %d", stat.st_mtime > 2000);
    MUST(close(fd));
}

// A copy of it, as tools make one.
static void copied(const char *path, const char *to) {
    int from = MUST(open(path, O_RDONLY)), into = MUST(open(to, O_RDWR | O_CREAT | O_TRUNC, 0644));
    off_t at = 100, place = 333;
    SAY(copy_file_range(from, NULL, into, NULL, 9000, 0));
    SAY(copy_file_range(from, &at, into, &place, 5000, 0));
    say("%ld %ld", (long)at, (long)place);
    SAY(copy_file_range(from, NULL, into, NULL, SIZE, 0));
    SAY(copy_file_range(from, NULL, into, NULL, SIZE, 0));
    SAY(lseek(from, 0, SEEK_CUR));
    SAY(lseek(into, 0, SEEK_CUR));
    whole("copied", to);
    at = 0;
    place = 4096;
    SAY(copy_file_range(into, &at, into, &place, 8192, 0));
    place = 16384;
    SAY(copy_file_range(into, &at, into, &place, 8000, 0));
    SAY(copy_file_range(into, &at, from, &place, 8000, 0));
    int appends = MUST(open(to, O_RDWR | O_APPEND));
    SAY(copy_file_range(from, &at, appends, NULL, 8000, 0));
    int pipes[2];
    MUST(pipe(pipes));
    at = 50;
    SAY(sendfile(pipes[1], from, &at, 5000));
    SAY(read(pipes[0], seen, 5000));
    say("sent: %lx, at %ld", sum_of(seen, 5000), (long)at);
    SAY(splice(from, &at, pipes[1], NULL, 5000, 0));
    SAY(splice(pipes[0], NULL, into, &place, 5000, 0));
    SAY(sendfile(into, from, NULL, 5000));
    whole("copied and sent", to);
}

int main(int argc UNUSED, char **argv) {
    memory = filled(SIZE, 'm');
    odd = filled(SIZE + PAGE, 'o');
    odd += 1;
    seen = filled(2 * SIZE, 0);
    for (int i = 0; i < SIZE; i++) {
        memory[i] = (char)(i * 7 + i / 4096);
        odd[i] = (char)(i * 5 + i / 512);
    }
    char *path = path_in(argv[1], "f"), *other = path_in(argv[1], "g");
    at_random(path);
    in_a_row(path, 0, 100);
    in_a_row(path, O_APPEND, 100);
    in_a_row(path, 0, 10240);
    in_a_row(path, O_APPEND, 10239);
    in_a_row(path, O_DSYNC, 5000);
    in_a_row(path, O_SYNC, 4096);
    forms(path);
    bad_memory(path);
    limited(path);
    shared(path);
    times(path);
    mapped(path);
    at_random(path);
    copied(path, other);
}
