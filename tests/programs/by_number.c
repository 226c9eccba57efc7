// The calls of the table by their numbers, through `syscall`: the results are the bare kernel's, what another way of using
// the file would see is the same, and what makes numbers gets those that the fence keeps when there are no others.
#include "hazard.h"
#include <linux/capability.h>
#include <linux/openat2.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#define BY(name, ...) SAY(syscall(SYS_##name, __VA_ARGS__))

static struct both file;
static char *page, *map;
static struct iovec parts[2];

static void see(const char *what) { say("%s: the mapping has %c and %c", what, map[0], map[PAGE]); }

static void fill(char byte) { memset(page, byte, 2 * PAGE); }

static void moves(void) {
    fill('1');
    BY(pwrite64, file.direct, page, 2 * PAGE, 0);
    see("pwrite64");
    fill('2');
    BY(pwritev, file.direct, parts, 2, 0, 0);
    see("pwritev");
    fill('3');
    BY(pwritev2, file.direct, parts, 2, 0, 0, 0);
    see("pwritev2");
    BY(lseek, file.direct, 0, SEEK_SET);
    fill('4');
    BY(write, file.direct, page, PAGE);
    fill('5');
    BY(writev, file.direct, parts, 1);
    see("write, writev");
    fill('6');
    BY(pwritev2, file.direct, parts, 1, -1L, -1L, 0);
    BY(lseek, file.direct, 0, SEEK_CUR);
    map[0] = 'a', map[PAGE] = 'b';
    BY(pread64, file.direct, page, 2 * PAGE, 0);
    say("pread64: %c %c", page[0], page[PAGE]);
    map[0] = 'c', map[PAGE] = 'd';
    BY(preadv, file.direct, parts, 2, 0, 0);
    say("preadv: %c %c", page[0], page[PAGE]);
    map[0] = 'e', map[PAGE] = 'f';
    BY(preadv2, file.direct, parts, 2, 0, 0, 0);
    say("preadv2: %c %c", page[0], page[PAGE]);
    BY(lseek, file.direct, 0, SEEK_SET);
    map[0] = 'g', map[PAGE] = 'h';
    BY(read, file.direct, page, PAGE);
    BY(readv, file.direct, parts + 1, 1);
    say("read, readv: %c %c", page[0], page[PAGE]);
    BY(preadv2, file.direct, parts, 1, -1L, -1L, 0);
    BY(lseek, file.direct, 0, SEEK_CUR);
}

// What is wrong only in the half of a word that an int doesn't show.
static void words(void) {
    unsigned long high = 1UL << 32;
    BY(readv, file.direct, parts, high + 1);
    BY(pwritev, file.direct, parts, high + 1, 0, 0);
    BY(preadv2, file.direct, parts, high + 1, 0, 0, 0);
    BY(fcntl, high + file.direct, F_GETFD, 0);
    BY(mprotect, map, PAGE, high | PROT_READ);
    BY(mremap, map, PAGE, PAGE, high);
    struct open_how how = {.flags = high | O_RDWR | O_TRUNC};
    BY(openat2, AT_FDCWD, file.path, &how, sizeof how);
    BY(lseek, file.direct, 0, high + SEEK_CUR);
}

static void layouts(void) {
    BY(ftruncate, file.buffered, SIZE + PAGE);
    BY(truncate, file.path, SIZE);
    BY(fallocate, file.direct, 0, SIZE, PAGE);
    BY(fsync, file.direct);
    BY(fdatasync, file.buffered);
    BY(sync_file_range, file.direct, 0, PAGE, SYNC_FILE_RANGE_WAIT_BEFORE);
    struct stat facts;
    BY(fstat, file.direct, &facts);
    say("its size: %ld", (long)facts.st_size);
}

static void mappings(void) {
    char *more = (char *)MUST(syscall(SYS_mmap, NULL, 2 * PAGE, PROT_READ, MAP_SHARED, file.buffered, 0));
    BY(mprotect, more, 2 * PAGE, PROT_READ | PROT_WRITE);
    more[0] = 'm';
    BY(pread64, file.direct, page, PAGE, 0);
    say("what was stored: %c", page[0]);
    more = (char *)MUST(syscall(SYS_mremap, more, 2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE, 0));
    say("mremap: %c", more[0]);
    BY(munmap, more, 4 * PAGE);
}

static void numbers(const char *dir) {
    int low = MUST(syscall(SYS_dup, file.buffered));
    BY(dup3, file.direct, low, O_CLOEXEC);
    BY(fcntl, low, F_GETFD, 0);
#ifdef SYS_dup2
    BY(dup2, file.buffered, low);
    BY(fcntl, low, F_GETFL, 0);
#endif
    int also = MUST(syscall(SYS_fcntl, low, F_DUPFD, low + 5));
    BY(close, low);
    BY(close_range, also, also, 0);
    BY(read, also, page, 1);
    char *path = path_in(dir, "opened by number");
#ifdef SYS_creat
    MUST(close(MUST(syscall(SYS_creat, path, 0600))));
    MUST(close(MUST(syscall(SYS_open, path, O_RDWR | O_TRUNC))));
#endif
    int fd = MUST(syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CREAT, 0600));
    MUST(ftruncate(fd, SIZE));
    struct open_how how = {.flags = O_RDWR | O_TRUNC};
    MUST(close(MUST(syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how))));
    say("emptied: %ld", (long)lseek(fd, 0, SEEK_END));
    MUST(pwrite(fd, page, PAGE, 0));
    int other = MUST(open(path_in(dir, "a copy"), O_RDWR | O_CREAT, 0600));
    BY(copy_file_range, fd, NULL, other, NULL, 0, 0);
    off_t at = 0;
    BY(sendfile, other, fd, &at, PAGE);
    int pipes[2];
    MUST(syscall(SYS_pipe2, pipes, 0));
    at = 0;
    BY(splice, fd, &at, pipes[1], NULL, 100, 0);
}

static void messages(void) {
    int pair[2];
    MUST(syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, pair));
    char control[CMSG_SPACE(sizeof(int))] = "";
    struct iovec one = {page, 1};
    struct msghdr message = {.msg_iov = &one, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *part = CMSG_FIRSTHDR(&message);
    *part = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(part), &file.direct, sizeof(int));
    BY(sendmsg, pair[0], &message, 0);
    BY(recvmsg, pair[1], &message, 0);
    int came;
    memcpy(&came, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof came);
    map[0] = 's';
    BY(pread64, came, page, PAGE, 0);
    say("by the number that came: %c", page[0]);
    struct mmsghdr all[1] = {{.msg_hdr = message}};
    BY(sendmmsg, pair[0], all, 1, 0);
    BY(recvmmsg, pair[1], all, 1, 0, NULL);
}

// ---- what makes numbers, where there are none left but the fence's

static int two[2];
static uint64_t mask = 1UL << (SIGUSR1 - 1);

#define MAKERS(X) \
    X(socket, AF_UNIX, SOCK_STREAM, 0) \
    X(socketpair, AF_UNIX, SOCK_STREAM, 0, two) \
    X(pipe2, two, 0) \
    X(eventfd2, 0, 0) \
    X(epoll_create1, 0) \
    X(inotify_init1, 0) \
    X(timerfd_create, CLOCK_MONOTONIC, 0) \
    X(signalfd4, -1, &mask, 8, 0) \
    X(memfd_create, "m", 0) \
    X(pidfd_open, getpid(), 0) \
    X(dup, 0) \
    X(fcntl, 0, F_DUPFD, 0) \
    X(openat, AT_FDCWD, "/dev/null", O_RDONLY)
#define MAKE(call, ...) static long make_##call(void) { return syscall(SYS_##call, __VA_ARGS__); }
MAKERS(MAKE)
static const struct {
    const char *name;
    long (*make)(void);
} makers[] = {
#define ROW(call, ...) {#call, make_##call},
    MAKERS(ROW)};

static void none_left(const char *dir, const char *name) {
    file = open_both(dir, "used up");
    for (size_t i = 0; i < sizeof makers / sizeof *makers; i++) {
        if (strcmp(makers[i].name, name))
            continue;
        int all = 0;
        while (makers[i].make() >= 0)
            all++;
        say("%s: %d, and then %s", name, all, strerrorname_np(errno));
    }
}

// In a program that may have no more than 30 numbers, and no right to more.
static void with_few(char **argv, const char *name) {
    pid_t child = MUST(fork());
    if (child == 0) {
        MUST(prctl(PR_CAPBSET_DROP, CAP_SYS_RESOURCE));
        MUST(setrlimit(RLIMIT_NOFILE, &(struct rlimit){30, 30}));
        MUST(execl("/proc/self/exe", argv[0], argv[1], name, NULL));
    }
    say_child(name, child);
}

int main(int argc, char **argv) {
    (void)argc;
    page = filled(2 * PAGE, 'x');
    parts[0] = (struct iovec){page, PAGE};
    parts[1] = (struct iovec){page + PAGE, PAGE};
    if (argv[2]) {
        none_left(argv[1], argv[2]);
        return 0;
    }
    for (size_t i = 0; i < sizeof makers / sizeof *makers; i++)
        with_few(argv, makers[i].name);
    file = open_both(argv[1], "by number");
    map = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file.buffered, 0);
    if (map == MAP_FAILED)
        MUST(-1);
    moves();
    words();
    layouts();
    mappings();
    numbers(argv[1]);
    messages();
    return 0;
}
