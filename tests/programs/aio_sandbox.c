// A program that has a context, and then puts itself into a sandbox that ends it for whatever it doesn't need itself.
#include "aio.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

#define KILL(number)                                            \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##number, 0, 1),    \
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)

static void enter(void) {
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        KILL(clone), KILL(clone3), KILL(io_pgetevents), KILL(ppoll), KILL(process_vm_readv), KILL(process_vm_writev),
        KILL(openat), KILL(statx),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog all = {sizeof rules / sizeof *rules, rules};
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all));
}

static void use(aio_context_t context, struct both *file, char *page) {
    TELL(one(context, request(IOCB_CMD_PWRITE, file->direct, page, PAGE, PAGE)));
    TELL(one(context, request(IOCB_CMD_PREAD, file->buffered, page, PAGE, PAGE)));
    TELL(one(context, request(IOCB_CMD_PWRITE, file->buffered, page, PAGE, 0)));
    TELL(one(context, request(IOCB_CMD_PREAD, file->direct, page, PAGE, 0)));
    TELL(one(context, request(IOCB_CMD_PWRITE, file->direct, (char *)16, PAGE, 0)));
    struct timespec soon = at_most(0.01);
    struct io_event event;
    TELL(io_getevents(context, 1, 1, &event, &soon));
    TELL(io_submit(context, 1, (struct iocb **)16));
    // In flight, and not taken for a while.
    struct iocb block = request(IOCB_CMD_PWRITE, file->direct, page, PAGE, PAGE), *list[] = {&block};
    TELL(io_submit(context, 1, list));
    SAY(pread(file->buffered, page, PAGE, PAGE));
    TELL(io_getevents(context, 1, 1, &event, NULL));
}

int main(int argc, char **argv) {
    (void)argc;
    char *page = filled(PAGE, 'p');
    struct both file = open_both(argv[1], "f");
    aio_context_t context = 0;
    TELL(io_setup(8, &context));
    use(context, &file, page);
    enter();
    use(context, &file, page);
    TELL(io_destroy(context));
    context = 0;
    TELL(io_setup(8, &context));
    use(context, &file, page);
    return 0;
}
