// A mapping is moved, grown, made writable, put over another, inherited; each time somebody loads
// a word in its page and stores to it while a direct write of that page is under way. The write's
// other bytes must be there afterwards. The kernel alone loses some of them; fenced, none. With a second argument it
// says instead where that page is, and waits.
#include "hazard.h"

static struct both file;
static volatile struct {
    int round, stop, inherited;
} *shared;
static char *data, *seen;
static long total;
static int steps;
static const double seconds = 0.3;

static void spin(unsigned microseconds) {
    for (double end = now() + microseconds * 1e-6; now() < end && !shared->stop;)
        ;
}

// In each round: waits a little, loads the first word of the page, waits, stores to it.
static void store_on(volatile char *page) {
    unsigned seed = 1;
    for (int last = 0; !shared->stop;) {
        int round = shared->round;
        if (round == last)
            continue;
        last = round;
        volatile unsigned *word = (volatile unsigned *)page;
        spin(rand_r(&seed) % 500);
        unsigned value = *word;
        spin(rand_r(&seed) % 1000);
        *word = value + 1;
    }
}

static void *storer(void *page) {
    store_on(page);
    return NULL;
}

// Everything that was written, but for the storer's word, is seen both ways.
static int lost(int fd, size_t length, off_t victim) {
    MUST(pread(fd, seen, length, 0));
    memcpy(seen + victim, data + victim, sizeof(unsigned));
    return memcmp(data, seen, length) != 0;
}

static void write_over(const char *what, off_t victim) {
    char place[100];
    snprintf(place, sizeof place, "%s: %ld", what, (long)victim);
    if (steps)
        return step(place);
    size_t length = victim + PAGE;
    long count = 0, rounds = 0;
    for (double end = now() + seconds; now() < end; rounds++) {
        memset(data, 'A' + rounds % 26, length);
        shared->round++;
        MUST(pwrite(file.direct, data, length, 0));
        count += lost(file.buffered, length, victim) || lost(file.direct, length, victim);
    }
    fprintf(stderr, "%s: %ld lost of %ld\n", what, count, rounds);
    total += count;
}

static void series(const char *what, char *page, off_t at) {
    pthread_t thread;
    shared->stop = 0;
    pthread_create(&thread, NULL, storer, page);
    write_over(what, at);
    shared->stop = 1;
    pthread_join(thread, NULL);
}

static char *map(size_t length, int protection, off_t at) {
    char *p = mmap(NULL, length, protection, MAP_SHARED, file.buffered, at);
    if (p == MAP_FAILED)
        MUST(-1);
    return p;
}

int main(int argc, char **argv) {
    file = open_both(argv[1], "f");
    steps = argc > 2;
    // In small pages, or the write is on its way in too few pieces to be met half done.
    data = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise(data, SIZE, MADV_NOHUGEPAGE);
    seen = filled(SIZE, 0);
    shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    off_t at = SIZE - 2 * PAGE;
    char *p = map(PAGE, PROT_READ | PROT_WRITE, at);
    series("mapped", p, at);
    p = mremap(p, PAGE, 2 * PAGE, MREMAP_MAYMOVE);
    series("grown", p + PAGE, at + PAGE);
    void *elsewhere = mmap(NULL, 4 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *before = p;
    p = mremap(p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, elsewhere);
    munmap(before, 2 * PAGE); // where nothing is any more
    series("moved", p + PAGE, at + PAGE);
    munmap(p, PAGE);
    series("first half unmapped", p + PAGE, at + PAGE);
    munmap(p + PAGE, PAGE);

    p = map(PAGE, PROT_READ, at);
    mprotect(p, PAGE, PROT_READ | PROT_WRITE);
    series("made writable", p, at);
    mprotect(p, PAGE, PROT_READ);
    mprotect(p, PAGE, PROT_READ | PROT_WRITE);
    series("made writable again", p, at);
    MUST(remap_file_pages(p, PAGE, 0, at / PAGE + 1, 0));
    series("another page", p, at + PAGE);
    mprotect(p, PAGE, PROT_READ);
    mprotect(p, PAGE, PROT_READ | PROT_WRITE);
    series("another page, made writable again", p, at + PAGE);

    int zero = MUST(open("/dev/zero", O_RDWR));
    mmap(p, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, zero, 0);
    p = mmap(p, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file.buffered, at);
    series("put over another", p, at);

    shared->stop = 0;
    pid_t pid = MUST(fork());
    if (pid == 0) {
        alarm(20);
        shared->inherited = 1;
        store_on(p);
        _exit(0);
    }
    // The child's part is known before fork returns there; until then nobody stores to it.
    while (steps && !shared->inherited)
        usleep(1000);
    munmap(p, PAGE);
    write_over("inherited by a child", at);
    shared->stop = 1;
    say_child("storer", pid);
    if (steps)
        step("gone");
    say("anomalies=%ld", total);
}
