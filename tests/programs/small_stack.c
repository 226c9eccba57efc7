// What programs do where they have little stack: in a handler on an alternate stack of 8 KiB (SIGSTKSZ as it
// always was), in a thread with the smallest stack (16 KiB), in a clone child on 8 KiB. What lies below such a
// stack is a guard here; in programs it is their data.
#include "hazard.h"
#include <sched.h>
#include <spawn.h>

static const char *dir;
static char *file;
static int buffered, direct;
static volatile long results[3];

// ---- in a handler

static void open_in_handler(int signal) {
    (void)signal;
    int fd = open(file, O_RDWR | O_CREAT, 0600);
    results[0] = write(fd, "x\n", 2);
    results[1] = close(fd);
}

// The first use of both numbers, and the first in two modes.
static void mix_in_handler(int signal) {
    static char page[PAGE] __attribute__((aligned(PAGE)));
    (void)signal;
    results[0] = pwrite(buffered, "x\n", 2, 0);
    results[1] = pwrite(direct, page, PAGE, 0);
    results[2] = pread(buffered, page, PAGE, 0);
}

static void in_handler(void (*handler)(int)) {
    char *memory = mmap(NULL, 64 * 1024 + 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(mprotect(memory, 64 * 1024, PROT_NONE));
    stack_t alternate = {.ss_sp = memory + 64 * 1024, .ss_size = 8192};
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    MUST(sigaltstack(&alternate, NULL));
    MUST(sigaction(SIGUSR1, &action, NULL));
    buffered = MUST(open(file, O_RDWR | O_CREAT, 0600));
    direct = MUST(open(file, O_RDWR | O_DIRECT));
    raise(SIGUSR1);
    say("in a handler: %ld %ld %ld", results[0], results[1], results[2]);
}

// ---- in a thread

static void *mix_in_thread(void *unused) {
    open_in_handler(0);
    direct = open(file, O_RDWR | O_DIRECT);
    buffered = open(file, O_RDWR);
    mix_in_handler(0);
    return unused;
}

static void in_thread(void *(*act)(void *)) {
    pthread_attr_t how;
    pthread_t thread;
    pthread_attr_init(&how);
    pthread_attr_setstacksize(&how, 16384);
    if (pthread_create(&thread, &how, act, NULL) || pthread_join(thread, NULL))
        abort();
    say("in a thread: %ld %ld %ld", results[0], results[1], results[2]);
}

// ---- another program with an environment of this one's making

static char **variables;
static char *arguments[] = {"/proc/self/exe", "count", NULL};

static void make_variables(long count) {
    variables = calloc(count + 1, sizeof *variables);
    for (long i = 0; i < count; i++)
        MUST(asprintf(&variables[i], "V%ld=x", i));
}

static void *exec(void *unused) {
    execve(arguments[0], arguments, variables);
    return unused;
}

static int exec_in_clone(void *unused) {
    (void)unused;
    exec(NULL);
    _exit(90);
}

static pid_t clone_child(int (*act)(void *)) {
    char *memory = mmap(NULL, 64 * 1024 + 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(mprotect(memory, 64 * 1024, PROT_NONE));
    pid_t pid = MUST(clone(act, memory + 64 * 1024 + 8192, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL));
    munmap(memory, 64 * 1024 + 8192);
    return pid;
}

static pid_t vfork_child(void) {
    pid_t pid = vfork();
    if (pid == 0) {
        exec(NULL);
        _exit(91);
    }
    return MUST(pid);
}

static void *spawn_in_thread(void *unused) {
    pid_t pid;
    int status;
    results[0] = posix_spawn(&pid, arguments[0], NULL, NULL, arguments, variables);
    waitpid(pid, &status, 0);
    results[1] = status;
    return unused;
}

static long size_now(void) {
    long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    if (!statm || fscanf(statm, "%ld", &pages) != 1)
        abort();
    fclose(statm);
    return pages;
}

// Each child leaves its list of variables to its parent, which doesn't keep them all.
static void vfork_often(void) {
    arguments[1] = "nothing";
    say_child("the first", vfork_child());
    long before = size_now();
    for (int i = 0; i < 100; i++) {
        int status = -1;
        MUST(waitpid(vfork_child(), &status, 0));
        if (status != 0)
            say("a child ended with %x", status);
    }
    say("grown by a few lists at most: %s", size_now() - before < 20 * 1024 * 1024 / PAGE / 100 ? "yes" : "no");
}

static void count(void) {
    extern char **environ;
    long own = 0;
    const char *preload = getenv("LD_PRELOAD"), *table = getenv("PAGEFENCE_TABLE");
    for (char **v = environ; *v; v++)
        own += (*v)[0] == 'V';
    say("another program: %ld variables", own);
    if (preload)
        say("LD_PRELOAD=%s\nPAGEFENCE_TABLE=%s", preload, table);
}

int main(int argc, char **argv) {
    const char *what = argv[1];
    if (!strcmp(what, "count"))
        count();
    if (argc < 3)
        return 0;
    dir = argv[2];
    file = path_in(dir, "file");
    make_variables(argc > 3 ? atol(argv[3]) : 2);
    if (!strcmp(what, "open_in_handler"))
        in_handler(open_in_handler);
    else if (!strcmp(what, "mix_in_handler"))
        in_handler(mix_in_handler);
    else if (!strcmp(what, "mix_in_thread"))
        in_thread(mix_in_thread);
    else if (!strcmp(what, "exec_in_thread"))
        in_thread(exec);
    else if (!strcmp(what, "exec_in_clone"))
        say_child("clone", clone_child(exec_in_clone));
    else if (!strcmp(what, "exec_in_vfork"))
        say_child("vfork", vfork_child());
    else if (!strcmp(what, "spawn_in_thread"))
        in_thread(spawn_in_thread);
    else if (!strcmp(what, "vfork_often"))
        vfork_often();
    else
        return 99;
    return 0;
}
