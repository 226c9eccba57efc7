// Threads use one file both ways, beside mappings and in each other's way, while another puts a filter on all of them
// that kills at system calls that none of them makes. Usage: seccomp_threads DIRECTORY NUMBER...
#include "hazard.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define THREADS 4

static struct both file;
static atomic_int stop, wrong;

static void *use(void *number) {
    off_t own = (1 + (long)number) * 16 * PAGE, common = 512 * PAGE;
    char *page = filled(PAGE, 0), *mapped = map_page(file.buffered, own);
    for (int turn = 0; !stop || turn < 3; turn++) {
        int byte = 'a' + turn % 26;
        memset(page, byte, PAGE);
        wrong += pwrite(file.direct, page, PAGE, own) != PAGE || mapped[7] != (char)byte;
        wrong += pwrite(file.direct, page, PAGE, own + 4 * PAGE) != PAGE;
        wrong += pread(file.buffered, page, PAGE, own + 4 * PAGE) != PAGE || !all(page, PAGE, byte);
        struct iovec parts[] = {{page, 512}, {page + 512, PAGE - 512}};
        wrong += pwritev(turn % 2 ? file.direct : file.buffered, parts, 2, common) != PAGE;
        wrong += pread(turn % 2 ? file.buffered : file.direct, page, PAGE, common) != PAGE;
    }
    return NULL;
}

static void start(pthread_t *threads, int count) {
    for (long i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, use, (void *)i))
            exit(97);
}

int main(int argc, char **argv) {
    if (argc < 2)
        return 98;
    static struct sock_filter filter[64];
    unsigned short n = 0;
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 2; i < argc; i++) {
        filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, atoi(argv[i]), 0, 1);
        filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    }
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {n, filter};

    file = open_both(argv[1], "file");
    pthread_t threads[THREADS], later[1];
    start(threads, THREADS);
    usleep(50 * 1000);
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    MUST(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program));
    usleep(50 * 1000);
    // One that the filter is inherited by. It uses the first one's place, which is not checked then.
    int before = wrong;
    stop = 1;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    stop = 0;
    start(later, 1);
    usleep(20 * 1000);
    stop = 1;
    pthread_join(later[0], NULL);
    say("wrong: %d, %d", before, wrong);
    return 0;
}
