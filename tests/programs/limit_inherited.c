// One thread uses files both ways, anew each time, while another starts programs, every way in turn: each program gets
// the limit on numbers that this one has. Usage: limit_inherited DIRECTORY; itself, with LIMITS: whether it has these.
#include "hazard.h"
#include <spawn.h>

enum { SOFT = 256, HARD = 4096 };
extern char **environ;
static volatile int done;

static void *use_files(void *directory) {
    char *page = filled(PAGE, 'a'), *path = path_in(directory, "file"), into[8];
    while (!done) {
        int buffered = MUST(open(path, O_RDWR)), direct = MUST(open(path, O_RDWR | O_DIRECT));
        MUST(pread(buffered, into, sizeof into, 0));
        MUST(pwrite(direct, page, PAGE, 0));
        close(buffered);
        close(direct);
    }
    return NULL;
}

static int start(int way, char **arguments) {
    pid_t pid;
    int status = -1;
    if (way == 0)
        errno = posix_spawn(&pid, arguments[0], NULL, NULL, arguments, environ);
    else if ((pid = MUST(vfork())) == 0) {
        execv(arguments[0], arguments);
        _exit(99);
    }
    MUST(waitpid(pid, &status, 0));
    return status;
}

int main(int argc, char **argv) {
    struct rlimit limit = {SOFT, HARD};
    if (argc > 2) {
        MUST(getrlimit(RLIMIT_NOFILE, &limit));
        return limit.rlim_cur != SOFT || limit.rlim_max != HARD;
    }
    MUST(setrlimit(RLIMIT_NOFILE, &limit));
    close(open_both(argv[1], "file").direct);
    pthread_t thread;
    pthread_create(&thread, NULL, use_files, argv[1]);
    char *arguments[] = {realpath("/proc/self/exe", NULL), argv[1], "limits", NULL};
    // Without what it starts being fenced, which takes longer.
    unsetenv("LD_PRELOAD");
    int wrong = 0, started = 0;
    for (double begun = now(); now() - begun < 3; started++)
        wrong += start(started % 2, arguments) != 0;
    done = 1;
    pthread_join(thread, NULL);
    say("enough: %d, wrong: %d", started > 100, wrong);
    return 0;
}
