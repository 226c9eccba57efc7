// What the library has to know or to give back, without the program's seeing any of it: it stops after each step, and the
// lock table is looked at from outside.
#include "hazard.h"
#include <sched.h>
#include <setjmp.h>

static const char *dir;
static char *page;

static int close_both(void *argument) {
    struct both *file = argument;
    close(file->buffered);
    close(file->direct);
    _exit(0);
}

// What children that share our memory close, in a table of numbers of their own, stays open here.
static void children(void) {
    static struct both file;
    file = open_both(dir, "f");
    step("opened");
    pid_t pid = vfork();
    if (pid == 0)
        close_both(&file);
    MUST(waitpid(pid, NULL, 0));
    step("closed by a vfork child");
    enum { STACK = 64 * 1024 };
    pid = MUST(clone(close_both, filled(STACK, 0) + STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, &file));
    MUST(waitpid(pid, NULL, 0));
    step("closed by a clone");
}

static void closing(void) {
    struct both file = open_both(dir, "f");
    step("opened");
    close(file.buffered);
    close(file.direct);
    step("closed");
    FILE *stream = fopen(file.path, "r+");
    MUST(pread(fileno(stream), page, PAGE, 0));
    step("a stream");
    int direct = MUST(open(file.path, O_RDWR | O_DIRECT));
    MUST(pread(direct, page, PAGE, 0));
    close(direct);
    fclose(stream);
    step("the stream is closed");
}

// Numbers that change hands where nobody sees it.
static void elsewhere(void) {
    int old = MUST(open(path_in(dir, "old"), O_RDWR | O_CREAT, 0644));
    MUST(pwrite(old, page, PAGE, 0));
    step("old");
    past_libc(SYS_close, old, 0, 0, 0, 0, 0);
    char *name = path_in(dir, "made-XXXXXX");
    int made = MUST(mkstemp(name));
    MUST(rename(name, path_in(dir, "made")));
    MUST(pwrite(made, page, PAGE, 0));
    step(made == old ? "made inside libc" : "another number");

    struct both file = open_both(dir, "mixed");
    past_libc(SYS_close, file.buffered, 0, 0, 0, 0, 0);
    const char *path = path_in(dir, "past libc");
    long past = past_libc(SYS_openat, AT_FDCWD, (long)path, O_RDWR | O_CREAT, 0644, 0, 0);
    // A write that may make the file longer looks at it. (One that is known to be in the file believes the number.)
    MUST(pwrite(file.buffered, page, PAGE, SIZE));
    step(past == file.buffered ? "made past libc" : "another number");

    // A direct read that falls back acts by another descriptor: it is the file's that the number stands for now.
    struct both shown = open_both(dir, "shown");
    char *other = filled(PAGE, 'o');
    int there = MUST(open(path_in(dir, "there"), O_RDWR | O_CREAT, 0644));
    MUST(pwrite(there, other, PAGE, 0));
    map_page(shown.buffered, 0)[0] = 's';
    MUST(pread(shown.direct, page, PAGE, 0));
    past_libc(SYS_close, shown.direct, 0, 0, 0, 0, 0);
    path = path_in(dir, "there");
    past = past_libc(SYS_openat, AT_FDCWD, (long)path, O_RDWR | O_DIRECT, 0, 0, 0);
    MUST(pread(shown.direct, page, PAGE, 0));
    step(past == shown.direct && all(page, PAGE, 'o') ? "read where it stands" : "read elsewhere");
}

static sigjmp_buf home;
static void *bare_home[5];
static volatile int bare;

static void jump(int signal) {
    (void)signal;
    if (bare)
        __builtin_longjmp(bare_home, 1); // nobody sees that
    siglongjmp(home, 1);
}

// The kernel says with a signal that a file would become too large, and it comes when the call returns: to the library,
// which holds the range. On more stack than the calls have that come after it.
__attribute__((noinline)) static void leave_in_the_middle(int fd) {
    volatile char deep[2 * PAGE];
    deep[0] = 0;
    pwrite(fd, page, PAGE, SIZE);
    exit(deep[0] + 97);
}

__attribute__((noinline)) static void leave_unseen(int fd) {
    if (__builtin_setjmp(bare_home) == 0)
        leave_in_the_middle(fd);
}

static void *thread(void *fd) {
    leave_unseen(*(int *)fd);
    return NULL;
}

static void jumps(void) {
    static struct both file;
    file = open_both(dir, "f");
    MUST(setrlimit(RLIMIT_FSIZE, &(struct rlimit){SIZE, SIZE}));
    MUST(sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = jump, .sa_flags = SA_NODEFER}, NULL));
    if (sigsetjmp(home, 1) == 0)
        leave_in_the_middle(file.buffered);
    step("jumped out");
    bare = 1;
    leave_unseen(file.buffered);
    step("jumped out unseen");
    MUST(pwrite(file.buffered, page, PAGE, 0));
    step("the next call is over");
    pthread_t other;
    pthread_create(&other, NULL, thread, &file.buffered);
    pthread_join(other, NULL);
    step("the thread has ended");
    close(file.buffered);
    close(file.direct);
    step("closed");
}

// While somebody else holds the file: all of it first, then a part far away.
static void held(const char *program) {
    struct both file = open_both(dir, "f");
    struct iovec one = {page, PAGE};
    step("ready");
    ssize_t n = pwritev2(file.buffered, &one, 1, 0, RWF_NOWAIT);
    step(n == -1 ? strerrorname_np(errno) : "written");
    MUST(lseek(file.buffered, 0, SEEK_SET));
    MUST(write(file.buffered, page, PAGE));
    step("its own offset");
    pid_t pid = MUST(fork());
    if (pid == 0) {
        char number[16];
        snprintf(number, sizeof number, "%d", file.buffered);
        execl(program, program, dir, "inherited", number, NULL);
        _exit(9);
    }
    say_child("who inherits the offset", pid);
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    dir = argv[1];
    page = filled(PAGE, 's');
    const char *what = argv[2];
    if (!strcmp(what, "children"))
        children();
    if (!strcmp(what, "closing"))
        closing();
    if (!strcmp(what, "elsewhere"))
        elsewhere();
    if (!strcmp(what, "jumps"))
        jumps();
    if (!strcmp(what, "held"))
        held(argv[0]);
    if (!strcmp(what, "inherited") && argc > 3) {
        int fd = atoi(argv[3]);
        MUST(pread(fd, page, PAGE, 0)); // how large the file is will be known then
        return write(fd, page, PAGE) == PAGE ? 0 : 1;
    }
    say("done");
    return 0;
}
