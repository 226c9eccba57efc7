// Calls that are interrupted by others on another stack, of which addresses say nothing: a handler on an alternate stack that
// the kernel disarms (SS_AUTODISARM) and that lies above the thread's own, and contexts that a handler switches between.
// Each reads and writes a file of its own, and looks whether it is what it wrote. And calls that a handler jumps out of.
#include "hazard.h"
#include <setjmp.h>
#include <sys/time.h>
#include <ucontext.h>

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif

enum { LARGE = 1 << 20, ROUNDS = 1200 };

struct one {
    int fd;
    char *wrote, *read;
    long wrong;
    unsigned seed;
};

static struct one begin(const char *dir, const char *name, unsigned seed) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    struct one one = {.fd = MUST(open(path, O_RDWR | O_CREAT | O_TRUNC, 0600)), .seed = seed};
    one.wrote = malloc(LARGE);
    one.read = malloc(LARGE);
    memset(one.wrote, 1, LARGE);
    MUST(write(one.fd, one.wrote, LARGE));
    return one;
}

// Odd places and lengths.
static void round_of(struct one *one, int value) {
    size_t len = 1 + rand_r(&one->seed) % 200000, at = 1 + rand_r(&one->seed) % 700000;
    memset(one->wrote, value, len);
    one->wrong += pwrite(one->fd, one->wrote, len, at) != (ssize_t)len;
    memset(one->read, 0, len);
    one->wrong += pread(one->fd, one->read, len, at) != (ssize_t)len || memcmp(one->read, one->wrote, len);
}

static int interval;

// Zero: never again.
static void every(int microseconds, void (*handler)(int), int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags | SA_RESTART};
    MUST(sigaction(SIGALRM, &action, NULL));
    interval = microseconds;
    alarm_in(interval);
}

static struct one thread_s, handler_s;
static char *above;

static void reads_another(int signal) {
    (void)signal;
    int before = errno;
    ssize_t n = pread(handler_s.fd, handler_s.read, 150001, 3);
    handler_s.wrong += n != 150001 || memcmp(handler_s.read, handler_s.wrote, n);
    alarm_in(interval);
    errno = before;
}

static void *interrupted(void *nothing) {
    stack_t stack = {.ss_sp = above, .ss_flags = SS_AUTODISARM, .ss_size = 65536};
    MUST(sigaltstack(&stack, NULL));
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    for (int i = 0; i < ROUNDS; i++)
        round_of(&thread_s, 20 + i % 90);
    return nothing;
}

static void disarmed(const char *dir) {
    char stack[65536]; // above those of threads
    above = stack;
    thread_s = begin(dir, "thread's", 1);
    handler_s = begin(dir, "handler's", 2);
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    pthread_t thread;
    pthread_create(&thread, NULL, interrupted, NULL);
    every(700, reads_another, SA_ONSTACK);
    pthread_join(thread, NULL);
    say("wrong: %ld and %ld", thread_s.wrong, handler_s.wrong);
}

static ucontext_t contexts[2];
static struct one of[2];
static volatile int current, done;

static void switches(int signal) {
    (void)signal;
    int from = current, before = errno;
    if (done)
        return;
    current = !from;
    alarm_in(interval);
    swapcontext(&contexts[from], &contexts[!from]);
    errno = before;
}

static void alarms(int how) {
    sigset_t alarm;
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    pthread_sigmask(how, &alarm, NULL);
}

// A context begins with no alarm coming: libc sets the new mask before it leaves the old stack, and a handler in between
// would keep that for the new one's.
static void context(int which) {
    alarms(SIG_UNBLOCK);
    for (int i = 0; i < ROUNDS; i++)
        round_of(&of[which], 20 + i % 90 + which * 100);
    done = 1;
}

static void switched(const char *dir) {
    static char stack[1 << 20];
    of[0] = begin(dir, "one", 1);
    of[1] = begin(dir, "other", 2);
    alarms(SIG_BLOCK);
    MUST(getcontext(&contexts[1]));
    contexts[1].uc_stack = (stack_t){.ss_sp = stack, .ss_size = sizeof stack};
    contexts[1].uc_link = &contexts[0];
    makecontext(&contexts[1], (void (*)(void))context, 1, 1);
    every(900, switches, 0);
    context(0);
    say("wrong: %ld and %ld", of[0].wrong, of[1].wrong);
}

static sigjmp_buf out;
static volatile int inside;

static void jumps(int signal) {
    (void)signal;
    alarm_in(interval);
    if (inside)
        siglongjmp(out, 1);
}

static __attribute__((noinline)) void deeper(struct one *one, int depth) {
    volatile char room[200];
    room[0] = depth;
    if (depth)
        deeper(one, depth - 1);
    else if (pread(one->fd, one->read + 1, 900001, 13) != 900001)
        one->wrong++;
    one->wrong += room[0] != (char)depth;
}

static long resident(void) {
    long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    if (fscanf(statm, "%*s %ld", &pages) != 1)
        pages = -1;
    fclose(statm);
    return pages * 4096;
}

static void jumped(const char *dir) {
    struct one one = begin(dir, "jumped", 1);
    deeper(&one, 0);
    long before = resident();
    volatile int jumped = 0;
    every(700, jumps, 0);
    for (volatile int i = 0; jumped < 200 && i < 100000; i++) {
        if (sigsetjmp(out, 1)) {
            jumped++;
            continue;
        }
        inside = 1;
        deeper(&one, i % 20);
        inside = 0;
    }
    every(0, SIG_IGN, 0);
    say("wrong: %ld, grown by 16 MiB: %d", one.wrong, resident() - before > 16 << 20);
}

int main(int argc, char **argv) {
    (void)argc;
    disarmed(argv[1]);
    every(0, SIG_IGN, 0);
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    jumped(argv[1]);
    switched(argv[1]);
    return 0;
}
