// A file on a filesystem in user space, used both ways.
#include "fuse.h"

int main(int argc, char **argv) {
    (void)argc;
    char *mount = path_in(argv[1], "mnt");
    MUST(mkdir(mount, 0755));
    serve_fuse(mount);
    memset(fuse->bytes, '.', FUSE_SIZE);
    fuse->size = FUSE_SIZE;
    char *path = path_in(mount, "f"), *data = filled(PAGE, 'd');
    int buffered = MUST(open(path, O_RDWR)), direct = MUST(open(path, O_RDWR | O_DIRECT));
    char *map = map_page(buffered, 0);
    map[0] = 'm';
    SAY(pwrite(direct, data, PAGE, PAGE));
    SAY(pread(buffered, data, PAGE, 0));
    say("%c%c", data[0], data[1]);
    say_page("written", path, PAGE);
}
