// What a supervisor has to give back as the kernel does: limits with their signal, places, vectors, locks, calls that signals
// interrupt, ends of processes. Says what each call returned. Usage: supervised_calls DIR
#include "hazard.h"
#include <sys/file.h>

// What no compiler would let pass.
static volatile int minus = -1;
static void *volatile nowhere = (void *)8;
static volatile size_t all_there_is = -1;

static volatile int heard;
static void hear(int number) { heard = number; }

static void on(int number, int flags) {
    struct sigaction action = {.sa_handler = hear, .sa_flags = flags};
    MUST(sigaction(number, &action, NULL));
}

static void limits(const char *dir, int flags) {
    struct rlimit before, limit;
    MUST(getrlimit(RLIMIT_FSIZE, &before));
    limit = before;
    limit.rlim_cur = 3 * PAGE;
    int fd = MUST(open(path_in(dir, "limited"), O_RDWR | O_CREAT | O_TRUNC | flags, 0644));
    char *memory = filled(4 * PAGE, 'l');
    MUST(setrlimit(RLIMIT_FSIZE, &limit));
    on(SIGXFSZ, 0);
    SAY(pwrite(fd, memory, PAGE, 0));
    SAY(pwrite(fd, memory, 2 * PAGE, 2 * PAGE)), say("heard %d", heard), heard = 0;
    SAY(pwrite(fd, memory, PAGE, 3 * PAGE)), say("heard %d", heard), heard = 0;
    SAY(ftruncate(fd, 3 * PAGE)), SAY(ftruncate(fd, 3 * PAGE + 1)), say("heard %d", heard), heard = 0;
    SAY(fallocate(fd, 0, 3 * PAGE, PAGE)), say("heard %d", heard), heard = 0;
    SAY(fallocate(fd, FALLOC_FL_KEEP_SIZE, PAGE, PAGE));
    SAY(lseek(fd, 0, SEEK_END));
    SAY(write(fd, memory, PAGE)), say("heard %d", heard), heard = 0;
    signal(SIGXFSZ, SIG_IGN);
    SAY(write(fd, memory, PAGE));
    SAY(truncate(path_in(dir, "limited"), 5 * PAGE));
    pid_t pid = MUST(fork());
    if (pid == 0) {
        signal(SIGXFSZ, SIG_DFL);
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        pwrite(fd, memory, PAGE, 3 * PAGE);
        _exit(1);
    }
    say_child("beyond the limit", pid);
    MUST(setrlimit(RLIMIT_FSIZE, &before));
    close(fd);
}

static void places(const char *dir) {
    char *path = path_in(dir, "places"), *memory = filled(PAGE, 'p');
    int fd = MUST(open(path, O_RDWR | O_CREAT | O_TRUNC, 0644)), end = MUST(open(path, O_WRONLY | O_APPEND));
    SAY(write(fd, "abc", 3)), SAY(write(end, "def", 3)), SAY(write(fd, "x", 1));
    SAY(lseek(fd, 0, SEEK_CUR)), SAY(lseek(end, 0, SEEK_CUR));
    SAY(pwrite(end, "ghi", 3, 0));
    SAY(pwrite(fd, memory, PAGE, 1 << 20));
    SAY(lseek(fd, 0, SEEK_DATA)), SAY(lseek(fd, 0, SEEK_HOLE) <= 1 << 20), SAY(lseek(fd, 1 << 20, SEEK_HOLE));
    SAY(lseek(fd, 2 << 20, SEEK_DATA)), SAY(lseek(fd, -1, SEEK_SET)), SAY(lseek(fd, 0, 77));
    SAY(pread(fd, memory, PAGE, -1)), SAY(pread(fd, memory, 10, (1 << 20) + PAGE - 4)), SAY(pread(fd, memory, PAGE, 2 << 20));
    SAY(pwrite(fd, memory, PAGE, (off_t)1 << 62)), SAY(pwrite(fd, memory, 0, -1)), SAY(pwrite(fd, memory, 0, 3));
    int copy = MUST(dup(fd));
    SAY(lseek(copy, 7, SEEK_SET)), SAY(read(fd, memory, 5)), SAY(lseek(copy, 0, SEEK_CUR));
    pid_t pid = MUST(fork());
    if (pid == 0)
        _exit(read(fd, memory, 11));
    say_child("a child reads", pid);
    SAY(lseek(fd, 0, SEEK_CUR));
    int reader = MUST(open(path, O_RDONLY)), none = MUST(open(path, O_PATH));
    SAY(write(reader, "x", 1)), SAY(read(end, memory, 1)), SAY(read(none, memory, 1)), SAY(ftruncate(reader, 0));
    SAY(read(-1, memory, 1)), SAY(read(999, memory, 1)), SAY(close(999)), SAY(fsync(none));
    SAY(read(MUST(open(dir, O_RDONLY)), memory, PAGE));
}

static void vectors(const char *dir) {
    int fd = MUST(open(path_in(dir, "vectors"), O_RDWR | O_CREAT | O_TRUNC, 0644));
    enum { MANY = 1024 };
    static struct iovec many[MANY + 1];
    char *memory = filled(MANY * 3, 'v');
    for (int i = 0; i <= MANY; i++)
        many[i] = (struct iovec){memory + i % MANY * 3, 3};
    SAY(writev(fd, many, MANY)), SAY(writev(fd, many, MANY + 1)), SAY(writev(fd, many, 0)), SAY(writev(fd, many, minus));
    SAY(preadv(fd, many, MANY, 5)), SAY(pwritev(fd, many, 2, -3));
    struct iovec none[2] = {{NULL, 0}, {memory, 5}}, bad[2] = {{memory, 5}, {(void *)8, 5}}, large[2] = {{memory, 5}, {memory, all_there_is}};
    SAY(writev(fd, none, 2)), SAY(pwritev(fd, bad, 2, 0)), SAY(preadv(fd, bad, 2, 0)), SAY(writev(fd, large, 2));
    SAY(writev(fd, nowhere, 2));
    SAY(preadv2(fd, many, 2, 0, RWF_HIPRI)), SAY(pwritev2(fd, many, 2, -1, RWF_APPEND)), SAY(pwritev2(fd, many, 2, 0, 0x4000));
    SAY(pwritev2(fd, many, 2, 0, RWF_DSYNC)), SAY(preadv2(fd, many, 2, -1, 0)), SAY(lseek(fd, 0, SEEK_CUR));
    // A page is there, and none behind it.
    char *page = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(munmap(page + PAGE, PAGE));
    SAY(pwrite(fd, page + PAGE - 10, 100, 0)), SAY(pread(fd, page + PAGE - 10, 100, 0)), SAY(pwrite(fd, page + PAGE, 1, 0));
    SAY(lseek(fd, 0, SEEK_SET)), SAY(read(fd, page + PAGE - 10, 100)), SAY(lseek(fd, 0, SEEK_CUR));
    MUST(mprotect(page, PAGE, PROT_READ));
    SAY(pread(fd, page, 100, 0)), SAY(pwrite(fd, page, 100, 0));
    SAY(pread(fd, memory, (size_t)1 << 40, 0) > 0), SAY(pread(fd, memory, all_there_is, 0));
}

static void locks(const char *dir) {
    char *path = path_in(dir, "locks"), byte;
    int fd = MUST(open(path, O_RDWR | O_CREAT | O_TRUNC, 0644)), other = MUST(open(path, O_RDWR));
    SAY(write(fd, "x", 1)), SAY(flock(fd, LOCK_EX | LOCK_NB)), SAY(flock(other, LOCK_EX | LOCK_NB));
    SAY(close(fd)), SAY(flock(other, LOCK_EX | LOCK_NB)), SAY(read(other, &byte, 1));
    pid_t pid = MUST(fork());
    if (pid == 0) {
        // What is inherited is the parent's, too.
        int third = MUST(open(path_in(dir, "locks"), O_RDWR));
        _exit(close(other) || pwrite(third, "y", 1, 0) != 1 || flock(third, LOCK_EX | LOCK_NB) != -1);
    }
    say_child("a child doesn't get it", pid);
    SAY(close(other)), SAY((fd = open(path_in(dir, "locks"), O_RDWR)) > 0), SAY(flock(fd, LOCK_EX | LOCK_NB));
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    SAY(fcntl(fd, F_SETLK, &whole)), SAY(pwrite(fd, "z", 1, 0)), SAY(pread(fd, &byte, 1, 0));
    pid = MUST(fork());
    if (pid == 0) {
        struct flock asked = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        _exit(fcntl(fd, F_GETLK, &asked) ? 1 : asked.l_type == F_WRLCK && asked.l_pid == getppid() ? 0 : 2);
    }
    say_child("the parent's POSIX lock", pid);
}

static void interrupted(const char *dir) {
    int pipes[2], fd = MUST(open(path_in(dir, "interrupted"), O_RDWR | O_CREAT | O_TRUNC, 0644));
    char byte;
    MUST(pipe(pipes));
    on(SIGALRM, 0), alarm_in(20000);
    SAY(read(pipes[0], &byte, 1)), say("heard %d", heard), heard = 0;
    on(SIGALRM, SA_RESTART), alarm_in(20000);
    pid_t pid = MUST(fork());
    if (pid == 0)
        _exit(usleep(60000) || write(pipes[1], "w", 1) != 1);
    SAY(read(pipes[0], &byte, 1)), say("heard %d", heard), heard = 0;
    say_child("the writer", pid);
    on(SIGALRM, 0);
    // A file's calls are never cut short, and each is made once.
    struct itimerval often = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
    long written = 0;
    MUST(setitimer(ITIMER_REAL, &often, NULL));
    for (int i = 0; i < 2000; i++)
        written += MUST(write(fd, "0123456789", 10));
    MUST(setitimer(ITIMER_REAL, &never, NULL));
    say("%ld written, %ld there", written, (long)lseek(fd, 0, SEEK_END));
    SAY(fcntl(pipes[0], F_SETFL, O_NONBLOCK)), SAY(read(pipes[0], &byte, 1)), SAY(close(pipes[1])), SAY(read(pipes[0], &byte, 1));
    signal(SIGPIPE, SIG_IGN);
    MUST(pipe(pipes)), close(pipes[0]);
    SAY(write(pipes[1], "x", 1));
}

static void ends(const char *dir, char **argv) {
    int kept = MUST(open(path_in(dir, "kept"), O_RDWR | O_CREAT | O_TRUNC, 0644));
    int closed = MUST(open(path_in(dir, "kept"), O_RDWR | O_CLOEXEC));
    MUST(write(kept, "kept", 4));
    char numbers[2][20];
    snprintf(numbers[0], 20, "%d", kept), snprintf(numbers[1], 20, "%d", closed);
    pid_t pid = MUST(fork());
    if (pid == 0) {
        execl("/proc/self/exe", argv[0], "again", numbers[0], numbers[1], NULL);
        _exit(99);
    }
    say_child("executed again", pid);
    for (int code = 0; code < 256; code += 85) {
        if ((pid = MUST(fork())) == 0)
            _exit(code);
        say_child("exit", pid);
    }
    if ((pid = MUST(fork())) == 0)
        raise(SIGKILL);
    say_child("killed", pid);
    SAY(waitpid(-1, NULL, WNOHANG));
}

static int again(char **argv) {
    int kept = atoi(argv[2]), closed = atoi(argv[3]);
    SAY(write(kept, "more", 4)), SAY(lseek(kept, 0, SEEK_CUR)), SAY(write(closed, "x", 1));
    return 7;
}

int main(int argc, char **argv) {
    if (argc > 3)
        return again(argv);
    limits(argv[1], 0), limits(argv[1], O_DIRECT), places(argv[1]), vectors(argv[1]), locks(argv[1]), interrupted(argv[1]);
    ends(argv[1], argv);
    return 0;
}
