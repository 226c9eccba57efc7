// How many descriptors the program can have, and what calls say of the numbers that it doesn't have, with direct writes
// beside a mapping before. argv: the directory, and what to be under: "as is", "5" (RLIMIT_NOFILE), or "no rights":
// no higher limit, and no right to one.
#include "hazard.h"
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>

static void again(char **argv, rlim_t limit) {
    MUST(setrlimit(RLIMIT_NOFILE, &(struct rlimit){limit, limit}));
    MUST(execl("/proc/self/exe", argv[0], argv[1], "as is", NULL));
}

#define ASK(call)                                                                                                      \
    do {                                                                                                               \
        errno = 0;                                                                                                     \
        if ((long)(call) != -1 || errno != EBADF)                                                                      \
            say(#call ": %s", errno ? strerrorname_np(errno) : "works");                                               \
    } while (0)

int main(int argc, char **argv) {
    (void)argc;
    if (!strcmp(argv[2], "5"))
        again(argv, 5);
    if (!strcmp(argv[2], "no rights")) {
        MUST(prctl(PR_CAPBSET_DROP, CAP_SYS_RESOURCE));
        again(argv, 64);
    }
    char *page = filled(PAGE, 'n');
    int direct = open(path_in(argv[1], "f"), O_RDWR | O_DIRECT);
    if (direct >= 0) {
        int buffered = open(path_in(argv[1], "f"), O_RDWR);
        char *map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, direct, 0);
        say("beside a mapping: %zd", pwrite(direct, page, PAGE, PAGE));
        say("and far from it: %zd", pwrite(direct, page, PAGE, 3 * 1024 * 1024));
        munmap(map, PAGE);
        close(buffered);
        close(direct);
    }
    struct rlimit r;
    MUST(getrlimit(RLIMIT_NOFILE, &r));
    int free_numbers = 0, made = 0, top = r.rlim_cur < 10000 ? (int)r.rlim_cur : 10000;
    for (int fd = 0; fd < top; fd++) {
        char c;
        struct stat stat;
        if (fcntl(fd, F_GETFD) >= 0)
            continue;
        free_numbers++;
        ASK(read(fd, &c, 1));
        ASK(write(fd, &c, 1));
        ASK(pread(fd, &c, 1, 0));
        ASK(pwrite(fd, &c, 1, 0));
        ASK(readv(fd, &(struct iovec){&c, 1}, 1));
        ASK(pwritev(fd, &(struct iovec){&c, 1}, 1, 0));
        ASK(lseek(fd, 0, SEEK_CUR));
        ASK(ftruncate(fd, 0));
        ASK(fallocate(fd, 0, 0, 1));
        ASK(fsync(fd));
        ASK(fdatasync(fd));
        ASK(sync_file_range(fd, 0, 0, 0));
        ASK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0));
        ASK(fstat(fd, &stat));
        ASK(fcntl(fd, F_GETFL));
        ASK(fcntl(fd, F_SETFL, 0));
        ASK(fcntl(fd, F_DUPFD, 0));
        ASK(lockf(fd, F_TEST, 1));
        ASK(dup(fd));
        ASK(dup2(fd, 0));
        ASK(close(fd));
        ASK(copy_file_range(fd, NULL, 0, NULL, 1, 0));
        ASK(sendfile(1, fd, NULL, 1));
        ASK(splice(fd, NULL, 1, NULL, 1, 0));
        ASK(fdopen(fd, "r") ? 0 : -1);
    }
    while (made < 10000 && dup(0) >= 0)
        made++;
    say("numbers free %d, of which dup gives %d", free_numbers, made);
}
