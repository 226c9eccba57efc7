// Opening with O_TRUNC, in all its forms: what it empties, what it leaves alone, which times and bits it changes, who is
// told, and what it answers.
#include "hazard.h"
#include <linux/fs.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

static int watch;
static char *path;

static void fill(mode_t mode) {
    unlink(path);
    int fd = MUST(open(path, O_RDWR | O_CREAT, 0600));
    MUST(write(fd, "content", 7));
    MUST(fchmod(fd, mode));
    struct timespec old[2] = {{1000, 0}, {1000, 0}};
    MUST(futimens(fd, old));
    MUST(close(fd));
}

static void forget_events(void) {
    char events[4096];
    while (read(watch, events, sizeof events) > 0)
        ;
}

static unsigned all_events(void) {
    char events[4096];
    unsigned mask = 0;
    for (ssize_t n; (n = read(watch, events, sizeof events)) > 0;)
        for (ssize_t i = 0; i < n;) {
            struct inotify_event *e = (void *)(events + i);
            mask |= e->mask;
            i += sizeof *e + e->len;
        }
    return mask;
}

static void result(const char *what, int fd) {
    int error = fd < 0 ? errno : 0;
    struct stat s = {0};
    int there = stat(path, &s) == 0;
    say("%s: number %d %s, size %ld, mode %o, times %s, events %x, flags %x, there %d", what, fd,
        error ? strerrorname_np(error) : "", (long)s.st_size, s.st_mode, s.st_mtime == 1000 ? "old" : "new",
        all_events() & (IN_MODIFY | IN_OPEN | IN_CREATE | IN_CLOSE_WRITE | IN_ATTRIB), fd < 0 ? 0 : fcntl(fd, F_GETFL), there);
    if (fd >= 0)
        close(fd);
    forget_events();
}

static void attribute(int fd, int on) {
    int flags = 0;
    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0) {
        flags = on ? flags | FS_APPEND_FL : flags & ~FS_APPEND_FL;
        ioctl(fd, FS_IOC_SETFLAGS, &flags);
    }
}

static void forms(void) {
    const struct {
        const char *name;
        int flags;
    } kinds[] = {
        {"O_WRONLY", O_WRONLY}, {"O_RDWR", O_RDWR}, {"O_RDONLY", O_RDONLY}, {"3", 3},
        {"O_APPEND", O_WRONLY | O_APPEND}, {"O_DIRECT", O_RDWR | O_DIRECT}, {"O_CREAT", O_RDWR | O_CREAT},
        {"O_EXCL", O_RDWR | O_CREAT | O_EXCL}, {"O_NOFOLLOW", O_RDWR | O_NOFOLLOW},
        {"O_PATH", O_PATH}, {"O_DIRECTORY", O_RDWR | O_DIRECTORY},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        fill(0600);
        forget_events();
        result(kinds[i].name, open(path, kinds[i].flags | O_TRUNC, 0600));
        unlink(path);
        forget_events();
        result("and nothing there", open(path, kinds[i].flags | O_TRUNC, 0640));
    }
}

static void streams(void) {
    static const char *const modes[] = {"w", "w+", "wb", "wb+", "we", "w+e", "wx", "wc", "wm", "w,ccs=UTF-8", "wz", "W", ""};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        for (int there = 0; there < 2; there++) {
            unlink(path);
            if (there)
                fill(0640);
            forget_events();
            FILE *stream = fopen(path, modes[i]);
            int fd = stream ? fileno(stream) : -1;
            if (stream)
                say("fopen \"%s\": written %d, flushed %d, number's flags %x", modes[i], fputs("some", stream),
                    fflush(stream), fcntl(fd, F_GETFD));
            char bytes[8] = "";
            if (stream && fseek(stream, 0, SEEK_SET) == 0)
                say("read %zu \"%s\"", fread(bytes, 1, 4, stream), bytes);
            result(modes[i], fd);
        }
}

int main(int argc, char **argv) {
    (void)argc;
    umask(0);
    path = path_in(argv[1], "f");
    watch = MUST(inotify_init1(IN_NONBLOCK));
    MUST(inotify_add_watch(watch, argv[1], IN_ALL_EVENTS));
    forms();
    fill(06755);
    forget_events();
    result("creat, set-user-id", creat(path, 0600));
    fill(0600);
    MUST(truncate(path, 0));
    struct timespec old[2] = {{1000, 0}, {1000, 0}};
    MUST(utimensat(AT_FDCWD, path, old, 0));
    forget_events();
    result("empty already", open(path, O_WRONLY | O_TRUNC));
    unlink(path);
    result("creat of a new one, not writable", creat(path, 0444));
    fill(0600);
    forget_events();
    result("syscall(SYS_openat)", syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_TRUNC));
    fill(0600);
    forget_events();
    struct {
        uint64_t flags, mode, resolve;
    } how = {O_WRONLY | O_TRUNC, 0, 0};
    result("syscall(SYS_openat2)", syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how));
    fill(0600);
    forget_events();
    result("syscall(SYS_creat)", syscall(SYS_creat, path, 0600));
    streams();

    int dir = MUST(open(argv[1], O_RDONLY | O_DIRECTORY));
    fill(0600);
    forget_events();
    result("openat", openat(dir, "f", O_WRONLY | O_TRUNC));
    char *link = path_in(argv[1], "link");
    MUST(symlink("f", link));
    fill(0600);
    forget_events();
    result("through a link", open(link, O_WRONLY | O_TRUNC));
    result("not through a link", open(link, O_WRONLY | O_TRUNC | O_NOFOLLOW));
    unlink(path);
    forget_events();
    result("made through a link", open(link, O_WRONLY | O_TRUNC | O_CREAT, 0600));
    result("a directory", open(argv[1], O_WRONLY | O_TRUNC));
    result("unnamed", open(argv[1], O_RDWR | O_TMPFILE | O_TRUNC, 0600));
    result("no address", open((char *)8, O_WRONLY | O_TRUNC));
    result("/dev/null", open("/dev/null", O_WRONLY | O_TRUNC));
    char *fifo = path_in(argv[1], "fifo");
    MUST(mkfifo(fifo, 0600));
    result("a FIFO", open(fifo, O_RDWR | O_TRUNC));
    result("a FIFO without reader", open(fifo, O_WRONLY | O_TRUNC | O_NONBLOCK));

    fill(0600);
    int fd = MUST(open(path, O_RDONLY));
    attribute(fd, 1);
    forget_events();
    result("append only", open(path, O_WRONLY | O_TRUNC));
    MUST(open(path, O_WRONLY | O_APPEND | O_TRUNC) == -1 && errno == EPERM ? 0 : -1);
    forget_events(); // fenced, it was open for a moment
    attribute(fd, 0);
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    MUST(fcntl(fd, F_SETLK, &lock));
    result("with a lock", open(path, O_WRONLY | O_TRUNC | O_DIRECT));

    char *copy = path_in(argv[1], "program");
    char command[2 * PATH_MAX];
    snprintf(command, sizeof command, "cp /bin/sleep %s", copy);
    MUST(system(command));
    pid_t pid = MUST(fork());
    if (pid == 0) {
        execl(copy, "sleep", "5", NULL);
        _exit(1);
    }
    usleep(100000);
    result("of a running program", open(copy, O_WRONLY | O_TRUNC));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    if (geteuid() == 0) {
        fill(0444);
        chown(path, 0, 0);
        MUST(setresuid(65534, 65534, 65534));
        result("without the right", open(path, O_WRONLY | O_TRUNC));
        result("without the right to write", open(path, O_RDONLY | O_TRUNC));
    }
}
