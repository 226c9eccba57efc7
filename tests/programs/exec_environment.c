// Executes `env` with environments that it built itself, by every door. Fenced, each must still
// have the preload; one that took it out of its own environment first doesn't want it.
#include "hazard.h"
#include <spawn.h>

extern char **environ;

static void run(const char *what, void (*start)(char **arguments, char **built)) {
    char *arguments[] = {"env", NULL}, *built[] = {"BUILT=1", NULL};
    say("--- %s", what);
    pid_t pid = MUST(fork());
    if (pid == 0) {
        start(arguments, built);
        _exit(90);
    }
    say_child(what, pid);
}

static void by_execve(char **a, char **e) { execve("/usr/bin/env", a, e); }
static void by_execvpe(char **a, char **e) { execvpe("env", a, e); }
static void by_execle(char **a, char **e) { execle("/usr/bin/env", a[0], NULL, e); }
static void by_fexecve(char **a, char **e) { fexecve(open("/usr/bin/env", O_RDONLY), a, e); }
static void by_execveat(char **a, char **e) { execveat(AT_FDCWD, "/usr/bin/env", a, e, 0); }

static void by_spawn(char **a, char **e) {
    pid_t pid;
    MUST(-posix_spawn(&pid, "/usr/bin/env", NULL, NULL, a, e));
    waitpid(pid, NULL, 0);
    _exit(0);
}

static void by_vfork(char **a, char **e) {
    pid_t pid = vfork();
    if (pid == 0) {
        execve("/usr/bin/env", a, e);
        _exit(91);
    }
    waitpid(pid, NULL, 0);
    _exit(0);
}

int main(int argc, char **argv) {
    (void)argc;
    (void)argv;
    run("execve", by_execve);
    run("execvpe", by_execvpe);
    run("execle", by_execle);
    run("fexecve", by_fexecve);
    run("execveat", by_execveat);
    run("posix_spawn", by_spawn);
    run("vfork", by_vfork);
    char *nothing = NULL;
    environ = &nothing;
    char *arguments[] = {"env", NULL};
    say("--- removed on purpose");
    execv("/usr/bin/env", arguments);
    return 90;
}
