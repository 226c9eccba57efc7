// Writes a file both ways, reads it back both ways and says whether the data is right. Nothing
// else: what more is on standard error is not its own.
#include "hazard.h"

int main(int argc, char **argv) {
    (void)argc;
    struct both file = open_both(argv[1], "data");
    char *page = filled(PAGE, 'b'), *seen = filled(PAGE, 0);
    MUST(pwrite(file.buffered, page, PAGE, PAGE));
    MUST(pread(file.direct, seen, PAGE, PAGE));
    int right = all(seen, PAGE, 'b');
    memset(page, 'd', PAGE);
    MUST(pwrite(file.direct, page, PAGE, 2 * PAGE));
    MUST(pread(file.buffered, seen, PAGE, 2 * PAGE));
    right &= all(seen, PAGE, 'd');
    say("data %s", right ? "right" : "wrong");
    return !right;
}
