// With -DLIB a library whose constructor, which runs before a preload's, maps a file and closes it. The program forks:
// one process stores through that mapping, now and then, into the page behind the range that the other writes directly.
// Says how many rounds lost something: the direct write's bytes or the store.
#include "hazard.h"

#define MAPPED (8l << 20)
#define AT (512l << 10)
#define LEN (4l << 20)
extern char *mapped;

#ifdef LIB
char *mapped;

__attribute__((constructor)) static void before_everybody(void) {
    char *path = path_in(getenv("SEEN_LATE"), "raced");
    int fd = MUST(open(path, O_RDWR | O_CREAT, 0644));
    char *dots = filled(MAPPED, '.');
    MUST(pwrite(fd, dots, MAPPED, 0));
    free(dots);
    mapped = mmap(NULL, MAPPED, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED)
        exit(99);
    close(fd);
    madvise(mapped, MAPPED, MADV_HUGEPAGE);
}
#else

struct rounds {
    volatile uint64_t begun, stored;
    volatile int stop;
};

static void store(struct rounds *rounds) {
    for (uint64_t seen = 0; !rounds->stop;) {
        if (rounds->begun == seen) {
            usleep(20);
            continue;
        }
        seen = rounds->begun;
        for (double until = now() + (rand() % 6000) * 1e-6; now() < until;)
            ;
        *(volatile uint64_t *)(mapped + AT + LEN) = seen;
        madvise(mapped, MAPPED, MADV_DONTNEED);
        rounds->stored = seen;
    }
    _exit(0);
}

int main(int argc, char **argv) {
    (void)argc;
    struct rounds *rounds = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t other = MUST(fork());
    if (other == 0)
        store(rounds);
    MUST(munmap(mapped, MAPPED));
    int fd = MUST(open(path_in(argv[1], "raced"), O_RDWR | O_DIRECT));
    char *wrote = filled(LEN, 0), *seen = filled(LEN + PAGE, 0);
    int lost = 0;
    uint64_t n = 0;
    for (double end = now() + atof(argv[2]); now() < end;) {
        n++;
        memset(wrote, n & 255, LEN);
        fdatasync(fd);
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        rounds->begun = n;
        MUST(pwrite(fd, wrote, LEN, AT));
        while (rounds->stored != n)
            usleep(20);
        MUST(pread(fd, seen, LEN + PAGE, AT));
        lost += memcmp(wrote, seen, LEN) != 0 || *(uint64_t *)(seen + LEN) != n;
    }
    rounds->stop = 1;
    MUST(waitpid(other, NULL, 0));
    say("rounds=%lu", (unsigned long)n);
    say("lost=%d", lost);
}
#endif
