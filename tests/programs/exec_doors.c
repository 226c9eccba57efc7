// Starts a program by every door there is, and says what became of it. With more arguments, what each door says of a
// program that it can't start so, and of files that can't be started. Usage: exec_doors DIR PROGRAM [STATIC FILE...]
#include "hazard.h"
#include <sched.h>
#include <spawn.h>
#include <sys/stat.h>

extern char **environ;
static char *path, *name, *directory, *arguments[] = {"program", NULL};

static void failed(void) { _exit(200 + (errno == EACCES)); }

#define BY(door, ...) static void door(void) { __VA_ARGS__; failed(); }
BY(by_execve, execve(path, arguments, environ))
BY(by_execv, execv(path, arguments))
BY(by_execvp, execvp(name, arguments))
BY(by_execvpe, execvpe(name, arguments, environ))
BY(by_execl, execl(path, "program", NULL))
BY(by_execlp, execlp(name, "program", NULL))
BY(by_execle, execle(path, "program", NULL, environ))
BY(by_fexecve, fexecve(open(path, O_RDONLY), arguments, environ))
BY(by_path_only, fexecve(open(path, O_PATH | O_CLOEXEC), arguments, environ))
BY(by_execveat, execveat(AT_FDCWD, path, arguments, environ, 0))
BY(by_empty_path, execveat(open(path, O_PATH | O_CLOEXEC), "", arguments, environ, AT_EMPTY_PATH))
BY(by_number, syscall(SYS_execve, path, arguments, environ))

static void spawned(int error, pid_t pid) {
    int status = 0;
    if (error)
        _exit(200 + (error == EACCES));
    waitpid(pid, &status, 0);
    _exit(WEXITSTATUS(status));
}

static void by_spawn(void) {
    pid_t pid = 0;
    int error = posix_spawn(&pid, path, NULL, NULL, arguments, environ);
    spawned(error, pid);
}

static void by_spawnp(void) {
    pid_t pid = 0;
    int error = posix_spawnp(&pid, name, NULL, NULL, arguments, environ);
    spawned(error, pid);
}

static void by_vfork(void) {
    pid_t pid = vfork();
    if (pid == 0) {
        execve(path, arguments, environ);
        failed();
    }
    spawned(0, pid);
}

// The child has the numbers of its parent, and closes what it doesn't know.
static void by_vfork_closing(void) {
    pid_t pid = vfork();
    if (pid == 0) {
        for (int fd = 3; fd < 70000; fd++)
            close(fd);
        open("beside", O_RDWR | O_CREAT | O_TRUNC, 0600);
        execve(path, arguments, environ);
        failed();
    }
    spawned(0, pid);
}

// libc looks in the current directory.
static void with_empty_path(void) {
    MUST(chdir(directory));
    MUST(setenv("PATH", "", 1));
}

static void by_execvp_here(void) { with_empty_path(), by_execvp(); }
static void by_execlp_here(void) { with_empty_path(), by_execlp(); }
static void by_spawnp_here(void) { with_empty_path(), by_spawnp(); }

// Its own list can't be read, and the one that it gives can.
static void by_execve_alone(void) {
    char **given = environ;
    environ = (char **)16;
    execve(path, arguments, given);
    failed();
}

static void by_system(void) { _exit(WEXITSTATUS(system(path))); }

static void by_popen(void) {
    FILE *stream = popen(path, "r");
    _exit(stream ? WEXITSTATUS(pclose(stream)) : 201);
}

static void start(const char *what, void (*door)(void)) {
    pid_t pid = MUST(fork());
    if (pid == 0)
        door();
    say_child(what, pid);
}
#define START(door) start(#door, door)

static void refused(const char *file) {
    pid_t pid = 0;
    char *none[] = {NULL};
    say("--- %s", strrchr(file, '/') + 1);
    SAY(execve(file, arguments, environ));
    SAY(execve(file, arguments, none));
    SAY(execv(file, arguments));
    SAY(execl(file, "program", NULL));
    SAY(execveat(AT_FDCWD, file, arguments, environ, AT_SYMLINK_NOFOLLOW));
    SAY(syscall(SYS_execve, file, arguments, environ));
    SAY(posix_spawn(&pid, file, NULL, NULL, arguments, environ));
    SAY(posix_spawnp(&pid, file, NULL, NULL, arguments, environ));
    int fd = open(file, O_PATH | O_NOFOLLOW);
    SAY(execveat(fd, "", arguments, environ, AT_EMPTY_PATH));
    SAY(fexecve(fd, arguments, environ));
    close(fd);
}

// Linux 6.14: would it be started?
#ifndef AT_EXECVE_CHECK
#define AT_EXECVE_CHECK 0x10000
#endif

// A program that could be started: with what is no environment, and with flags that start nothing.
static void not_started(char *file) {
    pid_t pid = 0;
    char **volatile nowhere = (char **)16, *wrong[] = {"A=1", (char *)16, NULL}, *noted[] = {NULL, NULL};
    char *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(munmap(pages + PAGE, PAGE));
    memset(pages, 'x', PAGE);
    noted[0] = pages + PAGE - 5;
    char **endless = (char **)(pages + PAGE - sizeof(char *));
    say("--- not started");
    SAY(execve(file, arguments, nowhere));
    SAY(execve(file, arguments, wrong));
    SAY(execve(file, arguments, noted));
    endless[0] = arguments[0];
    SAY(execve(file, arguments, endless));
    SAY(execvpe(file, arguments, wrong));
    SAY(execle(file, "program", NULL, wrong));
    SAY(fexecve(open(file, O_RDONLY | O_CLOEXEC), arguments, wrong));
    SAY(execveat(AT_FDCWD, file, arguments, nowhere, 0));
    SAY(posix_spawn(&pid, file, NULL, NULL, arguments, wrong));
    SAY(posix_spawnp(&pid, file, NULL, NULL, arguments, nowhere));
    if ((pid = vfork()) == 0) {
        execve(file, arguments, wrong);
        _exit(errno == EFAULT ? 14 : 15);
    }
    say_child("vfork", pid);
    SAY(execveat(AT_FDCWD, file, arguments, environ, 0x7000));
    SAY(execveat(AT_FDCWD, file, arguments, environ, AT_EXECVE_CHECK));
    if (execveat(AT_FDCWD, file, arguments, environ, AT_EXECVE_CHECK) == 0) {
        int fd = MUST(open(file, O_WRONLY));
        refused(file);
        close(fd);
    }
}

static void without_a_file(void) {
    char *volatile none = NULL, *volatile wrong = (char *)1, *huge[] = {filled(1 << 20, 'x'), NULL};
    huge[0][(1 << 20) - 1] = 0;
    say("--- without a file");
    SAY(execve(none, arguments, environ));
    SAY(execve(wrong, arguments, environ));
    SAY(execve("", arguments, environ));
    SAY(execvp("", arguments));
    SAY(execvp("no-such-program-anywhere", arguments));
    SAY(execveat(-1, "x", arguments, environ, 0));
    SAY(execveat(-1, "", arguments, environ, AT_EMPTY_PATH));
    SAY(execveat(AT_FDCWD, "", arguments, environ, AT_EMPTY_PATH));
    SAY(execveat(AT_FDCWD, "/bin/true", arguments, environ, ~0));
    SAY(fexecve(-1, arguments, environ));
    SAY(execve("/bin/true", huge, environ));
    SAY(system(NULL));
    int pipes[2];
    MUST(pipe(pipes));
    SAY(fexecve(pipes[0], arguments, environ));
}

int main(int argc, char **argv) {
    path = argv[2];
    name = strrchr(path, '/') + 1;
    MUST(chdir(argv[1]));
    MUST(asprintf(&directory, "%.*s", (int)(name - path), path));
    char *search = NULL;
    MUST(asprintf(&search, "/nowhere::%.*s:/bin:/usr/bin", (int)(name - path), path));
    setenv("PATH", search, 1);
    START(by_execve), START(by_execv), START(by_execvp), START(by_execvpe), START(by_execl), START(by_execlp);
    START(by_execle), START(by_fexecve), START(by_path_only), START(by_execveat), START(by_empty_path);
    START(by_number), START(by_spawn), START(by_spawnp), START(by_vfork), START(by_vfork_closing);
    START(by_execvp_here), START(by_execlp_here), START(by_spawnp_here), START(by_execve_alone);
    START(by_system), START(by_popen);
    struct stat beside;
    say("beside: %ld", stat("beside", &beside) ? -1 : (long)beside.st_size);
    if (argc > 3)
        not_started(argv[3]);
    for (int i = 4; i < argc; i++)
        refused(argv[i]);
    if (argc > 3)
        without_a_file();
    return 0;
}
