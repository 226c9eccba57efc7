// Calls after which the library can't see what a file is used for. Usage: uncovered_calls DIR WHAT
#include "hazard.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>

static int nothing(void *unused UNUSED) { return 3; }

static void clones(void) {
    char *stack = filled(65536, 0);
    pid_t child = clone(nothing, stack + 65536, CLONE_VM | SIGCHLD, NULL);
    say("clone: %s", child < 0 ? strerrorname_np(errno) : "made");
    if (child > 0)
        say_child("the child", child);
}

static void *apart(void *unused UNUSED) {
    SAY(unshare(CLONE_FILES));
    SAY(close_range(1000, 1001, CLOSE_RANGE_UNSHARE));
    return NULL;
}

static void unshares(void) {
    pthread_t thread;
    MUST(-pthread_create(&thread, NULL, apart, NULL));
    pthread_join(thread, NULL);
}

// fcntl, without which nothing can be fenced, fails.
static void filters(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fcntl, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {4, code};
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    SAY(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
}

static void maps(const char *dir) {
    for (int i = 0; i < 3; i++) {
        struct both file = open_both(dir, i == 0 ? "a" : i == 1 ? "b" : "c");
        char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file.buffered, 0);
        say("mapping %d: %s", i, page == MAP_FAILED ? strerrorname_np(errno) : "made");
        SAY(pwrite(file.direct, filled(PAGE, 'd'), PAGE, 0));
    }
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    struct both file = open_both(argv[1], "f");
    switch (argv[2][0]) {
    case 'c': clones(); break;
    case 'u': unshares(); break;
    case 'f': filters(); break;
    case 'm': maps(argv[1]); break;
    }
    SAY(pwrite(file.direct, filled(PAGE, 'd'), PAGE, 0));
    SAY(pread(file.buffered, filled(PAGE, 0), PAGE, 0));
    return 0;
}
