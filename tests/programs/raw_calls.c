// System calls that a program makes by instructions of its own are what they are on the bare kernel: errors, offsets,
// registers, stacks, signals, cancellation, children.
#include "raw.h"
#include <setjmp.h>
#include <sys/time.h>

static const char *file;
static int buffered, direct;
static char page[2 * PAGE] __attribute__((aligned(PAGE)));

static void errors(void) {
    say("no number: %ld %ld", raw(SYS_read, -1, (long)page, 1, 0), raw(SYS_close, 12345, 0, 0, 0));
    say("no memory: %ld %ld", raw(SYS_pwrite64, buffered, 1, 1, 0), raw(SYS_openat, AT_FDCWD, 1, 0, 0));
    say("not aligned: %ld %ld", raw(SYS_pwrite64, direct, (long)page + 1, PAGE, 0), raw(SYS_pwrite64, direct, (long)page, 7, 0));
    say("no place: %ld %ld", raw(SYS_lseek, buffered, -5, SEEK_SET, 0), raw(SYS_mmap, 0, 0, PROT_READ, 0));
    say("no such call: %ld %ld %ld", raw(-1, 0, 0, 0, 0), raw(0x12345, 0, 0, 0, 0), raw(0x10000 + SYS_read, buffered, (long)page, 1, 0));
    // The kernel looks at the lower half.
    say("half a number: %ld", raw((7l << 32) + SYS_pread64, buffered, (long)page, 3, 0));
    errno = 77;
    raw(SYS_read, -1, (long)page, 1, 0);
    say("errno: %d", errno);
}

static void offsets(void) {
    int fd = raw(SYS_openat, AT_FDCWD, (long)file, O_RDWR | O_CLOEXEC, 0);
    say("opened: %d, flags %lx", fd >= 0, raw(SYS_fcntl, fd, F_GETFL, 0, 0));
    say("written: %ld, at %ld", raw(SYS_write, fd, (long)page, 100, 0), raw(SYS_lseek, fd, 0, SEEK_CUR, 0));
    int other = raw(SYS_dup, fd, 0, 0, 0);
    say("read: %ld, at %ld", raw(SYS_read, other, (long)page, 50, 0), (long)lseek(fd, 0, SEEK_CUR));
    char *map = (char *)mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    map[0] = 'm';
    say("mapped: %ld %c", raw(SYS_pread64, direct, (long)page, PAGE, 0), page[0]);
    say("unmapped: %ld", raw(SYS_munmap, (long)map, PAGE, 0, 0));
    say("closed: %ld %ld %ld", raw(SYS_close, fd, 0, 0, 0), raw(SYS_close, other, 0, 0, 0), raw(SYS_close, fd, 0, 0, 0));
}

// Every register but rax, rcx and r11, the flags, and the vectors.
static void registers(long number, const char *what) {
    static uint64_t vectors[16][4], after[16][4], general[8];
    for (int i = 0; i < 64; i++)
        vectors[i / 4][i % 4] = 0x0101010101010101ull * (i + 1);
    int wide = __builtin_cpu_supports("avx2");
    uint64_t flags = 0;
    long result;
#define EACH(what) what(0) what(1) what(2) what(3) what(4) what(5) what(6) what(7) what(8) what(9) what(10) what(11) what(12) what(13) what(14) what(15)
#define LOAD(n) "vmovdqu " #n "*32(%[from]), %%ymm" #n "\n\t"
#define KEEP(n) "vmovdqu %%ymm" #n ", " #n "*32(%[to])\n\t"
    register long r10 __asm__("r10") = 0;
    if (!wide)
        memcpy(after, vectors, sizeof after), result = raw(number, direct, (long)page, PAGE, 0);
    else
        __asm__ volatile(EACH(LOAD) "stc\n\tstd\n\tmov $0x1234567812345678, %%r12\n\tmov %%r12, %%r13\n\tmov %%r12, %%r14\n\tmov %%r12, %%r15\n\t"
                         "syscall\n\tpushfq\n\tpop %[flags]\n\tcld\n\t" EACH(KEEP)
                         "mov %%r12, (%[general])\n\tmov %%r13, 8(%[general])\n\tmov %%r14, 16(%[general])\n\tmov %%r15, 24(%[general])\n\t"
                         "mov %%rdi, 32(%[general])\n\tmov %%rsi, 40(%[general])\n\tmov %%rdx, 48(%[general])\n\tmov %%r10, 56(%[general])\n\t"
                         : "=a"(result), [flags] "=&r"(flags)
                         : "a"(number), "D"((long)direct), "S"(page), "d"((long)PAGE), "r"(r10), [from] "r"(vectors), [to] "r"(after), [general] "r"(general)
                         : "r12", "r13", "r14", "r15", "cc", CLOBBERED, "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                           "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    int same = !wide || (general[4] == (uint64_t)direct && general[5] == (uint64_t)page && general[6] == PAGE && general[7] == 0 && (flags & 0x401) == 0x401);
    for (int i = 0; wide && i < 4; i++)
        same = same && general[i] == 0x1234567812345678;
    say("%s: %ld, registers %s, vectors %s", what, result, same ? "kept" : "lost", memcmp(vectors, after, sizeof after) ? "lost" : "kept");
}

// A stack of next to nothing, as a goroutine's: what lies below it is somebody else's.
static void *write_by_hand(void *stack) {
    static char *top;
    static long result;
    top = stack;
    __asm__ volatile("mov %%rsp, %%rbx\n\tmov %1, %%rsp\n\tmov %2, %%edi\n\tlea page(%%rip), %%rsi\n\tmov $4096, %%edx\n\txor %%ecx, %%ecx\n\t"
                     "call raw_by_hand\n\tmov %%rbx, %%rsp"
                     : "=a"(result)
                     : "r"(top), "r"(direct)
                     : "rbx", "rdi", "rsi", "rdx", "r10", "r8", "r9", "cc", CLOBBERED);
    say("written on a small stack: %ld", result);
    return NULL;
}

static void small_stacks(void) {
    static char room[4096] __attribute__((aligned(64)));
    memset(room, '#', sizeof room);
    write_by_hand(room + sizeof room - 64);
    int untouched = 0;
    while (room[untouched] == '#')
        untouched++;
    int used = sizeof room - 64 - untouched;
    say("of which it used %s", used <= 400 ? "400 bytes at most" : "more");
    pthread_attr_t how;
    pthread_t thread;
    pthread_attr_init(&how);
    pthread_attr_setstacksize(&how, 16384);
    for (int i = 0; i < 20; i++) {
        memset(room, '#', sizeof room);
        if (pthread_create(&thread, &how, write_by_hand, room + sizeof room - 64) || pthread_join(thread, NULL))
            abort();
    }
}

static volatile int handled;
static sigjmp_buf out;
static volatile int may_jump;
enum { SIGNALS = 2000 };

static void again_soon(void) {
    alarm_in(handled < SIGNALS ? 200 : 0);
}

static void handler(int signal) {
    (void)signal;
    int saved = errno;
    char byte;
    handled++;
    if (raw(SYS_pread64, buffered, (long)&byte, 1, 0) != 1 || pread(direct, page + PAGE, PAGE, 0) < 0)
        abort();
    again_soon();
    errno = saved;
    // A jump opens the signal again before it has left.
    if (may_jump && handled % 3 == 0) {
        may_jump = 0;
        siglongjmp(out, 1);
    }
}

static long both_ways(void) {
    long wrong = raw(SYS_pwrite64, direct, (long)page, PAGE, 0) != PAGE;
    wrong += raw(SYS_pread64, buffered, (long)page, PAGE, 0) != PAGE;
    wrong += pwrite(buffered, page, PAGE, 0) != PAGE;
    return wrong;
}

static void signals(int flags, int jumps) {
    static char memory[65536];
    stack_t stack = {.ss_sp = memory, .ss_size = sizeof memory};
    MUST(sigaltstack(&stack, NULL));
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART | flags};
    MUST(sigaction(SIGALRM, &action, NULL));
    volatile long wrong = 0;
    handled = 0;
    again_soon();
    while (handled < SIGNALS) {
        if (sigsetjmp(out, 1))
            continue;
        may_jump = jumps;
        wrong += both_ways();
    }
    may_jump = 0;
    for (int i = 0; i < 50; i++)
        wrong += both_ways();
    say("signals: wrong %ld", wrong);
}

static void *cancelled(void *unused) {
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    pthread_cancel(pthread_self());
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    long result = raw(SYS_pwrite64, direct, (long)page, PAGE, 0);
    say("no point at which threads are cancelled: %ld", result);
    pthread_testcancel();
    say("not cancelled");
    return unused;
}

static void children(void) {
    int status = 0;
    fflush(stdout);
    long child = raw(SYS_fork, 0, 0, 0, 0);
    if (child == 0) {
        long result = raw(SYS_pwrite64, direct, (long)page, PAGE, 0);
        raw(SYS_exit_group, result == PAGE ? 7 : 8, 0, 0, 0);
    }
    MUST(waitpid(child, &status, 0));
    say("a child: %d", WEXITSTATUS(status));
    child = raw(SYS_clone, SIGCHLD, 0, 0, 0);
    if (child == 0)
        raw(SYS_exit_group, raw(SYS_pread64, buffered, (long)page, PAGE, 0) == PAGE ? 9 : 8, 0, 0, 0);
    MUST(waitpid(child, &status, 0));
    say("another: %d", WEXITSTATUS(status));
    char *const arguments[] = {"sh", "-c", "exit 5", NULL};
    child = vfork();
    if (child == 0) {
        raw(SYS_close, direct, 0, 0, 0);
        raw(SYS_execve, (long)"/bin/sh", (long)arguments, (long)environ, 0);
        raw(SYS_exit, 8, 0, 0, 0);
    }
    MUST(waitpid(child, &status, 0));
    say("a borrower: %d, and ours is %s", WEXITSTATUS(status), fcntl(direct, F_GETFD) < 0 ? "gone" : "there");
    say("after them: %ld", raw(SYS_pwrite64, direct, (long)page, PAGE, 0));
}

int main(int count, char **arguments) {
    (void)count;
    file = path_in(arguments[1], "file");
    buffered = MUST(open(file, O_RDWR | O_CREAT | O_TRUNC, 0600));
    direct = MUST(open(file, O_RDWR | O_DIRECT));
    MUST(pwrite(buffered, page, sizeof page, 0));
    errors();
    offsets();
    registers(SYS_pwrite64, "a call that is fenced");
    registers(SYS_pread64, "another");
    registers(SYS_sched_yield, "one that is not");
    small_stacks();
    signals(0, 0);
    signals(SA_ONSTACK, 0);
    signals(0, 1);
    signals(SA_ONSTACK, 1);
    pthread_t thread;
    if (pthread_create(&thread, NULL, cancelled, NULL) || pthread_join(thread, NULL))
        abort();
    children();
}
