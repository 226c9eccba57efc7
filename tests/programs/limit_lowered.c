// A program lowers its limit on numbers, the hard one too (as a shell's `ulimit -n` does), and has no right to raise it.
// Its children use files as it does, also after they have closed all numbers that they can have, or used them up.
#include "hazard.h"
#include <linux/capability.h>

enum { LIMIT = 64, GENERATIONS = 4 };

static void give_up_right(void) {
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct rights[2];
    MUST(syscall(SYS_capget, &head, rights));
    rights[0].effective &= ~(1u << CAP_SYS_RESOURCE);
    rights[0].permitted &= ~(1u << CAP_SYS_RESOURCE);
    MUST(syscall(SYS_capset, &head, rights));
}

static void close_all(void) {
    for (int fd = 3; fd < LIMIT; fd++)
        close(fd);
}

static int live(const char *dir, int generation) {
    struct both file = open_both(dir, "file");
    map_page(file.buffered, 0)[0] = '0' + generation;
    char *page = filled(PAGE, 'a' + generation);
    say("generation %d, beside a mapping: %zd", generation, pwrite(file.direct, page, PAGE, PAGE));
    say_page("before", file.path, 0);
    say_page("it", file.path, PAGE);
    close_all();
    if (generation == GENERATIONS - 1) {
        int made = 0;
        while (dup(0) >= 0)
            made++;
        say("numbers: %d", made);
        close_all();
    }
    if (generation == GENERATIONS)
        return 0;
    pid_t child = MUST(fork());
    if (child == 0)
        _exit(live(dir, generation + 1));
    int status = -1;
    MUST(waitpid(child, &status, 0));
    say("child of %d: %d", generation, status);
    return status != 0;
}

int main(int argc, char **argv) {
    (void)argc;
    give_up_right();
    MUST(setrlimit(RLIMIT_NOFILE, &(struct rlimit){LIMIT, LIMIT}));
    return live(argv[1], 0);
}
