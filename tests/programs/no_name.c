// Files that can't be opened by name a second time: O_TMPFILE, unlinked, no longer permitted by
// mode. Direct writes beside a mapping are right on them too.
#include "hazard.h"

static void use(const char *what, int fd) {
    char *page = filled(PAGE, 'd'), *dots = filled(SIZE, '.'), *seen = filled(PAGE, 0);
    MUST(pwrite(fd, dots, SIZE, 0));
    MUST(fcntl(fd, F_SETFL, O_DIRECT));
    say("%s: direct write: %zd", what, pwrite(fd, page, PAGE, PAGE));
    char *map = map_page(fd, 2 * PAGE);
    memset(map, 'm', PAGE);
    memset(page, 'e', PAGE);
    say("%s: beside a mapping: %zd", what, pwrite(fd, page, PAGE, PAGE));
    memset(page, 'o', PAGE);
    say("%s: over the mapping: %zd", what, pwrite(fd, page, PAGE, 2 * PAGE));
    say("%s: the mapping has %c", what, map[7]);
    say("%s: flags %#x", what, fcntl(fd, F_GETFL) & (O_DIRECT | O_APPEND));
    ssize_t n = pread(fd, seen, PAGE, PAGE);
    say("%s: direct read: %zd, %c", what, n, seen[9]);
    MUST(fcntl(fd, F_SETFL, 0));
    n = pread(fd, seen, PAGE, PAGE);
    say("%s: buffered read: %zd, %c", what, n, seen[9]);
    say("%s: fsync: %d", what, fsync(fd));
    munmap(map, PAGE);
    free(page);
    free(dots);
    free(seen);
}

int main(int argc, char **argv) {
    (void)argc;
    int fd = open(argv[1], O_TMPFILE | O_RDWR, 0600);
    say("O_TMPFILE: %s", fd < 0 ? strerrorname_np(errno) : "made");
    if (fd >= 0) {
        use("O_TMPFILE", fd);
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        // Where /proc is not mounted this fails, bare as fenced.
        SAY(linkat(AT_FDCWD, link, AT_FDCWD, path_in(argv[1], "linked"), AT_SYMLINK_FOLLOW));
        close(fd);
    }
    SAY(open(argv[1], O_DIRECTORY | O_RDWR));
    fd = MUST(open(argv[1], O_DIRECTORY | O_RDONLY));
    SAY(close(fd));
    char *path = path_in(argv[1], "u");
    fd = MUST(open(path, O_RDWR | O_CREAT, 0600));
    MUST(unlink(path));
    use("unlinked", fd);
    close(fd);
    // Renamed and replaced: the name is somebody else's now.
    fd = MUST(open(path, O_RDWR | O_CREAT, 0600));
    MUST(rename(path, path_in(argv[1], "v")));
    int other = MUST(open(path, O_RDWR | O_CREAT, 0600));
    use("renamed", fd);
    struct stat st;
    fstat(other, &st);
    say("the file that took the name has %ld bytes", (long)st.st_size);
}
