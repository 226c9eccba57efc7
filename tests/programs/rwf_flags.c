// Every flag of preadv2 and pwritev2, alone and in pairs, on descriptors of both kinds, at every kind of place, on a file
// in one mode, in both, and beside a mapping: what the call says, and what it leaves.
#include "hazard.h"

#define PAGES 8
#define NOWAIT 0x8
#define ATOMIC 0x40

static const struct {
    int bit;
    const char *name;
} flags[] = {{0, "none"},        {0x1, "HIPRI"},    {0x2, "DSYNC"},   {0x4, "SYNC"},       {NOWAIT, "NOWAIT"},
             {0x10, "APPEND"},   {0x20, "NOAPPEND"}, {ATOMIC, "ATOMIC"}, {0x80, "DONTCACHE"}, {0x100, "NOSIGNAL"},
             {1 << 30, "unknown"}};
enum { FLAGS = sizeof flags / sizeof *flags };

static char *data, *all_of_it;
static int lines;

static unsigned hash(const char *bytes, size_t size) {
    unsigned h = 2166136261u;
    for (size_t i = 0; i < size; i++)
        h = (h ^ (unsigned char)bytes[i]) * 16777619u;
    return h & 0xffff;
}

struct target {
    const char *situation;
    int whole; // to make the file anew and to read what it holds
    char *map;
    off_t size;
};

static void make_anew(const struct target *t) {
    memset(all_of_it, 'o', (PAGES + 8) * PAGE);
    MUST(ftruncate(t->whole, 0));
    MUST(pwrite(t->whole, all_of_it, PAGES * PAGE, 0));
    MUST(ftruncate(t->whole, t->size));
    if (t->map)
        t->map[7] = 'm';
}

static void one(const struct target *t, const char *kind, int fd, int write, const char *place, off_t at, int pages,
                int pieces, int offset, int a, int b) {
    make_anew(t);
    memset(data, write ? 'n' : '?', 4 * PAGE);
    size_t len = (size_t)pages * PAGE;
    struct iovec iov[2] = {{data, len / (size_t)pieces}, {data + len / 2, len / 2}};
    MUST(lseek(fd, at, SEEK_SET));
    int bits = flags[a].bit | flags[b].bit;
    errno = 0;
    off_t where = offset ? -1 : at;
    ssize_t n = write ? pwritev2(fd, iov, pieces, where, bits) : preadv2(fd, iov, pieces, where, bits);
    int error = errno;
    lines++;
    printf("%s %s %s %s %d/%d%s %s|%s: ", t->situation, kind, write ? "write" : "read", place, pages, pieces,
           offset ? " at the offset" : "", flags[a].name, flags[b].name);
    // Whether one that may not wait gets through is a matter of chance; and beside a mapping no write is atomic.
    int chance = bits & NOWAIT || (t->map && write && bits & ATOMIC);
    if (chance && (n > 0 || (n < 0 && error == EAGAIN))) {
        puts("done or EAGAIN");
        return;
    }
    struct stat s;
    MUST(fstat(t->whole, &s));
    memset(all_of_it, 0, (PAGES + 8) * PAGE);
    ssize_t held = MUST(pread(t->whole, all_of_it, (PAGES + 8) * PAGE, 0));
    printf("%zd %s, offset %ld, size %ld, holds %x, read %x\n", n, n < 0 ? strerrorname_np(error) : "",
           (long)lseek(fd, 0, SEEK_CUR), (long)s.st_size, hash(all_of_it, (size_t)held),
           write || n < 0 ? 0 : hash(data, (size_t)n));
}

// What each other may change; the rest only in every form.
static int matters(int a, int b) {
    const int some = NOWAIT | 0x10 | 0x20 | ATOMIC | 1 << 30;
    return !a || flags[a].bit & some || flags[b].bit & some;
}

static void all_flags(const struct target *t, const char *kind, int fd, int every) {
    const struct {
        const char *name;
        off_t at;
    } places[] = {{"inside", PAGE},
                  {"last", (PAGES - 1) * PAGE},
                  {"end", PAGES * PAGE},
                  {"beyond", (PAGES + 3) * PAGE}};
    const struct {
        int pages, pieces, offset;
    } forms[] = {{2, 1, 0}, {1, 1, 0}, {4, 1, 1}, {2, 2, 0}};
    for (int write = 0; write < 2; write++)
        for (int p = 0; p < 4; p += every ? 1 : 3)
            for (int a = 0; a < FLAGS; a++)
                for (int b = a ? a + 1 : 0; b < FLAGS; b++)
                    for (int f = 0; f < (every ? 4 : 1) && (every || matters(a, b)); f++)
                        one(t, kind, fd, write, places[p].name, places[p].at, forms[f].pages, forms[f].pieces,
                            forms[f].offset, a, b);
}

static char *path;

static int again(int more) {
    return (int)MUST(open(path, O_RDWR | more));
}

static void situation(const char *name, const char *dir, int modes, off_t mapped, off_t size, int every) {
    path = path_in(dir, name);
    int made = MUST(open(path, O_RDWR | O_CREAT | O_TRUNC | (modes == 1 ? O_DIRECT : 0), 0600));
    struct target t = {name, made, NULL, size};
    MUST(pwrite(made, data, PAGE, 0));
    MUST(ftruncate(made, size));
    if (mapped >= 0)
        t.map = map_page(made, mapped);
    if (modes & 1) {
        all_flags(&t, "direct", again(O_DIRECT), every);
        all_flags(&t, "direct append", again(O_DIRECT | O_APPEND), every);
        if (every)
            all_flags(&t, "direct sync", again(O_DIRECT | O_SYNC), 0);
    }
    if (modes & 2) {
        if (modes == 3)
            MUST(pread(again(O_DIRECT), all_of_it, PAGE, 0));
        all_flags(&t, "buffered", again(0), every);
        all_flags(&t, "buffered append", again(O_APPEND), every);
    }
}

int main(int argc, char **argv) {
    int every = argc > 2;
    data = filled(4 * PAGE, 'd');
    all_of_it = filled((PAGES + 8) * PAGE, 'o');
    off_t whole = PAGES * PAGE, odd = whole - 100;
    situation("only-direct", argv[1], 1, -1, whole, every);
    situation("only-buffered", argv[1], 2, -1, whole, every);
    situation("mixed", argv[1], 3, -1, whole, every);
    situation("mixed-odd", argv[1], 3, -1, odd, every);
    situation("mapped-inside", argv[1], 3, PAGE, whole, every);
    situation("mapped-last", argv[1], 3, (PAGES - 1) * PAGE, whole, every);
    situation("mapped-odd", argv[1], 3, (PAGES - 1) * PAGE, odd, every);
    printf("%d calls\n", lines);
}
