// A program that opens its files as root and then gives up the right to open them again: by
// setuid, by chroot. What it has open goes on being right, in its children too.
#include "hazard.h"

static void use(const char *what, struct both *file) {
    char *page = filled(PAGE, 'u'), *seen = filled(PAGE, 0);
    say("%s: reopen: %s", what, open(file->path, O_RDWR) < 0 ? strerrorname_np(errno) : "works");
    say("%s: direct: %zd", what, pwrite(file->direct, page, PAGE, PAGE));
    char *map = map_page(file->buffered, 2 * PAGE);
    map[0] = 'm';
    memset(page, 'v', PAGE);
    say("%s: beside a mapping: %zd", what, pwrite(file->direct, page, PAGE, PAGE));
    say("%s: over it: %zd, it has %c", what, pwrite(file->direct, page, PAGE, 2 * PAGE), map[1] == 'v' ? 'v' : '?');
    ssize_t n = pread(file->buffered, seen, PAGE, PAGE);
    say("%s: buffered read: %zd %c", what, n, seen[0]);
    n = pread(file->direct, seen, PAGE, PAGE);
    say("%s: direct read: %zd %c", what, n, seen[0]);
    pid_t pid = MUST(fork());
    if (pid == 0) {
        alarm(20);
        memset(page, 'w', PAGE);
        n = pwrite(file->direct, page, PAGE, 3 * PAGE);
        say("%s: child: %zd", what, n);
        exit(0);
    }
    say_child(what, pid);
    n = pread(file->buffered, seen, PAGE, 3 * PAGE);
    say("%s: the child wrote: %c", what, seen[0]);
    say("%s: fsync %d", what, fsync(file->direct));
    munmap(map, PAGE);
    free(page);
    free(seen);
}

int main(int argc, char **argv) {
    (void)argc;
    struct both first = open_both(argv[1], "first"), second = open_both(argv[1], "second");
    MUST(chmod(first.path, 0600));
    MUST(chmod(second.path, 0600));
    char *jail = path_in(argv[1], "jail");
    MUST(mkdir(jail, 0755));
    if (chroot(jail) == 0 && chdir("/") == 0)
        use("chroot", &first);
    int inside = MUST(open("/inside", O_RDWR | O_CREAT | O_DIRECT, 0666));
    char *page = filled(PAGE, 'i');
    say("inside: %zd", pwrite(inside, page, PAGE, 0));
    MUST(setgid(65534));
    MUST(setuid(65534));
    use("setuid", &second);
    say("inside: %zd", pwrite(inside, page, PAGE, PAGE));
    say("root again: %d", setuid(0));
}
