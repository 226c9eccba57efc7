// Calls by an address on mappings of files, with good arguments and odd ones: what they say, and what the files hold
// afterwards. The files are in one mode, in both, or beside another process's mapping.
#include "hazard.h"

enum { PAGES = 64, LEN = 32 * PAGE };

static char *room, *data, *seen;
static int f, g, f_readable;
static const char *situation;

static unsigned hash(int fd);

// If it has changed, which is slow.
static void fill_anew(int fd, int first) {
    static unsigned fresh[2];
    unsigned *known = &fresh[fd == g];
    if (*known && *known == hash(fd))
        return;
    for (int i = 0; i < LEN; i++)
        data[i] = (char)(first + i / 512 % 23);
    MUST(ftruncate(fd, LEN));
    MUST(pwrite(fd, data, LEN, 0));
    *known = hash(fd);
}

static unsigned hash(int fd) {
    unsigned h = 2166136261u;
    ssize_t n = MUST(pread(fd, seen, LEN, 0));
    for (ssize_t i = 0; i < n / 4; i++)
        h = (h ^ ((unsigned *)seen)[i]) * 16777619u;
    return h;
}

static void result(const char *what, int number, const char *where, long n, int error) {
    struct stat st[2];
    fstat(f, &st[0]);
    fstat(g, &st[1]);
    say("%s: %s %d, %s: %ld %s, sizes %lld %lld, %x %x", situation, what, number, where, n, n < 0 ? strerrorname_np(error) : "",
        (long long)st[0].st_size, (long long)st[1].st_size, hash(f), hash(g));
    fill_anew(f, 'a');
    fill_anew(g, 'A');
}

static void place(int at, int pages, int protection, int flags, int fd, int page) {
    char *there = mmap(room + at * PAGE, pages * PAGE, protection, flags | MAP_FIXED, fd, fd < 0 ? 0 : page * PAGE);
    if (there == MAP_FAILED)
        MUST(-1);
}

static void make_room(void) {
    const int both = PROT_READ | PROT_WRITE;
    room = (char *)0x20000000; // where the kernel puts nothing by itself: the holes stay
    place(0, 16, both, MAP_SHARED, f, 0);
    place(20, 8, both, MAP_SHARED, g, 4);
    place(28, 4, both, MAP_PRIVATE, f, 0);
    place(32, 4, PROT_READ, MAP_SHARED, f, 8);
    place(36, 4, PROT_READ, MAP_SHARED, f_readable, 8);
    place(40, 4, both, MAP_SHARED, f, 20);
    place(44, 2, both, MAP_SHARED, f, 24);
    MUST(mprotect(room + 42 * PAGE, PAGE, PROT_READ));
    place(46, 2, both, MAP_SHARED, g, 0);
    place(48, 4, both, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    place(52, 4, both, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    place(56, 4, both, MAP_SHARED, f, 30); // half of it beyond the end
}

static const struct range { const char *what; int at; size_t len; int aside; } ranges[] = {
    {"a file", 0, 16 * PAGE, 0}, {"a page", 5, PAGE, 0}, {"of an odd length", 5, 3 * PAGE - 7, 0}, {"nothing", 5, 0, 0},
    {"misaligned", 5, PAGE, 100}, {"nothing, misaligned", 5, 0, 100}, {"with a hole behind", 12, 6 * PAGE, 0},
    {"across a hole", 12, 12 * PAGE, 0}, {"with a hole before", 18, 4 * PAGE, 0}, {"a hole", 16, 4 * PAGE, 0},
    {"and a private one", 24, 6 * PAGE, 0}, {"a private one", 28, PAGE, 0}, {"for reading now", 32, PAGE, 0},
    {"for reading only", 36, 2 * PAGE, 0}, {"in pieces", 40, 6 * PAGE, 0}, {"two files", 44, 4 * PAGE, 0},
    {"memory", 48, 2 * PAGE, 0}, {"private memory", 52, 2 * PAGE, 0}, {"a file, then private memory", 46, 8 * PAGE, 0},
    {"beyond the end", 57, 2 * PAGE, 0}, {"too long", 5, SIZE_MAX, 0}, {"round the end", 5, SIZE_MAX / PAGE * PAGE, 0},
};
enum { RANGES = sizeof ranges / sizeof *ranges };

static char *start_of(const struct range *r) { return room + r->at * PAGE + r->aside; }

// MADV_PAGEOUT, MADV_COLD: their numbers.
static const int advices[] = {MADV_REMOVE, MADV_DONTNEED, 20, 21, MADV_WILLNEED, 22, 23, MADV_FREE, MADV_NORMAL, 12345};

static void each_range(void) {
    for (const struct range *r = ranges; r < ranges + RANGES; r++) {
        for (unsigned i = 0; i < sizeof advices / sizeof *advices; i++) {
            errno = 0;
            long n = madvise(start_of(r), r->len, advices[i]);
            result("madvise", advices[i], r->what, n, errno);
        }
        errno = 0;
        long n = syscall(SYS_madvise, start_of(r), r->len, MADV_REMOVE);
        result("by number", MADV_REMOVE, r->what, n, errno);
        const int flags[] = {MS_SYNC, MS_ASYNC, MS_INVALIDATE, MS_SYNC | MS_INVALIDATE, MS_SYNC | MS_ASYNC, 64};
        for (unsigned i = 0; i < sizeof flags / sizeof *flags; i++) {
            if (r->at < 48 && r->len >= PAGE && r->len < SIZE)
                room[0] = 's';
            errno = 0;
            n = msync(start_of(r), r->len, flags[i]);
            result("msync", flags[i], r->what, n, errno);
        }
        if (r->len < SIZE) {
            errno = 0;
            n = mlock(start_of(r), r->len);
            result("mlock", 0, r->what, n, errno);
            errno = 0;
            n = madvise(start_of(r), r->len, MADV_REMOVE);
            result("locked", 0, r->what, n, errno);
            munlock(start_of(r), r->len);
            munlock(room, 16 * PAGE);
        }
    }
}

static void vectors(void) {
    int self = MUST(syscall(SYS_pidfd_open, getpid(), 0));
    const int some[] = {MADV_REMOVE, MADV_DONTNEED, 20, 21};
    for (unsigned a = 0; a < sizeof some / sizeof *some; a++)
        for (int i = 0; i + 3 <= RANGES; i++) {
            struct iovec parts[3];
            for (int j = 0; j < 3; j++)
                parts[j] = (struct iovec){start_of(&ranges[i + j]), ranges[i + j].len};
            errno = 0;
            long n = syscall(SYS_process_madvise, self, parts, 3, some[a], 0);
            result("process_madvise", some[a], ranges[i].what, n, errno);
        }
    struct iovec one = {room, PAGE};
    const struct { const char *what; int process; void *parts; long n; int flags; } odd[] = {
        {"no process", -1, &one, 1, 0}, {"not a process", f, &one, 1, 0}, {"no vector", self, (void *)8, 1, 0},
        {"none", self, &one, 0, 0}, {"too many", self, &one, 2000, 0}, {"flags", self, &one, 1, 1},
    };
    for (unsigned i = 0; i < sizeof odd / sizeof *odd; i++) {
        errno = 0;
        long n = syscall(SYS_process_madvise, odd[i].process, odd[i].parts, odd[i].n, MADV_REMOVE, odd[i].flags);
        result("process_madvise", MADV_REMOVE, odd[i].what, n, errno);
    }
    close(self);
}

static void from_elsewhere(const char *what, pid_t pid) {
    char *path = NULL;
    MUST(asprintf(&path, "/proc/%d/mem", pid));
    int memory = MUST(open(path, O_RDWR));
    char *others = filled(LEN, 'e');
    for (const struct range *r = ranges; r < ranges + RANGES; r++) {
        size_t len = r->len < LEN ? r->len : LEN;
        struct iovec local = {others, len}, remote = {start_of(r), r->len};
        errno = 0;
        long n = process_vm_writev(pid, &local, 1, &remote, 1, 0);
        result(what, 0, r->what, n, errno);
        errno = 0;
        n = pwrite(memory, others, len, (off_t)start_of(r));
        result(what, 1, r->what, n, errno);
    }
    close(memory);
    free(path);
    free(others);
}

static void another_process(void) {
    pid_t pid = MUST(fork());
    if (pid == 0)
        for (;;)
            pause();
    from_elsewhere("another's memory", pid);
    kill(pid, SIGKILL);
    MUST(waitpid(pid, NULL, 0));
}

static void all_calls(const char *name) {
    situation = name;
    make_room();
    each_range();
    vectors();
    from_elsewhere("own memory", getpid());
    another_process();
    MUST(munmap(room, PAGES * PAGE));
}

int main(int argc, char **argv) {
    (void)argc;
    data = filled(LEN, 0);
    seen = filled(LEN, 0);
    const char *path = path_in(argv[1], "f");
    f = MUST(open(path, O_RDWR | O_CREAT, 0600));
    g = MUST(open(path_in(argv[1], "g"), O_RDWR | O_CREAT, 0600));
    f_readable = MUST(open(path, O_RDONLY));
    fill_anew(f, 'a');
    fill_anew(g, 'A');
    all_calls("one mode");
    int direct = MUST(open(path, O_RDWR | O_DIRECT));
    MUST(pread(direct, seen, PAGE, 0));
    all_calls("both modes");
    MUST(open(path_in(argv[1], "g"), O_RDWR | O_DIRECT));
    all_calls("both files in both");
    return 0;
}
