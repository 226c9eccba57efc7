// A fixed mapping that is read in at once, over one that is there, where the address space has no room for both.
#include "hazard.h"

#define BYTES (64UL << 20)

int main(int argc, char **argv) {
    (void)argc;
    int fd = MUST(open(path_in(argv[1], "f"), O_RDWR | O_CREAT, 0600));
    MUST(ftruncate(fd, BYTES));
    char *map = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        MUST(-1);
    long pages = 0;
    FILE *used = fopen("/proc/self/statm", "r");
    if (!used || fscanf(used, "%ld", &pages) != 1)
        MUST(-1);
    fclose(used);
    struct rlimit limit = {pages * PAGE + BYTES / 4, RLIM_INFINITY};
    MUST(setrlimit(RLIMIT_AS, &limit));
    for (int prot = PROT_READ; prot <= (PROT_READ | PROT_WRITE); prot += PROT_WRITE) {
        char *over = mmap(map, BYTES, prot, MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, 0);
        say("over it: %s", over == map ? "there" : strerrorname_np(errno));
    }
    return 0;
}
