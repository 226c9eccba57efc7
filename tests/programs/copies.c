// copy_file_range, sendfile, splice, reflinks and dedupe with good arguments and odd ones, on a file in one mode and in both,
// beside a mapping, and by direct descriptors: what the calls say, where offsets and places end up, what the files hold.
#include "hazard.h"
#include <linux/fs.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>

#define BLOCK (64 * 1024)
#define LEN (4 * BLOCK)

static char *data, *seen;
static const char *situation;

// Of the beginning: some of the files end far away.
static unsigned hash(int fd) {
    unsigned h = 2166136261u;
    off_t at = 0;
    for (ssize_t n; at < 4 * LEN && (n = pread(fd, seen, LEN, at)) > 0; at += n)
        for (ssize_t i = 0; i < n; i++)
            h = (h ^ (unsigned char)seen[i]) * 16777619u;
    return h & 0xffff;
}

static void make_anew(int fd, int first) {
    for (int i = 0; i < LEN; i++)
        data[i] = (char)(first + i / 512 % 23);
    MUST(ftruncate(fd, 0));
    MUST(pwrite(fd, data, LEN, 0));
    MUST(lseek(fd, 0, SEEK_SET));
}

struct files {
    int from, to;     // as they are opened
    int plain[2];     // the same, to be made anew and looked at
};

static void state(const struct files *f, const char *what, long n, int error, off_t at, off_t into) {
    struct stat st[2];
    fstat(f->plain[0], &st[0]);
    fstat(f->plain[1], &st[1]);
    say("%s: %s: %ld %s, places %lld %lld, offsets %lld %lld, sizes %lld %lld, %x %x", situation, what, n,
        n < 0 ? strerrorname_np(error) : "", (long long)at, (long long)into, (long long)lseek(f->from, 0, SEEK_CUR),
        (long long)lseek(f->to, 0, SEEK_CUR), (long long)st[0].st_size, (long long)st[1].st_size, hash(f->plain[0]),
        hash(f->plain[1]));
    make_anew(f->plain[0], 'a');
    make_anew(f->plain[1], 'A');
    lseek(f->from, 0, SEEK_SET);
    lseek(f->to, 0, SEEK_SET);
}

static void ranges(const struct files *f) {
    static const struct { const char *what; off_t at, into; size_t len; } all[] = {
        {"whole", 0, 0, LEN}, {"part", BLOCK, 2 * BLOCK, BLOCK}, {"nothing", 0, 0, 0}, {"extends", 0, LEN - BLOCK, LEN},
        {"from the end", LEN, 0, BLOCK}, {"past the end", LEN - 100 * 512, 0, BLOCK}, {"beyond a hole", 0, LEN + BLOCK, BLOCK},
        {"negative", -1, 0, BLOCK}, {"into negative", 0, -5, BLOCK}, {"too long", 0, 0, (size_t)1 << 40},
        {"far away", 0, 1ll << 40, BLOCK}, {"misaligned", 100, 300, 1000}, {"misaligned, long", 100, 300, BLOCK},
        {"of an odd length", 0, 0, BLOCK + 100},
    };
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        off_t at = all[i].at, into = all[i].into;
        errno = 0;
        ssize_t n;
        // How far the kernel comes directly with an odd end is its own affair.
        if (all[i].len % 512 == 0 || (f->from == f->plain[0] && f->to == f->plain[1])) {
            n = copy_file_range(f->from, &at, f->to, &into, all[i].len, 0);
            state(f, all[i].what, n, errno, at, into);
        }
        at = all[i].at;
        lseek(f->to, all[i].into > 0 ? all[i].into : 0, SEEK_SET);
        errno = 0;
        n = sendfile(f->to, f->from, &at, all[i].len < LEN * 4 ? all[i].len : LEN * 4);
        state(f, "sendfile", n, errno, at, 0);
    }
    errno = 0;
    MUST(lseek(f->from, BLOCK, SEEK_SET));
    ssize_t n = copy_file_range(f->from, NULL, f->to, NULL, BLOCK, 0);
    state(f, "at the offsets", n, errno, 0, 0);
    MUST(lseek(f->from, BLOCK, SEEK_SET));
    n = sendfile(f->to, f->from, NULL, BLOCK);
    state(f, "sendfile at the offsets", n, errno, 0, 0);
    off_t at = 0;
    n = copy_file_range(f->from, &at, f->to, NULL, BLOCK, 1);
    state(f, "an unknown flag", n, errno, at, 0);
    n = copy_file_range(f->from, (off_t *)8, f->to, NULL, BLOCK, 0);
    state(f, "a bad place", n, errno, 0, 0);
    n = copy_file_range(-1, NULL, f->to, NULL, BLOCK, 0);
    state(f, "from nowhere", n, errno, 0, 0);
    n = copy_file_range(f->from, NULL, 12345, NULL, BLOCK, 0);
    state(f, "to nowhere", n, errno, 0, 0);
    off_t same = 0, other = 2 * BLOCK;
    n = copy_file_range(f->plain[1], &same, f->to, &other, BLOCK, 0);
    state(f, "within one file", n, errno, same, other);
    same = 0, other = BLOCK / 2;
    n = copy_file_range(f->plain[1], &same, f->to, &other, BLOCK, 0);
    state(f, "overlapping", n, errno, same, other);
}

static void drained(int pipe, const char *what, const struct files *f, long n, int error, off_t at) {
    char byte[4096];
    unsigned h = 2166136261u;
    long bytes = 0;
    for (ssize_t k; (k = read(pipe, byte, sizeof byte)) > 0; bytes += k)
        for (ssize_t i = 0; i < k; i++)
            h = (h ^ (unsigned char)byte[i]) * 16777619u;
    say("%ld bytes in the pipe, %x", bytes, h & 0xffff);
    state(f, what, n, error, at, 0);
}

static void pipes(const struct files *f) {
    int p[2];
    MUST(pipe2(p, O_CLOEXEC));
    MUST(fcntl(p[1], F_SETPIPE_SZ, BLOCK));
    MUST(fcntl(p[0], F_SETFL, O_NONBLOCK));
    off_t at = BLOCK;
    ssize_t n = splice(f->from, &at, p[1], NULL, BLOCK, 0);
    drained(p[0], "splice to a pipe", f, n, errno, at);
    n = splice(f->from, NULL, p[1], NULL, BLOCK, SPLICE_F_NONBLOCK);
    say("%d", n > 0 && n <= BLOCK);
    while (read(p[0], seen, LEN) > 0) {}
    MUST(lseek(f->from, 0, SEEK_SET));
    n = sendfile(p[1], f->from, NULL, BLOCK);
    drained(p[0], "sendfile to a pipe", f, n, errno, 0);
    at = LEN;
    n = sendfile(p[1], f->from, &at, BLOCK);
    drained(p[0], "sendfile from the end", f, n, errno, at);
    at = LEN - 512;
    n = sendfile(p[1], f->from, &at, 4096);
    drained(p[0], "sendfile past the end", f, n, errno, at);
    at = -1;
    n = sendfile(p[1], f->from, &at, 4096);
    drained(p[0], "sendfile from before", f, n, errno, at);
    at = 0;
    n = splice(f->from, &at, p[1], &at, 4096, 0);
    drained(p[0], "splice with a place in a pipe", f, n, errno, at);
    // More than fits: whoever calls may be the one who reads it.
    at = 0;
    n = splice(f->from, &at, p[1], NULL, LEN, 0);
    drained(p[0], "splice of more than fits", f, n, errno, at);
    at = 0;
    n = sendfile(p[1], f->from, &at, LEN);
    drained(p[0], "sendfile of more than fits", f, n, errno, at);
    MUST(write(p[1], data, 15 * 4096));
    at = 0;
    n = splice(f->from, &at, p[1], NULL, 8192, 0);
    drained(p[0], "splice of more than is left", f, n, errno, at);
    at = 0;
    n = splice(f->from, &at, p[1], NULL, 4096, 0xff00);
    drained(p[0], "splice with unknown flags", f, n, errno, at);
    at = 1ll << 62;
    n = sendfile(p[1], f->from, &at, 4096);
    drained(p[0], "sendfile from far away", f, n, errno, at);
    MUST(write(p[1], data, 4096));
    n = sendfile(f->to, p[0], NULL, 4096);
    drained(p[0], "sendfile from a pipe", f, n, errno, 0);
    int readable = MUST(open("/proc/self/exe", O_RDONLY));
    at = 0;
    n = sendfile(readable, f->from, &at, 4096);
    state(f, "sendfile to what can't be written", n, errno, at, 0);
    close(readable);
    // Full, and not to be waited for.
    MUST(fcntl(p[1], F_SETFL, O_NONBLOCK));
    at = 0;
    long all = 0;
    while ((n = sendfile(p[1], f->from, &at, LEN - at)) > 0)
        all += n;
    say("%d, then %ld %s", all >= 4096 && all == at, (long)n, n < 0 ? strerrorname_np(errno) : "");
    n = splice(f->from, NULL, p[1], NULL, 4096, SPLICE_F_NONBLOCK);
    say("splice to a full pipe: %ld %s", (long)n, n < 0 ? strerrorname_np(errno) : "");
    while (read(p[0], seen, LEN) > 0) {}
    MUST(fcntl(p[1], F_SETFL, 0));
    // From a pipe.
    memset(data, 'p', LEN);
    MUST(write(p[1], data, 8192));
    at = BLOCK;
    n = splice(p[0], NULL, f->to, &at, 4096, 0);
    state(f, "splice from a pipe", n, errno, at, 0);
    MUST(lseek(f->to, LEN, SEEK_SET));
    n = splice(p[0], NULL, f->to, NULL, 40960, 0);
    state(f, "splice what is there", n, errno, 0, 0);
    n = splice(p[0], NULL, f->to, NULL, 4096, SPLICE_F_NONBLOCK);
    state(f, "splice from an empty pipe", n, errno, 0, 0);
    close(p[1]);
    n = splice(p[0], NULL, f->to, NULL, 4096, 0);
    state(f, "splice from a pipe that nobody writes", n, errno, 0, 0);
    close(p[0]);
    MUST(pipe2(p, O_CLOEXEC));
    close(p[0]);
    signal(SIGPIPE, SIG_IGN);
    n = sendfile(p[1], f->from, NULL, 4096);
    state(f, "sendfile to a pipe that nobody reads", n, errno, 0, 0);
    close(p[1]);
}

// btrfs and xfs say why a reflink can't be; what is not there elsewhere is the same everywhere.
static void reflinks(const struct files *f) {
    int n = ioctl(f->to, FICLONE, f->from);
    state(f, "FICLONE", n, errno, 0, 0);
    struct file_clone_range range = {f->from, BLOCK, BLOCK, 2 * BLOCK};
    n = ioctl(f->to, FICLONERANGE, &range);
    state(f, "FICLONERANGE", n, errno, 0, 0);
    range.src_offset = 512;
    n = ioctl(f->to, FICLONERANGE, &range);
    state(f, "FICLONERANGE of a part of a block", n, errno, 0, 0);
    n = ioctl(f->to, FICLONERANGE, (void *)8);
    state(f, "FICLONERANGE of nothing", n, errno, 0, 0);
    n = ioctl(f->to, FICLONE, -1);
    state(f, "FICLONE of nowhere", n, errno, 0, 0);
    struct {
        struct file_dedupe_range head;
        struct file_dedupe_range_info info[3];
    } d = {{0, BLOCK, 3, 0, 0}, {{f->to, 0, 0, 0, 0}, {f->plain[0], 2 * BLOCK, 0, 0, 0}, {-1, 0, 0, 0, 0}}};
    MUST(pwrite(f->plain[1], seen, 0, 0));
    n = ioctl(f->from, FIDEDUPERANGE, &d);
    say("dedupe: %d %d/%lld %d/%lld %d/%lld", n, d.info[0].status, (long long)d.info[0].bytes_deduped, d.info[1].status,
        (long long)d.info[1].bytes_deduped, d.info[2].status, (long long)d.info[2].bytes_deduped);
    state(f, "FIDEDUPERANGE", n, errno, 0, 0);
    int left = 0;
    int p[2];
    MUST(pipe(p));
    MUST(write(p[1], "xyz", 3));
    n = ioctl(p[0], FIONREAD, &left);
    say("FIONREAD: %d %d; TCGETS %d", n, left, isatty(p[0]));
    close(p[0]);
    close(p[1]);
}

int main(int argc, char **argv) {
    data = filled(LEN, 0);
    seen = filled(LEN, 0);
    char *names[] = {path_in(argv[1], "from"), path_in(argv[1], "to")};
    int plain[2];
    for (int i = 0; i < 2; i++) {
        plain[i] = MUST(open(names[i], O_RDWR | O_CREAT, 0600));
        make_anew(plain[i], i ? 'A' : 'a');
    }
    static const char *const modes[] = {"one mode", "mixed", "mapped", "from direct", "to direct", "both direct", "appending"};
    int direct[2] = {-1, -1};
    char *map[2] = {NULL, NULL};
    for (int mode = 0; mode < 7; mode++) {
        situation = modes[mode];
        for (int i = 0; i < 2 && mode; i++)
            if (direct[i] < 0)
                direct[i] = MUST(open(names[i], O_RDWR | O_DIRECT));
        if (mode == 2)
            for (int i = 0; i < 2; i++) {
                map[i] = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, plain[i], 0);
                map[i][7] = 'm';
            }
        struct files f = {plain[0], plain[1], {plain[0], plain[1]}};
        if (mode == 3 || mode == 5)
            f.from = direct[0];
        if (mode == 4 || mode == 5)
            f.to = direct[1];
        if (mode == 6)
            f.to = MUST(open(names[1], O_RDWR | O_APPEND));
        ranges(&f);
        pipes(&f);
        reflinks(&f);
    }
    say("done");
    return argc > 9;
}
