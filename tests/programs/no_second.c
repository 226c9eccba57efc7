// Direct reads and appends at the file offset, beside a mapping, of a file on which the program has taken a POSIX lock
// before: so the library can't have a second descriptor. With buffers and offsets that aren't aligned.
#include "hazard.h"

#define PAGES 8

static int direct, append;
static char *memory;

static void read_at(off_t at, int misaligned, size_t length) {
    MUST(lseek(direct, at, SEEK_SET));
    memset(memory, '-', 2 * PAGE);
    ssize_t n = read(direct, memory + misaligned, length);
    int error = errno;
    long to = lseek(direct, 0, SEEK_CUR);
    say("read of %zu at %ld, memory +%d: %zd %s, %c.. to %ld", length, (long)at, misaligned, n,
        n < 0 ? strerrorname_np(error) : "", n > 0 ? memory[misaligned] : '-', to);
}

static void append_at(off_t at, int misaligned) {
    MUST(lseek(append, at, SEEK_SET));
    memset(memory, 'a', 2 * PAGE);
    struct iovec one = {memory + misaligned, PAGE};
    int before = lseek(direct, 0, SEEK_END);
    SAY(misaligned ? pwritev(append, &one, 1, at) : write(append, memory, PAGE));
    say("at %ld, memory +%d: offset %ld, longer by %ld", (long)at, misaligned, (long)lseek(append, 0, SEEK_CUR),
        (long)lseek(direct, 0, SEEK_END) - before);
}

int main(int argc, char **argv) {
    (void)argc;
    char *path = path_in(argv[1], "f"), *fill = filled(PAGE, 0);
    int buffered = MUST(open(path, O_RDWR | O_CREAT | O_TRUNC, 0600));
    for (int i = 0; i < PAGES; i++) {
        memset(fill, 'A' + i, PAGE);
        MUST(pwrite(buffered, fill, PAGE, i * PAGE));
    }
    MUST(fsync(buffered));
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    MUST(fcntl(buffered, F_SETLK, &lock));
    direct = MUST(open(path, O_RDWR | O_DIRECT));
    append = MUST(open(path, O_WRONLY | O_DIRECT | O_APPEND));
    char *map = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, buffered, 0);
    if (map == MAP_FAILED)
        MUST(-1);
    map[0] = 'm';
    memory = filled(4 * PAGE, '-');
    const int misaligned[] = {0, 1, 8, 256, 512};
    for (size_t i = 0; i < sizeof misaligned / sizeof *misaligned; i++) {
        read_at(0, misaligned[i], 512);
        read_at(PAGE, misaligned[i], PAGE);
        read_at((PAGES - 1) * PAGE, misaligned[i], PAGE);
        read_at((PAGES - 1) * PAGE, misaligned[i], PAGE + 512);
        read_at(PAGE, misaligned[i], 100);
        read_at(100, misaligned[i], 512);
    }
    const off_t places[] = {0, 512, 1, 100, 513};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        append_at(places[i], 0);
        append_at(places[i], 512);
    }
    say("in the end %ld", (long)lseek(direct, 0, SEEK_END));
    return 0;
}
