// A file in mixed use that is opened anew each time, and used each time by what the library doesn't cover: it has a second
// name, and it can't be opened once more for a copy. Then the same in a child, and then with another file.
#include "hazard.h"

static void use(const char *path) {
    int file = MUST(open(path, O_RDWR | O_CREAT, 0644));
    // Whoever has asked for a lease would see it broken by a second open.
    fcntl(file, F_SETLEASE, F_RDLCK);
    int direct = MUST(open(path, O_RDWR | O_DIRECT));
    char *page = filled(PAGE, 't');
    MUST(pwrite(file, page, PAGE, 0));
    // So it falls back, and a copy goes by the program's own descriptor.
    MUST(pwrite(direct, page, PAGE, 4 * PAGE));
    off64_t from = 0, to = 2 * PAGE;
    MUST(copy_file_range(direct, &from, file, &to, PAGE, 0));
    close(direct);
    close(file);
    free(page);
}

// In its directory the file has another name.
static char *linked(const char *dir, const char *name, const char *other) {
    char *path = path_in(dir, name);
    close(MUST(open(path, O_RDWR | O_CREAT, 0644)));
    unlink(path_in(dir, other));
    MUST(link(path, path_in(dir, other)));
    return path;
}

int main(int argc, char **argv) {
    (void)argc;
    char *first = linked(argv[1], "first", "1"), *second = linked(argv[1], "second", "2");
    for (int i = 0; i < 10; i++)
        use(first);
    pid_t child = MUST(fork());
    if (child == 0) {
        use(first);
        _exit(0);
    }
    say_child("a child", child);
    for (int i = 0; i < 3; i++)
        use(second);
    return 0;
}
