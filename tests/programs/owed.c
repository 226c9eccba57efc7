// Others, who aren't fenced, use the file in both ways until the kernel could not drop a page: that stands in the file as a
// writeback error which nobody has been told. The next fsync is, or msync, once, whatever the program did with the file before.
#include "hazard.h"

enum { LENGTH = 16 * PAGE };

static pid_t other(const char *dir, const char *what) {
    pid_t pid = MUST(fork());
    if (pid == 0) {
        unsetenv("LD_PRELOAD");
        execl("/proc/self/exe", "owed", dir, what, NULL);
        _exit(99);
    }
    return pid;
}

static void store(const char *path) {
    volatile char *bytes = map_page(MUST(open(path, O_RDWR)), 0);
    for (;;)
        bytes[0]++;
}

static void write_directly(const char *path) {
    int fd = MUST(open(path, O_RDWR | O_DIRECT));
    char *data = filled(LENGTH, 'w');
    for (double end = now() + 2; now() < end;)
        MUST(pwrite(fd, data, LENGTH, 0));
}

int main(int argc, char **argv) {
    const char *path = path_in(argv[1], "f");
    const char *what = argc > 2 ? argv[2] : "fsync";
    if (!strcmp(what, "store"))
        store(path);
    if (!strcmp(what, "write")) {
        write_directly(path);
        return 0;
    }
    struct both file = open_both(argv[1], "f");
    char *data = filled(LENGTH, 'd');
    MUST(pwrite(file.buffered, data, LENGTH, 0));
    MUST(pwrite(file.direct, data, LENGTH, 0));
    pid_t storing = other(argv[1], "store");
    say_child("others write", other(argv[1], "write"));
    kill(storing, SIGKILL);
    waitpid(storing, NULL, 0);
    SAY(pwrite(file.direct, data, LENGTH, 0));
    int fd = MUST(open(path, O_RDWR));
    char *shown = map_page(fd, 0);
    for (int i = 0; i < 2; i++)
        if (!strcmp(what, "msync"))
            SAY(msync(shown, PAGE, MS_SYNC));
        else
            SAY(fsync(fd));
    return 0;
}
