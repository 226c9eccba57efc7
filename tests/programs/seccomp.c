// Puts a filter on itself that refuses some system calls, none of which it makes itself afterwards, and goes on using
// its files directly, beside a mapping, through the cache, and one that it opens only now.
// Usage: seccomp DIRECTORY DOOR ACTION NUMBER...
// DOOR: prctl, syscall-prctl or syscall-seccomp. ACTION: errno, kill, trap, log, each (a filter of its own for each number,
// which kills), strict (the mode, without numbers) or nothing. NUMBER: of a system call; with =VALUE where its second
// argument is that, with !VALUE where it is not.
#include "hazard.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static void set_mode(const char *door, long mode, void *program) {
    if (!strcmp(door, "prctl"))
        MUST(prctl(PR_SET_SECCOMP, mode, program));
    else if (!strcmp(door, "syscall-prctl"))
        MUST(syscall(SYS_prctl, PR_SET_SECCOMP, mode, program, 0, 0));
    else
        MUST(syscall(SYS_seccomp, mode == SECCOMP_MODE_STRICT ? SECCOMP_SET_MODE_STRICT : SECCOMP_SET_MODE_FILTER, 0, program));
}

static unsigned answer_of(const char *action) {
    if (!strcmp(action, "kill"))
        return SECCOMP_RET_KILL_PROCESS;
    if (!strcmp(action, "trap"))
        return SECCOMP_RET_TRAP;
    if (!strcmp(action, "log"))
        return SECCOMP_RET_LOG;
    return SECCOMP_RET_ERRNO | EPERM;
}

static void refuse(const char *door, const char *action, char **numbers, int count) {
    struct sock_filter filter[64];
    unsigned short n = 0;
    for (int i = 0; i < count; i++) {
        char *mark = numbers[i];
        int number = strtol(mark, &mark, 10), value = *mark ? atoi(mark + 1) : 0;
        filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
        filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, *mark ? 3 : 1);
        if (*mark) {
            filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1]));
            filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, *mark == '!', *mark != '!');
        }
        filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, answer_of(action));
    }
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {n, filter};
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    // Of no use to the kernel, which goes on without it.
    filter[n - 1].code = 0xffff;
    SAY(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
    filter[n - 1].code = BPF_RET | BPF_K;
    set_mode(door, SECCOMP_MODE_FILTER, &program);
}

// Without stdio, which asks what stands behind its descriptor.
static void tell(const char *what, long result, const char *seen) {
    char line[200];
    int n = snprintf(line, sizeof line, "%s: %ld %s, there is '%c'\n", what, result,
                     result < 0 ? strerrorname_np(errno) : "ok", seen ? *seen : '-');
    if (write(1, line, n) != n)
        _exit(97);
}

int main(int argc, char **argv) {
    if (argc < 4)
        return 98;
    struct both file = open_both(argv[1], "file");
    char *mapped = map_page(file.buffered, 0), *page = filled(PAGE, 'a'), *into = filled(PAGE, 0);
    char *second_path = path_in(argv[1], "later");
    int sequential = MUST(open(file.path, O_RDWR | O_DIRECT));
    mapped[1] = 'm';
    if (!strcmp(argv[3], "strict")) {
        set_mode(argv[2], SECCOMP_MODE_STRICT, NULL);
        write(1, "hi\n", 3);
        syscall(SYS_exit, 0);
    }
    // One filter for all, or one for each.
    if (!strcmp(argv[3], "each"))
        for (int i = 4; i < argc; i++)
            refuse(argv[2], "kill", argv + i, 1);
    else if (strcmp(argv[3], "nothing"))
        refuse(argv[2], argv[3], argv + 4, argc - 4);

    tell("direct pwrite beside a mapping", pwrite(file.direct, page, PAGE, 0), mapped);
    mapped[0] = 'n';
    tell("direct pread beside a mapping", pread(file.direct, into, PAGE, 0), into);
    memset(page, 'b', PAGE);
    struct iovec parts[] = {{page, 512}, {page + 512, PAGE - 512}};
    tell("direct writev beside a mapping", writev(sequential, parts, 2), mapped);
    tell("direct write after it", write(sequential, page, PAGE), NULL);
    tell("where that leads", lseek(sequential, 0, SEEK_CUR), NULL);
    tell("direct pwrite far from it", pwrite(file.direct, page, PAGE, 3 * 1024 * 1024), NULL);
    tell("buffered pread of that", pread(file.buffered, into, PAGE, 3 * 1024 * 1024), into);
    memset(page, 'c', PAGE);
    tell("buffered pwrite", pwrite(file.buffered, page, PAGE, 3 * 1024 * 1024), NULL);
    tell("direct pread of that", pread(file.direct, into, PAGE, 3 * 1024 * 1024), into);
    tell("direct pwrite at the end", pwrite(file.direct, page, PAGE, SIZE), NULL);
    tell("direct pwrite of no memory", pwrite(file.direct, (void *)PAGE, PAGE, 0), NULL);

    int buffered = open(second_path, O_RDWR | O_CREAT, 0600), direct = open(second_path, O_RDWR | O_DIRECT);
    memset(page, 'd', PAGE);
    tell("a file opened later", pwrite(buffered, page, PAGE, 0), NULL);
    tell("read directly", pread(direct, into, PAGE, 0), into);
    char *view = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, buffered, 0);
    memset(page, 'e', PAGE);
    tell("written directly beside a mapping", pwrite(direct, page, PAGE, 0), view);
    tell("closed", close(direct), NULL);
    tell("synced", fsync(buffered), NULL);
    tell("emptied by opening", open(second_path, O_WRONLY | O_TRUNC) < 0, NULL);
    pid_t child = fork();
    if (child == 0)
        _exit(pwrite(file.direct, page, PAGE, 0) == PAGE && mapped[0] == 'e' ? 0 : 1);
    int status = -1;
    tell("a forked child", waitpid(child, &status, 0) == child ? status : -2, NULL);
    return 0;
}
