// Stores through a mapping of FILE, in two pages at OFFSET, until there is a file named in DONE; and says whether they are
// there in the end, in the cache and on the device.
#include "hazard.h"

int main(int argc, char **argv) {
    if (argc != 4)
        return 2;
    off_t at = atol(argv[2]);
    int fd = MUST(open(argv[1], O_RDWR));
    volatile uint64_t *mapped = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, at);
    if (mapped == MAP_FAILED)
        return 3;
    uint64_t number = 0, seen[2 * PAGE / 8];
    say("stores");
    while (access(argv[3], F_OK)) {
        number++;
        for (int i = 0; i < 2 * PAGE / 8; i++)
            mapped[i] = number + i;
    }
    munmap((void *)mapped, 2 * PAGE);
    int lost = 0;
    for (int device = 0; device < 2; device++) {
        uint64_t *into = seen;
        if (device) {
            MUST(fsync(fd));
            close(fd);
            fd = MUST(open(argv[1], O_RDONLY | O_DIRECT));
            into = (uint64_t *)filled(2 * PAGE, 0);
        }
        MUST(pread(fd, into, 2 * PAGE, at));
        for (int i = 0; i < 2 * PAGE / 8; i++)
            lost += into[i] != number + i;
    }
    say("%s", lost ? "LOST" : "kept");
    return lost != 0;
}
