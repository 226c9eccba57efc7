// A page is made writable while somebody else makes it read-only: a timer's handler that comes in the middle, or
// another thread (dirty tracking does both). And a mapping grows while it is made writable. Where the page is writable
// in the end, direct writes of its range must know: they go through the cache and stay in it. One that doesn't know
// drops the page, and what was stored is lost.
#include "hazard.h"
#include <setjmp.h>
#include <sys/time.h>

#define UNIT (2 * 1024 * 1024)

static int direct, buffered;
static char *page, *data;
static volatile sig_atomic_t inside, hits, grow_races;
static sigjmp_buf fault;
static double seconds;
static long raced, writable, unknown;

static void on_fault(int signal) {
    (void)signal;
    siglongjmp(fault, 1);
}

static int interval;

static void on_timer(int signal) {
    (void)signal;
    if (inside) {
        mprotect(page, PAGE, grow_races ? PROT_READ | PROT_WRITE : PROT_READ);
        hits++;
    }
    alarm_in(interval);
}

static int busy, stop;

static void *other_thread(void *argument) {
    while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
        __atomic_store_n(&busy, 1, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&inside, __ATOMIC_SEQ_CST)) {
            mprotect(page, PAGE, PROT_READ);
            hits++;
        }
        __atomic_store_n(&busy, 0, __ATOMIC_SEQ_CST);
    }
    return argument;
}

// Whether a direct write left the page out of the cache.
static int dropped(off_t at) {
    unsigned char resident = 0;
    MUST(pwrite(direct, data, PAGE, at));
    void *look = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, buffered, at);
    mincore(look, PAGE, &resident);
    munmap(look, PAGE);
    return !(resident & 1);
}

static void judge(char *address, off_t at) {
    raced++;
    if (sigsetjmp(fault, 1))
        return; // read-only was the last
    *(volatile char *)address = 's';
    writable++;
    unknown += dropped(at);
}

static void result(const char *what) {
    say("%s: raced %s, writable %s", what, raced ? "yes" : "no", writable ? "yes" : "no");
    fprintf(stderr, "%s: raced %ld, writable in the end %ld, unknown to direct writes %ld\n", what, raced, writable, unknown);
    say("unknown=%ld", unknown);
    raced = writable = unknown = 0;
}

static void timer(int microseconds) {
    interval = microseconds;
    alarm_in(interval);
}

static void series(void) {
    for (double end = now() + seconds; now() < end;) {
        hits = 0;
        inside = 1;
        mprotect(page, PAGE, PROT_READ | PROT_WRITE);
        __atomic_store_n(&inside, 0, __ATOMIC_SEQ_CST);
        while (__atomic_load_n(&busy, __ATOMIC_SEQ_CST))
            sched_yield();
        if (hits)
            judge(page, 0);
        mprotect(page, PAGE, PROT_READ);
    }
}

// The last page of a unit, then the first of the next one too.
static void grow(void) {
    char *room = mmap(NULL, 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (double end = now() + seconds; now() < end;) {
        munmap(room, 2 * PAGE);
        page = mmap(room, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, buffered, UNIT - PAGE);
        hits = 0;
        inside = 1;
        void *grown = mremap(page, PAGE, 2 * PAGE, 0);
        inside = 0;
        if (hits && grown == room)
            judge(room + PAGE, UNIT);
    }
}

int main(int argc, char **argv) {
    (void)argc;
    seconds = atof(argv[2]);
    struct both file = open_both(argv[1], "f");
    direct = file.direct, buffered = file.buffered;
    data = filled(PAGE, 'd');
    signal(SIGSEGV, on_fault);
    signal(SIGALRM, on_timer);
    page = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, buffered, 0);
    mprotect(page, PAGE, PROT_READ | PROT_WRITE);
    judge(page, 0);
    result("alone");
    mprotect(page, PAGE, PROT_READ);
    timer(53);
    series();
    timer(0);
    result("handler");

    pthread_t thread;
    pthread_create(&thread, NULL, other_thread, NULL);
    series();
    __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
    pthread_join(thread, NULL);
    result("thread");

    grow_races = 1;
    timer(53);
    grow();
    timer(0);
    result("growing");
}
