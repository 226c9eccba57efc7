// Locks its memory as an ordinary user who may lock 8 MiB: less than the lock table has, more than this program has.
#include "hazard.h"

static const char *locked(const void *at) {
    static char line[256];
    FILE *maps = fopen("/proc/self/smaps", "r");
    unsigned long start, end;
    int here = 0;
    while (maps && fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            here = start <= (unsigned long)at && (unsigned long)at < end;
        else if (here && !strncmp(line, "VmFlags:", 8))
            break;
    }
    if (maps)
        fclose(maps);
    return here && strstr(line, " lo") ? "locked" : "not locked";
}

int main(int argc, char **argv) {
    (void)argc;
    struct both file = open_both(argv[1], "f");
    struct rlimit limit = {8 << 20, 8 << 20};
    MUST(setrlimit(RLIMIT_MEMLOCK, &limit));
    MUST(setresuid(65534, 65534, 65534));
    char *small = filled(PAGE, 's'), *none = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    SAY(mlockall(MCL_CURRENT));
    say("what was there: %s", locked(small));
    SAY(munlockall());
    SAY(mlockall(MCL_CURRENT | MCL_FUTURE));
    char *later = map_page(file.buffered, 0);
    say("what was there: %s, what came later: %s", locked(small), locked(later));
    SAY(munlockall());
    SAY(mlockall(MCL_CURRENT | MCL_ONFAULT));
    SAY(munlockall());
    SAY(mlockall(0));
    SAY(mlockall(MCL_ONFAULT));
    char *large = mmap(NULL, 9 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    SAY(mlockall(MCL_CURRENT));
    say("what was there: %s", locked(large));
    SAY(pwrite(file.direct, small, PAGE, 0));
    (void)none;
}
