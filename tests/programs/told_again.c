// A file in mixed use that is opened anew each time, and used each time by calls that the library doesn't cover; then the
// same in a child, and then with another file.
#include "hazard.h"

static void use(const char *path) {
    int file = MUST(open(path, O_RDWR | O_CREAT, 0644)), direct = MUST(open(path, O_RDWR | O_DIRECT));
    char *page = filled(PAGE, 't');
    MUST(pwrite(file, page, PAGE, 0));
    MUST(pwrite(direct, page, PAGE, 4 * PAGE));
    // Beside a mapping it falls back.
    char *mapped = map_page(file, 0);
    MUST(pwrite(direct, page, PAGE, 0));
    munmap(mapped, PAGE);
    off64_t from = 0, to = 2 * PAGE;
    MUST(copy_file_range(file, &from, file, &to, 10, 0));
    FILE *stream = fopen(path, "r+");
    if (!stream || fread(page, 1, 10, stream) != 10)
        MUST(-1);
    fclose(stream);
    close(direct);
    close(file);
    free(page);
}

int main(int argc, char **argv) {
    (void)argc;
    for (int i = 0; i < 10; i++)
        use(path_in(argv[1], "first"));
    pid_t child = MUST(fork());
    if (child == 0) {
        use(path_in(argv[1], "first"));
        _exit(0);
    }
    say_child("a child", child);
    for (int i = 0; i < 3; i++)
        use(path_in(argv[1], "second"));
    return 0;
}
