// Closing everything and opening again gives the lowest number, and no descriptor of anybody
// else's is in the way; what is opened afterwards works.
#include "hazard.h"
#include <sys/syscall.h>

static const char *dir;

// Leaves a mixed, mapped file whose direct writes need more than one descriptor.
static void prepare(void) {
    struct both file = open_both(dir, "f");
    char *map = map_page(file.buffered, PAGE), *page = filled(PAGE, 'p');
    MUST(pwrite(file.direct, page, PAGE, 2 * PAGE));
    map[0] = 'm';
    say("opened %d and %d", file.buffered, file.direct);
    munmap(map, PAGE);
    free(page);
}

static void after(const char *what) {
    char *page = filled(PAGE, 'q');
    struct both file = open_both(dir, "g");
    say("%s: then %d and %d", what, file.buffered, file.direct);
    char *map = map_page(file.buffered, PAGE);
    MUST(pwrite(file.direct, page, PAGE, 3 * PAGE));
    map[0] = 'n';
    say_page(what, file.path, 3 * PAGE);
    int pair[2];
    MUST(pipe(pair));
    say("pipe: %d and %d", pair[0], pair[1]);
    MUST(write(pair[1], "x", 1));
    say("through it: %zd", read(pair[0], page, PAGE));
    munmap(map, PAGE);
    free(page);
}

int main(int argc, char **argv) {
    (void)argc;
    dir = argv[1];
    prepare();
    closefrom(3);
    after("closefrom");
    prepare();
    SAY(close_range(3, ~0U, 0));
    after("close_range");
    prepare();
    SAY(close_range(3, ~0U, CLOSE_RANGE_UNSHARE));
    after("close_range unshare");
    for (int fd = 3; fd < 2048; fd++)
        close(fd);
    after("a loop of close");
    SAY(close_range(3, ~0U, CLOSE_RANGE_CLOEXEC));
    say("cloexec: %d", fcntl(3, F_GETFD));
    SAY(close_range(9, 3, 0));
    SAY(close_range(3, 4, 77));
    SAY(close(3));
    SAY(close(3));
    SAY(close(-1));
    SAY(syscall(SYS_close, 4));
    say("then %d", open("/dev/null", O_RDONLY));
    say("then %d", open("/dev/null", O_RDONLY));
}
