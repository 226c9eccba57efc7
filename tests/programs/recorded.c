// Makes each kind of call on a file once, in an order that the test knows. WHAT: "all", or "buffered": one mode only.
#include "hazard.h"
#include <sys/uio.h>

int main(int argc, char **argv) {
    char path[4096];
    snprintf(path, sizeof path, "%s/data", argv[1]);
    int all = argc > 2 && !strcmp(argv[2], "all");
    char *page = filled(PAGE, 1);
    int fd = MUST(open(path, O_RDWR | O_CREAT, 0600));
    MUST(pwrite(fd, page, PAGE, 0));
    MUST(pwrite(fd, page, PAGE, PAGE));
    MUST(pread(fd, page, 100, 50));
    MUST(lseek(fd, 4000, SEEK_SET));
    MUST(read(fd, page, 200));
    struct iovec two[] = {{page, 10}, {page, 20}};
    MUST(pwritev(fd, two, 2, 5000));
    MUST(fsync(fd));
    char *volatile nothing = (char *)8;
    if (pread(fd, nothing, 10, 0) != -1 || errno != EFAULT)
        say("read into nothing");
    if (all) {
        int direct = MUST(open(path, O_RDWR | O_DIRECT));
        MUST(pread(direct, page, PAGE, PAGE));
        MUST(pwrite(direct, page, PAGE, PAGE));
        char *map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, PAGE);
        MUST(map == MAP_FAILED ? -1 : 0);
        MUST(munmap(map, PAGE));
        off_t from = 0, to = 3 * PAGE;
        MUST(copy_file_range(fd, &from, fd, &to, 1000, 0));
    }
    MUST(ftruncate(fd, 6000));
    say("made");
    return 0;
}
