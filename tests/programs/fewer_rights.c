// A program that opens its files as root, gives up rights in the way that its second argument names, and then forks
// workers that use what is open, each of which forks one more.
#include "hazard.h"
#include <sched.h>

static int use(struct both *file, int n) {
    alarm(30);
    off_t at = (off_t)(8 + n) * PAGE;
    char *page = filled(PAGE, 'A' + n), *seen = filled(PAGE, 0);
    MUST(pwrite(file->direct, page, PAGE, at));
    MUST(pread(file->buffered, seen, PAGE, at));
    int wrong = !all(seen, PAGE, 'A' + n);
    MUST(pwrite(file->buffered, page, PAGE, at));
    MUST(pread(file->direct, seen, PAGE, at));
    return wrong || !all(seen, PAGE, 'A' + n);
}

int main(int argc, char **argv) {
    (void)argc;
    struct both file = open_both(argv[1], "f");
    map_page(file.buffered, SIZE / 2);
    char *jail = path_in(argv[1], "jail");
    MUST(mkdir(jail, 0755));
    int at_once = 1;
    if (strstr(argv[2], "chroot"))
        MUST(chroot(jail) + chdir("/"));
    if (strstr(argv[2], "userns"))
        MUST(unshare(CLONE_NEWUSER));
    if (strstr(argv[2], "seteuid"))
        MUST(seteuid(12345));
    else if (strstr(argv[2], "setuid"))
        MUST(setgid(12345) + setuid(12345));
    if (strstr(argv[2], "moved"))
        at_once = 0;
    pid_t pid = MUST(fork());
    if (pid == 0) {
        // A program that takes all high numbers for itself takes ours too.
        for (int fd = 512; !at_once && fd < 1024; fd++)
            MUST(dup2(0, fd));
        int wrong = use(&file, 0);
        if ((pid = MUST(fork())) == 0) {
            wrong = use(&file, 1);
            step("forked twice");
            _exit(wrong);
        }
        int status = 0;
        MUST(waitpid(pid, &status, 0));
        _exit(wrong || status);
    }
    say_child("worker", pid);
}
