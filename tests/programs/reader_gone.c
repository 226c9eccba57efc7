// Waits for a file "go" and then uses a file both ways: what is told of that finds no reader any more.
#include "hazard.h"

int main(int argc, char **argv) {
    (void)argc;
    const char *go = path_in(argv[1], "go");
    while (access(go, F_OK))
        usleep(1000);
    struct both file = open_both(argv[1], "data");
    char *page = filled(PAGE, 'r');
    MUST(pwrite(file.direct, page, PAGE, 0));
    MUST(pread(file.buffered, page, PAGE, 0));
    say("data %s", all(page, PAGE, 'r') ? "right" : "wrong");
    return 0;
}
