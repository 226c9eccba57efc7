// The first use of a file on a server that is slow to say what the file is, or what it lies on. The other threads of the
// program go on opening and mapping files meanwhile. Says how many milliseconds they needed.
#include "fuse.h"

static int served;
static volatile int used;

static void *use(void *argument) {
    char byte;
    MUST(pread(served, &byte, 1, 0));
    say("first byte %c", byte);
    used = 1;
    return argument;
}

int main(int argc, char **argv) {
    (void)argc;
    char *mount = path_in(argv[1], "mnt");
    MUST(mkdir(mount, 0755));
    struct both both = open_both(argv[1], "f");
    map_page(both.buffered, 0);
    serve_fuse(mount);
    memset(fuse->bytes, 's', FUSE_SIZE);
    fuse->size = FUSE_SIZE;
    fuse->attributes_valid = 0;
    static const unsigned calls[] = {FUSE_STATFS, FUSE_GETATTR};
    for (int i = 0; i < 2; i++) {
        served = MUST(open(path_in(mount, "f"), O_RDWR));
        fuse->slow_call = calls[i];
        used = 0;
        pid_t pid = MUST(fork());
        if (pid == 0) { // the answer comes, whatever becomes of this process
            usleep(900000);
            fuse->slow_call = 0;
            _exit(0);
        }
        pthread_t thread;
        pthread_create(&thread, NULL, use, NULL);
        usleep(100000);
        int waited_for = !used;
        double begun = now();
        int fd = MUST(open(both.path, O_RDWR));
        char byte;
        MUST(pread(fd, &byte, 1, 0));
        char *page = map_page(fd, PAGE);
        MUST(munmap(page, PAGE));
        MUST(close(fd));
        int needed = (int)((now() - begun) * 1000);
        pthread_join(thread, NULL);
        waitpid(pid, NULL, 0);
        MUST(close(served));
        say("waited=%d", waited_for);
        say("needed=%d", needed);
    }
}
