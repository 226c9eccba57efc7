// Empties a file that this process has no number of, in the way that is asked for, and says how that went and how
// large the file is then.
#include "hazard.h"
#include <sys/syscall.h>

static long stream(FILE *file) { return file ? fileno(file) >= 0 ? 0 : 1 : -1; }

static long by_handle(const char *path) {
    union {
        struct file_handle head;
        char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
    } handle = {.head.handle_bytes = MAX_HANDLE_SZ};
    char dir[PATH_MAX];
    int id;
    MUST(name_to_handle_at(AT_FDCWD, path, &handle.head, &id, 0));
    snprintf(dir, sizeof dir, "%s", path);
    *strrchr(dir, '/') = 0;
    return open_by_handle_at(MUST(open(dir, O_RDONLY)), &handle.head, O_WRONLY | O_TRUNC);
}

// With every number taken: nothing can be opened to look at.
static long with_no_number(const char *path) {
    struct rlimit few = {20, 20};
    MUST(setrlimit(RLIMIT_NOFILE, &few));
    while (open("/dev/null", O_RDONLY) >= 0)
        ;
    return truncate(path, 0);
}

// Closing any number of the file drops the process's lock: one that was opened to look at the name, too?
static long while_locked(const char *path) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    MUST(fcntl(MUST(open(path, O_RDWR)), F_SETLK, &lock));
    MUST(truncate(path, 0));
    pid_t pid = MUST(fork());
    if (pid == 0) {
        MUST(fcntl(MUST(open(path, O_RDWR)), F_GETLK, &lock));
        _exit(lock.l_type == F_WRLCK ? 0 : 1);
    }
    say_child("another process sees the lock", pid);
    return 0;
}

int main(int argc, char **argv) {
    (void)argc;
    const char *path = argv[1], *how = argv[2];
    struct stat s;
    long rc = -2;
    errno = 0;
    double begun = now();
    if (!strcmp(how, "truncate"))
        rc = truncate(path, 0);
    else if (!strcmp(how, "SYS_truncate"))
        rc = syscall(SYS_truncate, path, 0);
    else if (!strcmp(how, "open"))
        rc = open(path, O_WRONLY | O_TRUNC);
    else if (!strcmp(how, "openat"))
        rc = openat(AT_FDCWD, path, O_RDWR | O_TRUNC | O_CREAT, 0600);
    else if (!strcmp(how, "open to read"))
        rc = open(path, O_RDONLY | O_TRUNC);
    else if (!strcmp(how, "creat"))
        rc = creat(path, 0600);
    else if (!strcmp(how, "fopen"))
        rc = stream(fopen(path, "w"));
    else if (!strcmp(how, "freopen"))
        rc = stream(freopen(path, "w+", fopen("/dev/null", "r")));
    else if (!strcmp(how, "freopen itself"))
        rc = stream(freopen(NULL, "w", fopen(path, "r+")));
    else if (!strcmp(how, "shm_open"))
        rc = shm_open(strrchr(path, '/'), O_RDWR | O_TRUNC, 0600);
    else if (!strcmp(how, "open_by_handle_at"))
        rc = by_handle(path);
    else if (!strcmp(how, "with no number"))
        rc = with_no_number(path);
    else if (!strcmp(how, "while locked"))
        rc = while_locked(path);
    else
        return 1;
    int error = errno;
    MUST(stat(path, &s));
    say("%s: %s, size %ld, %s", how, rc == -1 ? strerrorname_np(error) : "done", (long)s.st_size,
        now() - begun < 0.25 ? "at once" : "later");
    return 0;
}
