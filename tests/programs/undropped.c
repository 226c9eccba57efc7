// One who isn't fenced stores to a page of the file all the time ("store"), while direct writes go over it ("write"):
// the kernel can't drop the page after them. What was written, but for the word that is stored, is there all the same.
#include "hazard.h"

enum { LENGTH = 256 * PAGE, AT = LENGTH - PAGE };

static void store(const char *dir) {
    int fd = MUST(open(path_in(dir, "f"), O_RDWR));
    volatile unsigned *word = (void *)map_page(fd, AT);
    say("storing");
    for (double end = now() + 30; now() < end;)
        for (int i = 0; i < 1000; i++)
            ++*word;
}

static int lost(int fd, const char *data, char *seen) {
    MUST(pread(fd, seen, LENGTH, 0));
    memcpy(seen + AT, data + AT, sizeof(unsigned));
    return memcmp(data, seen, LENGTH) != 0;
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    if (argv[2][0] == 's') {
        store(argv[1]);
        return 0;
    }
    struct both file = open_both(argv[1], "f");
    char *data = filled(LENGTH, 'd'), *seen = filled(LENGTH, 0);
    step("made");
    const char *enough = path_in(argv[1], "enough");
    long wrong = 0;
    double end = now() + 15;
    for (int round = 0; now() < end && (round < 20 || access(enough, F_OK) != 0); round++) {
        memset(data, 'a' + round % 26, LENGTH);
        MUST(pwrite(file.direct, data, LENGTH, 0));
        wrong += lost(file.buffered, data, seen) || lost(file.direct, data, seen);
    }
    say("lost: %ld", wrong);
    return 0;
}
