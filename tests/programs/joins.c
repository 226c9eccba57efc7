// The first file that is fenced comes late: after what would keep a process from the lock table, in a signal handler, in
// several threads at once, in a child. Says whether the file is right both ways.
#include "hazard.h"
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

static const char *dir;

static struct both file;

// Opened both ways, and not used yet. A handler may call it.
static void opens(void) {
    file.buffered = MUST(open(file.path, O_RDWR | O_CREAT, 0644));
    file.direct = MUST(open(file.path, O_RDWR | O_DIRECT));
}

// Some pages through the cache and some past it; whether each is seen the other way. A handler may call it.
static int right(void) {
    static char page[PAGE] __attribute__((aligned(PAGE))), seen[PAGE] __attribute__((aligned(PAGE)));
    int is_right = 1;
    for (int i = 0; i < 8; i++) {
        memset(page, 'a' + i, PAGE);
        is_right &= pwrite(i % 2 ? file.direct : file.buffered, page, PAGE, i * PAGE) == PAGE;
        is_right &= pread(i % 2 ? file.buffered : file.direct, seen, PAGE, i * PAGE) == PAGE;
        is_right &= !memcmp(page, seen, PAGE);
    }
    return is_right;
}

enum { THREADS = 8 };
static pthread_barrier_t together;

static void *thread(void *number) {
    static _Thread_local char page[PAGE] __attribute__((aligned(PAGE)));
    off_t at = (long)number * PAGE;
    memset(page, 'a' + (long)number, PAGE);
    pthread_barrier_wait(&together);
    MUST(pwrite((long)number % 2 ? file.direct : file.buffered, page, PAGE, at));
    return NULL;
}

static void threads(void) {
    pthread_t all[THREADS];
    opens();
    pthread_barrier_init(&together, NULL, THREADS);
    for (long n = 0; n < THREADS; n++)
        MUST(-pthread_create(&all[n], NULL, thread, (void *)n));
    for (long n = 0; n < THREADS; n++)
        pthread_join(all[n], NULL);
    SAY(right());
}

static volatile sig_atomic_t handled, was_right;

static void handler(int signal) {
    (void)signal;
    opens();
    was_right = right();
    handled = 1;
}

// The program's allocator is busy when the handler comes.
static void in_a_handler(void) {
    signal(SIGALRM, handler);
    ualarm(2000, 0);
    while (!handled)
        free(malloc(100000 + rand() % 100000));
    SAY(was_right);
}

// Every number is taken but those that are about to be used.
static void no_numbers(void) {
    opens();
    MUST(setrlimit(RLIMIT_NOFILE, &(struct rlimit){file.direct + 1, file.direct + 1}));
    if (geteuid() == 0)
        MUST(setresuid(65534, 65534, 65534));
    SAY(right());
}

// The program has taken all that it may have by now; more could be had.
static void all_numbers(void) {
    opens();
    while (dup(0) >= 0)
        ;
    SAY(right());
}

static void no_rights(void) {
    opens();
    MUST(chroot(dir));
    MUST(setgroups(0, NULL));
    MUST(setresgid(65534, 65534, 65534));
    MUST(setresuid(65534, 65534, 65534));
    SAY(right());
}

// Opens nothing any more, and starts nothing.
static void no_opens(void) {
    opens();
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execve, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execveat, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &(struct sock_fprog){6, filter}));
    SAY(right());
}

static void in_a_child(void) {
    pid_t pid = MUST(fork());
    if (pid == 0) {
        opens();
        SAY(right());
        _exit(0);
    }
    MUST(waitpid(pid, NULL, 0));
}

// Past libc, and so past the library.
static void in_a_raw_child(void) {
    pid_t pid = MUST(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
    if (pid == 0) {
        opens();
        SAY(right());
        _exit(0);
    }
    MUST(waitpid(pid, NULL, 0));
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    dir = argv[1];
    file.path = path_in(dir, "f");
    const char *what = argv[2];
    if (!strcmp(what, "threads"))
        threads();
    else if (!strcmp(what, "a handler"))
        in_a_handler();
    else if (!strcmp(what, "no numbers"))
        no_numbers();
    else if (!strcmp(what, "all numbers"))
        all_numbers();
    else if (!strcmp(what, "no rights"))
        no_rights();
    else if (!strcmp(what, "no opens"))
        no_opens();
    else if (!strcmp(what, "a child"))
        in_a_child();
    else if (!strcmp(what, "a raw child"))
        in_a_raw_child();
    say("done");
    return 0;
}
