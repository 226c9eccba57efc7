// Handlers of pthread_atfork that do all kinds of I/O on a file in mixed use, in the parent before and after a fork and
// in the child. With -DLIB it is a library that registers them in its constructor, before a preload's: through the
// symbol, or (AT_FORK=past) as code does that was linked so that no preload sees it. The program registers them once
// more, and forks in every way.
#include "hazard.h"
#include <dlfcn.h>
#include <pty.h>
#include <spawn.h>

extern struct both *mixed;
extern volatile int handled;
void handle(void);

#ifdef LIB
struct both *mixed;
volatile int handled;
static char page[PAGE] __attribute__((aligned(PAGE)));

void handle(void) {
    handled++;
    int fd = MUST(open("/dev/null", O_RDWR));
    close(fd);
    if (!mixed)
        return;
    fd = MUST(open(mixed->path, O_RDWR));
    MUST(pread(fd, page, PAGE, 0));
    void *map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, SIZE / 2);
    if (map == MAP_FAILED || munmap(map, PAGE) != 0)
        _exit(98);
    close(dup(fd));
    close(fd);
    MUST(pwrite(mixed->direct, page, PAGE, 0));
    MUST(pread(mixed->buffered, page, PAGE, 0));
}

__attribute__((constructor)) static void before_everybody(void) {
    const char *way = getenv("AT_FORK");
    if (way && strcmp(way, "past") == 0) {
        int (*enter)(void (*)(void), void (*)(void), void (*)(void), void *) =
            dlsym(dlopen("libc.so.6", RTLD_NOW), "__register_atfork");
        MUST(enter(handle, handle, handle, NULL));
    } else {
        MUST(-pthread_atfork(handle, handle, handle));
    }
}
#else

extern char **environ;
static char *map;

// Both ways at the file, in a page of the child's own.
static int use(int n) {
    alarm(20);
    off_t at = (off_t)(8 + n) * PAGE;
    char *page = filled(PAGE, 'A' + n % 26), *seen = filled(PAGE, 0);
    MUST(pwrite(mixed->direct, page, PAGE, at));
    MUST(pread(mixed->buffered, seen, PAGE, at));
    int wrong = !all(seen, PAGE, 'A' + n % 26);
    MUST(pwrite(mixed->buffered, page, PAGE, at));
    MUST(pread(mixed->direct, seen, PAGE, at));
    return wrong || !all(seen, PAGE, 'A' + n % 26);
}

static volatile pid_t forked;
static void fork_now(int signal) {
    (void)signal;
    forked = fork();
    if (forked == 0)
        _exit(use(5));
}

static void *forks(void *argument) {
    long failed = 0;
    for (int n = 0; n < 10; n++) {
        int status = 1;
        pid_t pid = MUST(fork());
        if (pid == 0)
            _exit(use(6 + (long)argument));
        waitpid(pid, &status, 0);
        failed += status != 0;
    }
    return (void *)failed;
}

static void many_at_once(void) {
    pthread_t threads[4];
    long failed = 0;
    for (long i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, forks, (void *)i);
    for (int i = 0; i < 4; i++) {
        void *one;
        pthread_join(threads[i], &one);
        failed += (long)one;
    }
    say("threads: %ld failed", failed);
}

int main(int argc, char **argv) {
    (void)argc;
    MUST(-pthread_atfork(handle, handle, handle));
    struct both file = open_both(argv[1], "f");
    map = map_page(file.buffered, SIZE / 2 + PAGE);
    mixed = &file;

    pid_t pid = MUST(fork());
    if (pid == 0) {
        int wrong = use(0);
        step("forked");
        _exit(wrong);
    }
    say_child("fork", pid);
    say("handlers: %d", handled);
    if ((pid = MUST(_Fork())) == 0)
        _exit(use(1));
    say_child("_Fork", pid);
    if ((pid = MUST(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0))) == 0)
        _exit(use(2));
    say_child("clone", pid);
    signal(SIGUSR1, fork_now);
    raise(SIGUSR1);
    say_child("in a handler", forked);
    many_at_once();
    if ((pid = MUST(fork())) == 0) {
        int ends[2];
        MUST(pipe(ends));
        if ((pid = MUST(fork())) == 0) {
            MUST(daemon(1, 1));
            char done = 'a' + use(11);
            MUST(write(ends[1], &done, 1));
            _exit(0);
        }
        char done = 0;
        close(ends[1]);
        MUST(waitpid(pid, NULL, 0));
        MUST(read(ends[0], &done, 1));
        _exit(done != 'a');
    }
    say_child("daemon", pid);
    int terminal;
    if ((pid = MUST(forkpty(&terminal, NULL, NULL, NULL))) == 0)
        _exit(use(12));
    say_child("forkpty", pid);
    say("system: %d", WEXITSTATUS(system("exit 5")));
    FILE *pipe = popen("exit 6", "r");
    say("popen: %d", WEXITSTATUS(pclose(pipe)));
    char *command[] = {"sh", "-c", "exit 7", NULL};
    MUST(-posix_spawn(&pid, "/bin/sh", NULL, NULL, command, environ));
    say_child("posix_spawn", pid);
    say("and here: %d", use(13));
}
#endif
