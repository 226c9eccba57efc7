// A supervisor's filter as far as it answers whether there is one. It sends no call to anybody.
#pragma once
#include "hazard.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

#define LOAD(what) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, what))
// Unless it is that, over so many instructions.
#define UNLESS(value, over) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, over)

static void put_filter_on(unsigned question, unsigned answer) {
    struct sock_filter filter[] = {
        LOAD(nr), UNLESS(SYS_prctl, 5),
        LOAD(args[0]), UNLESS(PR_GET_SECCOMP, 3),
        LOAD(args[4]), UNLESS(question, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | answer),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
}
