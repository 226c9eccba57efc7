// On layers: a direct write is on the device when it has returned, whichever way it went. The merged directory is the
// first argument, the upper layer the second.
#include "hazard.h"
#include <sys/syscall.h>

static void say_dirty(const char *what, const char *upper, off_t at) {
    struct {
        uint64_t offset, length;
    } range = {at, PAGE};
    struct {
        uint64_t cached, dirty, writeback, evicted, recently;
    } pages = {0};
    int fd = MUST(open(upper, O_RDWR));
    MUST(syscall(451 /* cachestat */, fd, &range, &pages, 0));
    say("%s: %lu dirty", what, pages.dirty + pages.writeback);
    close(fd);
}

int main(int argc, char **argv) {
    (void)argc;
    struct both file = open_both(argv[1], "f");
    char *upper = path_in(argv[2], "f"), *data = filled(PAGE, 'd');
    MUST(fsync(file.buffered));
    MUST(pwrite(file.direct, data, PAGE, 8 * PAGE));
    say_dirty("beside readers and writers", upper, 8 * PAGE);
    char *map = map_page(file.buffered, 0);
    map[0] = 'm';
    MUST(pwrite(file.direct, data, PAGE, 4 * PAGE));
    say_dirty("beside a mapping", upper, 4 * PAGE);
    MUST(pwrite(file.direct, data, PAGE, 0));
    say("in the mapping: %c", map[1]);
    say_page("beside a mapping", file.path, 4 * PAGE);
    say_page("in the mapping", file.path, 0);
}
