// One kind of call many times over, on a file that is used in one mode ("one", or "direct"; "handled": in a program that has
// a signal handler) or in both ("mixed"), between two lines on the standard error output: a tracer counts which calls reach the kernel in between.
#include "hazard.h"

enum { TIMES = 16 };

// Opened, used once, closed.
static void used_once(const char *path, char *page) {
    int fd = MUST(open(path, O_RDWR | O_CREAT, 0644));
    MUST(pread(fd, page, PAGE, 0));
    MUST(close(fd));
}

static void handler(int number) {
    (void)number;
}

int main(int argc, char **argv) {
    if (argc < 4)
        return 2;
    const char *path = path_in(argv[1], "f"), *other = path_in(argv[1], "other"), *what = argv[3];
    int mixed = !strcmp(argv[2], "mixed"), all_direct = !strcmp(argv[2], "direct");
    int fd = MUST(open(path, O_RDWR | O_CREAT | O_TRUNC | (all_direct ? O_DIRECT : 0), 0644));
    int direct = mixed ? MUST(open(path, O_RDWR | O_DIRECT)) : fd;
    char *page = filled(PAGE, 'x');
    for (int i = 0; i < 2 * TIMES; i++)
        MUST(pwrite(fd, page, PAGE, i * PAGE));
    if (mixed) {
        MUST(pwrite(direct, page, PAGE, 0));
        MUST(pread(direct, page, PAGE, 0));
    }
    // The file has grown: after some more calls nobody relies on ranges any more.
    for (int i = 0; all_direct && i < 100; i++)
        MUST(pread(fd, page, PAGE, 0));
    if (all_direct)
        MUST(pwrite(fd, page, PAGE, 0));
    MUST(pread(fd, page, PAGE, 0));
    MUST(lseek(fd, 0, SEEK_SET));
    MUST(read(fd, page, PAGE));
    // Often enough to be worth a look whether any handler can come.
    for (int i = 0; i < 33; i++)
        if (!strcmp(what, "mmap"))
            munmap(map_page(fd, 0), PAGE);
        else
            used_once(other, page);
    if (!strcmp(argv[2], "handled"))
        signal(SIGUSR1, handler);
    if (!strcmp(what, "mmap"))
        munmap(map_page(fd, 0), PAGE);
    MUST(write(STDERR_FILENO, "begin", 5));
    for (int i = 0; i < TIMES; i++) {
        off_t at = i * PAGE;
        if (!strcmp(what, "pread"))
            MUST(pread(fd, page, PAGE, at));
        else if (!strcmp(what, "pwrite"))
            MUST(pwrite(fd, page, PAGE, at));
        else if (!strcmp(what, "read"))
            MUST(read(fd, page, PAGE));
        else if (!strcmp(what, "write"))
            MUST(write(fd, page, PAGE));
        else if (!strcmp(what, "lseek"))
            MUST(lseek(fd, at, SEEK_SET));
        else if (!strcmp(what, "direct pread"))
            MUST(pread(direct, page, PAGE, at));
        else if (!strcmp(what, "direct pwrite"))
            MUST(pwrite(direct, page, PAGE, at));
        else if (!strcmp(what, "mmap"))
            munmap(map_page(fd, at), PAGE);
        else if (!strcmp(what, "open"))
            used_once(other, page);
    }
    MUST(write(STDERR_FILENO, "end", 3));
    return 0;
}
