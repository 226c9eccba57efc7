// Puts a filter on itself and makes processes: a child that reads beside a mapping and one of the child's own, then
// another program. Usage: seccomp_children DIRECTORY kill NUMBER...: a filter that kills at these calls is on before any
// file is open. Or seccomp_children DIRECTORY reader: one that refuses to open what may be changed, later.
#include "hazard.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

#define LOAD(what) (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, what))
#define IS(value, yes, no) (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no)
#define ANSWER(value) (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, value)

static struct sock_filter filter[64];
static unsigned short used;

static void add(struct sock_filter instruction) { filter[used++] = instruction; }

static void put_on(void) {
    add(ANSWER(SECCOMP_RET_ALLOW));
    struct sock_fprog program = {used, filter};
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
}

static void refuse_all(char **numbers) {
    add(LOAD(nr));
    for (; *numbers; numbers++) {
        add(IS(atoi(*numbers), 0, 1));
        add(ANSWER(SECCOMP_RET_KILL_PROCESS));
    }
}

// As the one that man(1) has.
static void refuse_writing(void) {
#ifdef SYS_open
    add(LOAD(nr));
    add(IS(SYS_open, 0, 3));
    add(LOAD(args[1]));
    add((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_ACCMODE, 0, 1));
    add(ANSWER(SECCOMP_RET_ERRNO | ENOSYS));
    add(LOAD(nr));
    add(IS(SYS_creat, 0, 1));
    add(ANSWER(SECCOMP_RET_ERRNO | ENOSYS));
#endif
    add(LOAD(nr));
    add(IS(SYS_openat2, 0, 1));
    add(ANSWER(SECCOMP_RET_ERRNO | ENOSYS));
    add(IS(SYS_openat, 0, 3));
    add(LOAD(args[2]));
    add((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_ACCMODE, 0, 1));
    add(ANSWER(SECCOMP_RET_ERRNO | ENOSYS));
}

static void read_in_children(int fd, int depth) {
    char *page = filled(PAGE, 0);
    pid_t child = MUST(fork());
    if (child == 0) {
        SAY(pread(fd, page, PAGE, 0));
        if (depth > 1)
            read_in_children(fd, depth - 1);
        _exit(page[0]);
    }
    say_child("child", child);
}

int main(int argc, char **argv) {
    int reads = argc > 2 && !strcmp(argv[2], "reader");
    // libc draws one number itself, for its allocator: here before the filter, and in whatever is started behind it.
    int draws = argc > 3 && atoi(argv[3]) == SYS_getrandom;
    free(filled(PAGE, 0));
    if (!reads) {
        refuse_all(argv + 3);
        put_on();
    }
    struct both file = open_both(argv[1], "file");
    char *mapped = map_page(file.buffered, 0);
    mapped[0] = 'm';
    if (reads) {
        refuse_writing();
        put_on();
        SAY(open(file.path, O_RDWR));
    }
    read_in_children(file.direct, 2);
    if (!draws)
        execl("/bin/echo", "echo", "started", NULL);
    return draws ? 0 : 99;
}
