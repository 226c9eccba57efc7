// Opens a file both ways and maps it, gives up rights, and only then uses it directly for the first time.
// Usage: rights DIRECTORY HOW
#include "hazard.h"
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define NOBODY 65534

static void give_up(const char *how) {
    if (!strcmp(how, "setuid"))
        MUST(setuid(NOBODY));
    else if (!strcmp(how, "seteuid"))
        MUST(seteuid(NOBODY));
    else if (!strcmp(how, "setreuid"))
        MUST(setreuid(NOBODY, NOBODY));
    else if (!strcmp(how, "setresuid"))
        MUST(setresuid(NOBODY, NOBODY, NOBODY));
    else if (!strcmp(how, "setfsuid"))
        syscall(SYS_setfsuid, NOBODY);
    else if (!strcmp(how, "syscall-setresuid"))
        MUST(syscall(SYS_setresuid, NOBODY, NOBODY, NOBODY));
    else if (!strcmp(how, "chroot"))
        MUST(chroot("/dev"));
    else if (!strcmp(how, "unshare"))
        MUST(unshare(CLONE_NEWUSER));
    else if (!strcmp(how, "umount")) {
        MUST(unshare(CLONE_NEWNS));
        MUST(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
        MUST(umount2("/proc", MNT_DETACH));
    } else if (!strcmp(how, "capset")) {
        struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
        struct __user_cap_data_struct none[2] = {{0}};
        MUST(syscall(SYS_capset, &head, none));
    } else if (!strcmp(how, "landlock")) {
        struct landlock_ruleset_attr handled = {.handled_access_fs = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE};
        int rules = MUST(syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0));
        MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        MUST(syscall(SYS_landlock_restrict_self, rules, 0));
    } else
        exit(98);
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 98;
    char *path = path_in(argv[1], "file"), *page = filled(PAGE, '.');
    int buffered = MUST(open(path, O_RDWR | O_CREAT, 0600));
    MUST(pwrite(buffered, page, PAGE, 0));
    if (!strcmp(argv[2], "capset") || !strcmp(argv[2], "unshare"))
        MUST(fchown(buffered, NOBODY, NOBODY));
    char *mapped = map_page(buffered, 0);
    int direct = MUST(open(path, O_RDWR | O_DIRECT)), copy = MUST(dup(direct));
    give_up(argv[2]);
    say("opened again: %s", open(path, O_RDWR) < 0 ? "no" : "yes");

    memset(page, 'd', PAGE);
    SAY(pwrite(direct, page, PAGE, 0));
    say("the mapping has '%c'", mapped[0]);
    mapped[0] = 'm';
    SAY(pread(copy, page, PAGE, 0));
    say("read '%c'", page[0]);
    return 0;
}
