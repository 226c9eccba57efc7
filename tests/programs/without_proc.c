// Executes a program in a mount namespace of its own in which /proc is not mounted.
// Usage: without_proc PROGRAM ARGUMENTS
#include "hazard.h"
#include <sched.h>
#include <sys/mount.h>

int main(int argc, char **argv) {
    if (argc < 2)
        return 98;
    MUST(unshare(CLONE_NEWNS));
    MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    MUST(umount2("/proc", MNT_DETACH));
    execv(argv[1], argv + 1);
    return 99;
}
