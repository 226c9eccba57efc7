// A mapping that is read in at once (MAP_LOCKED, MAP_POPULATE, mlockall) from a server that is slow. The other threads
// of the program go on opening and mapping files meanwhile. Says how many milliseconds they needed.
#include "fuse.h"

static int served, plain;
static char *dir, *place;
static struct kind {
    const char *name;
    int flags, fixed, all;
} *kind;
static volatile int mapped;

static void *map_slowly(void *argument) {
    if (kind->all)
        MUST(mlockall(MCL_FUTURE));
    int flags = kind->flags | (kind->fixed ? MAP_FIXED : 0);
    char *at = mmap(kind->fixed ? place : NULL, 4 * PAGE, PROT_READ | PROT_WRITE, flags, served, 0);
    if (at == MAP_FAILED)
        MUST(-1);
    if (kind->fixed && at != place)
        say("not where it was wanted");
    unsigned char in[4] = {0};
    MUST(mincore(at, 4 * PAGE, in));
    say("%s: first byte %c, %s", kind->name, at[0], in[0] & in[3] & 1 ? "all there" : "not there");
    munlockall();
    MUST(munmap(at, 4 * PAGE));
    mapped = 1;
    return argument;
}

int main(int argc, char **argv) {
    (void)argc;
    dir = argv[1];
    char *mount = path_in(dir, "mnt");
    MUST(mkdir(mount, 0755));
    struct both both = open_both(dir, "f");
    plain = both.buffered;
    map_page(plain, 0);
    serve_fuse(mount);
    memset(fuse->bytes, 's', FUSE_SIZE);
    fuse->size = FUSE_SIZE;
    served = MUST(open(path_in(mount, "f"), O_RDWR));
    char byte;
    struct kind kinds[] = {
        {"populated", MAP_SHARED | MAP_POPULATE, 0, 0},
        {"locked", MAP_SHARED | MAP_LOCKED, 0, 0},
        {"locked in its place", MAP_SHARED | MAP_LOCKED, 1, 0},
        {"private, populated in its place", MAP_PRIVATE | MAP_POPULATE, 1, 0},
        {"locked by mlockall", MAP_SHARED, 0, 1},
        {"locked by mlockall in its place", MAP_SHARED, 1, 1},
    };
    for (kind = kinds; kind < kinds + sizeof kinds / sizeof *kinds; kind++) {
        MUST(posix_fadvise(served, 0, 0, POSIX_FADV_DONTNEED));
        place = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, plain, 0);
        fuse->slow = 1;
        mapped = 0;
        pid_t pid = MUST(fork());
        if (pid == 0) { // the pages come, whatever becomes of this process
            usleep(900000);
            fuse->slow = 0;
            _exit(0);
        }
        pthread_t thread;
        pthread_create(&thread, NULL, map_slowly, NULL);
        usleep(100000);
        int waited_for = !mapped;
        double begun = now();
        int fd = MUST(open(both.path, O_RDWR));
        MUST(pread(fd, &byte, 1, 0));
        char *page = map_page(fd, PAGE);
        MUST(mprotect(page, PAGE, PROT_READ));
        MUST(munmap(page, PAGE));
        MUST(close(fd));
        int needed = (int)((now() - begun) * 1000);
        pthread_join(thread, NULL);
        waitpid(pid, NULL, 0);
        say("waited=%d", waited_for);
        say("needed=%d", needed);
    }
}
