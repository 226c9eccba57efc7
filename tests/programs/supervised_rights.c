// A process that gives rights up keeps what it has open, and may not do by name what it couldn't do bare: another user,
// fewer capabilities, Landlock. Says what each call returned, and what became of the files. Usage: supervised_rights DIR
#include "hazard.h"
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sys/prctl.h>

enum { NOBODY = 65534, LENGTH = 3 * PAGE };

static void make(const char *path, mode_t mode, uid_t owner) {
    int fd = MUST(open(path, O_RDWR | O_CREAT, 0600));
    MUST(pwrite(fd, filled(LENGTH, 'r'), LENGTH, 0));
    if (geteuid() == 0)
        MUST(fchown(fd, owner, owner));
    MUST(fchmod(fd, mode));
    close(fd);
}

static void state_of(const char *name, const char *path) {
    struct stat s;
    MUST(stat(path, &s));
    say("%s: %ld bytes, mode %o", name, (long)s.st_size, s.st_mode & 07777);
}

// By every name that empties.
static void empty(const char *path) {
    SAY(open(path, O_WRONLY | O_TRUNC));
    SAY(open(path, O_RDWR | O_CREAT | O_TRUNC, 0644));
    SAY(creat(path, 0644));
    SAY(truncate(path, 0));
}

static void another_user(const char *path, int fd) {
    SAY(setresuid(NOBODY, NOBODY, NOBODY));
    empty(path);
    // What it has open it may write to; that it is setuid no more is the kernel's doing.
    SAY(pwrite(fd, "w", 1, 0));
}

static void fewer_capabilities(const char *path, int fd) {
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2] = {{0}};
    SAY(syscall(SYS_capset, &head, none));
    empty(path);
    SAY(pwrite(fd, "w", 1, 0));
}

static void confined(const char *path, int fd) {
    struct landlock_ruleset_attr attr = {.handled_access_fs = LANDLOCK_ACCESS_FS_WRITE_FILE};
    int rules = syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (rules < 0) {
        say("no Landlock here");
        return;
    }
    SAY(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    SAY(syscall(SYS_landlock_restrict_self, rules, 0));
    empty(path);
    SAY(pwrite(fd, "w", 1, 0));
}

static void in_a_child(const char *dir, const char *name, uid_t owner, void (*give_up)(const char *, int)) {
    char *path = strdup(path_in(dir, name));
    make(path, 04755 & ~(owner ? 055 : 0), owner);
    int fd = MUST(open(path, O_WRONLY));
    pid_t pid = MUST(fork());
    if (pid == 0) {
        give_up(path, fd);
        fflush(stdout);
        _exit(0);
    }
    say_child(name, pid);
    state_of(name, path);
    close(fd);
}

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    in_a_child(argv[1], "another-user", 0, another_user);
    in_a_child(argv[1], "fewer-capabilities", NOBODY, fewer_capabilities);
    in_a_child(argv[1], "confined", 0, confined);
    return 0;
}
