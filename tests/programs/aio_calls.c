// What the calls of Linux AIO say, of good requests and odd ones.
#include "aio.h"

static struct both file;
static char *page;
static aio_context_t context;

static void contexts(void) {
    aio_context_t other = 0;
    struct io_event event;
    struct timespec none = {0, 0};
    TELL(io_setup(0, &other));
    TELL(io_setup(-1, &other));
    TELL(io_setup(8, NULL));
    TELL(io_setup(8, &other));
    TELL(io_setup(8, &other)); // it is one already
    TELL(io_getevents(other, 0, 1, &event, &none));
    TELL(io_getevents(other, 2, 1, &event, NULL));
    TELL(io_getevents(other, -1, 1, &event, NULL));
    TELL(io_getevents(other, 0, 0, NULL, &none));
#ifdef BY_NUMBER // libaio looks at the time, and at the ring, by itself
    TELL(io_getevents(other, 2, 1, &event, &none));
    TELL(io_getevents(other, 1, 1, &event, (struct timespec *)16));
#endif
    struct timespec soon = at_most(0.01);
    TELL(io_getevents(other, 1, 1, &event, &soon));
    TELL(io_submit(other, 0, NULL));
    TELL(io_submit(other, -1, NULL));
    TELL(io_submit(other, 1, NULL));
    TELL(io_destroy(other));
    TELL(io_destroy(other));
    TELL(io_submit(other, 0, NULL));
#ifdef BY_NUMBER
    TELL(io_getevents(other, 0, 1, &event, NULL));
#endif
    TELL(io_destroy(0));
    TELL(io_submit(12345, 0, NULL));
}

static void good(int fd) {
    memset(page, 'a', PAGE);
    TELL(one(context, request(IOCB_CMD_PWRITE, fd, page, PAGE, PAGE)));
    memset(page, 'b', PAGE);
    TELL(one(context, request(IOCB_CMD_PREAD, fd, page, PAGE, PAGE)));
    say("read back: %s", all(page, PAGE, 'a') ? "yes" : "no");
    struct iovec two[] = {{page, 512}, {page + 512, PAGE - 512}}, many[20];
    for (int i = 0; i < 20; i++)
        many[i] = (struct iovec){page + i % 4 * 512, 512};
    TELL(one(context, request(IOCB_CMD_PWRITEV, fd, two, 2, 3 * PAGE)));
    TELL(one(context, request(IOCB_CMD_PREADV, fd, two, 2, 3 * PAGE)));
    memset(page, 'c', PAGE);
    TELL(one(context, request(IOCB_CMD_PWRITEV, fd, many, 16, 4 * PAGE)));
    TELL(one(context, request(IOCB_CMD_PREADV, fd, many, 16, 4 * PAGE)));
    say("and the vector: %s", all(page, PAGE, 'c') ? "yes" : "no");
    TELL(one(context, request(IOCB_CMD_FSYNC, fd, NULL, 0, 0)));
    TELL(one(context, request(IOCB_CMD_FDSYNC, fd, NULL, 0, 0)));
    // At the end and beyond it.
    TELL(one(context, request(IOCB_CMD_PREAD, fd, page, PAGE, SIZE)));
    TELL(one(context, request(IOCB_CMD_PREAD, fd, page, PAGE, SIZE + PAGE)));
    TELL(one(context, request(IOCB_CMD_PREAD, fd, page, 0, 0)));
    TELL(one(context, request(IOCB_CMD_PWRITE, fd, page, 0, 0)));
}

static void odd(int fd) {
    char *gone = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(gone + PAGE, PAGE);
    TELL(one(context, request(99, fd, page, PAGE, 0)));
    TELL(one(context, request(IOCB_CMD_NOOP, fd, page, PAGE, 0)));
    TELL(one(context, request(IOCB_CMD_PWRITE, 999, page, PAGE, 0)));
    TELL(one(context, request(IOCB_CMD_PWRITE, -1, page, PAGE, 0)));
    TELL(one(context, request(IOCB_CMD_PWRITE, fd, page, PAGE, -PAGE)));
    TELL(one(context, request(IOCB_CMD_PREAD, fd, page, -1, 0)));
    TELL(one(context, request(IOCB_CMD_PREAD, fd, gone + PAGE, PAGE, 0)));
    TELL(one(context, request(IOCB_CMD_PWRITE, fd, gone + PAGE, PAGE, 0)));
    TELL(one(context, request(IOCB_CMD_PREADV, fd, gone + PAGE, 1, 0)));
    TELL(one(context, request(IOCB_CMD_PREADV, fd, gone, 1025, 0)));
    struct iocb reserved = request(IOCB_CMD_PWRITE, fd, page, PAGE, 0);
    reserved.aio_reserved2 = 1;
    TELL(one(context, reserved));
    struct iocb flags = request(IOCB_CMD_PWRITE, fd, page, PAGE, 0);
    flags.aio_rw_flags = 1 << 30;
    TELL(one(context, flags));
    flags.aio_rw_flags = 2; // RWF_DSYNC
    TELL(one(context, flags));
    struct iocb keyed = request(IOCB_CMD_PREAD, fd, page, PAGE, 0), *list[] = {&keyed};
    keyed.aio_key = 77;
    TELL(io_submit(context, 1, list));
    say("key %u", keyed.aio_key);
    struct io_event event;
    TELL(io_getevents(context, 1, 1, &event, NULL));
    TELL(io_getevents(context, 0, 1, &event, &(struct timespec){0, 0}));
    // The second of three can't be read.
    struct iocb *some[] = {&keyed, (struct iocb *)(gone + PAGE), &keyed};
    TELL(io_submit(context, 3, some));
    TELL(io_getevents(context, 1, 4, (struct io_event *)(gone + PAGE), NULL));
    TELL(io_getevents(context, 1, 1, &event, NULL));
    struct iocb telling = request(IOCB_CMD_PREAD, fd, page, PAGE, 0), *tells[] = {&telling};
    telling.aio_flags = IOCB_FLAG_RESFD;
    telling.aio_resfd = 999;
    TELL(io_submit(context, 1, tells));
    telling.aio_resfd = fd;
    TELL(io_submit(context, 1, tells));
    munmap(gone, PAGE);
}

// Descriptors that one may only read or write through, that append, and that are no files.
static void others(const char *dir) {
    int only_read = MUST(open(file.path, O_RDONLY | O_DIRECT)), only_write = MUST(open(file.path, O_WRONLY));
    TELL(one(context, request(IOCB_CMD_PWRITE, only_read, page, PAGE, 0)));
    TELL(one(context, request(IOCB_CMD_PREAD, only_write, page, PAGE, 0)));
    TELL(one(context, request(IOCB_CMD_PREAD, only_read, page, PAGE, 0)));
    TELL(one(context, request(IOCB_CMD_PWRITE, only_write, page, PAGE, 0)));
    close(only_read);
    close(only_write);
    for (int direct = 0; direct < 2; direct++) {
        char *name = path_in(dir, "appended");
        int appends = MUST(open(name, O_RDWR | O_CREAT | O_APPEND | (direct ? O_DIRECT : 0), 0644));
        TELL(one(context, request(IOCB_CMD_PWRITE, appends, page, PAGE, 0)));
        TELL(one(context, request(IOCB_CMD_PWRITE, appends, page, PAGE, 0)));
        say("appended to: %lld", (long long)lseek(appends, 0, SEEK_END));
        close(appends);
    }
    int pair[2];
    MUST(pipe(pair));
    struct iocb poll_it = request(IOCB_CMD_POLL, pair[0], (void *)POLLIN, 0, 0), *list[] = {&poll_it};
    poll_it.aio_nbytes = 0;
    struct io_event event;
    TELL(io_submit(context, 1, list));
    TELL(io_getevents(context, 0, 1, &event, &(struct timespec){0, 0}));
    MUST(write(pair[1], "x", 1));
    TELL(io_getevents(context, 1, 1, &event, NULL));
    say("polled: %llx", (long long)event.res);
    TELL(one(context, request(IOCB_CMD_PREAD, pair[0], page, 1, 0)));
    TELL(io_submit(context, 1, list));
    struct iocb unknown = poll_it;
    TELL(io_cancel(context, &unknown, &event));
    TELL(io_cancel(context, NULL, &event));
    TELL(io_cancel(context, &poll_it, &event));
    TELL(io_getevents(context, 1, 1, &event, NULL));
    say("cancelled: %s", strerrorname_np(-event.res));
    // One is still in flight when the context goes.
    TELL(io_submit(context, 1, list));
}

// As many as there is room for, not taken in between: at least as many as were asked for.
static void full(int fd) {
    aio_context_t small = 0;
    TELL(io_setup(4, &small));
    struct iocb block = request(IOCB_CMD_PREAD, fd, page, PAGE, 0), *list[] = {&block};
    int n = 0;
    long rc;
    while ((rc = io_submit(small, 1, list)) == 1 && n < 10000)
        n++;
    tell("full", rc);
    say("room for four: %s", n >= 4 && n < 10000 ? "yes" : "no");
    static struct io_event events[10000];
    int got = 0;
    while (got < n && (rc = io_getevents(small, 1, 10000, events, NULL)) > 0)
        got += rc;
    say("all there: %s", got == n ? "yes" : "no");
    // Ten at once, and never more than there are.
    struct iocb ten[10], *all_ten[10];
    for (int i = 0; i < 10; i++)
        ten[i] = request(IOCB_CMD_PWRITE, fd, page, PAGE, i * PAGE), all_ten[i] = &ten[i];
    aio_context_t wide = 0;
    TELL(io_setup(32, &wide));
    TELL(io_submit(wide, 10, all_ten));
    TELL(io_getevents(wide, 10, 10, events, NULL));
    // One range ten times.
    for (int i = 0; i < 10; i++)
        ten[i].aio_offset = 0;
    TELL(io_submit(wide, 10, all_ten));
    TELL(io_getevents(wide, 10, 12, events, NULL));
    TELL(io_getevents(wide, 0, 1, events, &(struct timespec){0, 0}));
    TELL(io_destroy(wide));
    TELL(io_destroy(small));
}

static void in_a_child(int fd) {
    fflush(stdout);
    struct iocb block = request(IOCB_CMD_PREAD, fd, page, PAGE, 0), *list[] = {&block};
    TELL(io_submit(context, 1, list));
    pid_t pid = MUST(fork());
    if (pid == 0) {
        TELL(io_submit(context, 1, list));
#ifdef BY_NUMBER
        struct io_event event;
        TELL(io_getevents(context, 0, 1, &event, NULL));
#endif
        TELL(io_destroy(context));
        aio_context_t own = 0;
        TELL(io_setup(4, &own));
        TELL(one(own, request(IOCB_CMD_PWRITE, fd, page, PAGE, 9 * PAGE)));
        _exit(0);
    }
    say_child("a child", pid);
    struct io_event event;
    TELL(io_getevents(context, 1, 1, &event, NULL));
    TELL(one(context, request(IOCB_CMD_PWRITE, fd, page, PAGE, 9 * PAGE)));
}

#ifndef BY_NUMBER
// What libaio keeps for programs that were linked to its first version: no least number, and one is waited for.
int first_io_getevents(aio_context_t, long, struct io_event *, struct timespec *);
int first_io_cancel(aio_context_t, struct iocb *);
__asm__(".symver first_io_getevents, io_getevents@LIBAIO_0.1");
__asm__(".symver first_io_cancel, io_cancel@LIBAIO_0.1");

static int called;
static void call_back(aio_context_t of, struct iocb *block, long res, long res2) {
    say("called back: %d %ld %ld, of it: %s", block->aio_lio_opcode, res, res2, of ? "yes" : "no");
    called++;
}

static void by_old_names(int fd) {
    aio_context_t old = 0;
    struct iocb some[3], *list[] = {&some[0], &some[1], &some[2]};
    struct io_event events[4];
    struct timespec soon = at_most(0.01);
    TELL(io_queue_init(0, &old));
    TELL(io_queue_init(8, &old));
    TELL(first_io_getevents(old, 4, events, &soon));
    some[0] = request(IOCB_CMD_PWRITE, fd, page, PAGE, PAGE);
    TELL(io_submit(old, 1, list));
    TELL(first_io_getevents(old, 4, events, NULL));
    say("result: %lld", (long long)events[0].res);
    TELL(first_io_cancel(old, &some[0]));
    for (int i = 0; i < 3; i++) {
        some[i] = request(IOCB_CMD_PREAD, fd, page, PAGE, i * PAGE);
        some[i].aio_data = (uintptr_t)call_back;
    }
    TELL(io_submit(old, 3, list));
    for (int i = 0; called < 3 && i < 1000; i++) {
        int rc = io_queue_run(old);
        if (rc < 0)
            tell("run", rc);
        usleep(1000);
    }
    called = 0;
    TELL(io_queue_release(old));
}
#endif

// A counter that can't take one more: the kernel lets it overflow, which a program sees by POLLERR.
static void counter_overflows(int fd) {
    int tells = MUST(eventfd(0, 0));
    eventfd_t count = UINT64_MAX - 1;
    MUST(write(tells, &count, 8));
    for (int n = 0; n < 2; n++) {
        struct iocb block = request(IOCB_CMD_PWRITE, fd, page, PAGE, 0);
        block.aio_flags = IOCB_FLAG_RESFD;
        block.aio_resfd = tells;
        TELL(one(context, block));
    }
    struct pollfd asked = {tells, POLLIN | POLLOUT, 0};
    TELL(poll(&asked, 1, 0));
    say("  %x", asked.revents);
    MUST(read(tells, &count, 8));
    say("  counted %llx", (unsigned long long)count);
    MUST(close(tells));
}

// A handler forks while the program sleeps: parent and child come out of the call, and go on.
static pid_t made;
static void forks(int signal) {
    (void)signal;
    made = fork();
}

static void fork_in_a_sleep(int fd) {
    struct sigaction action = {.sa_handler = forks};
    MUST(sigaction(SIGALRM, &action, NULL));
    ualarm(20000, 0);
    struct io_event event;
    long rc = io_getevents(context, 1, 1, &event, NULL);
    if (made == 0) {
        tell("the child comes out", rc);
        aio_context_t own = 0;
        TELL(io_setup(4, &own));
        TELL(one(own, request(IOCB_CMD_PWRITE, fd, page, PAGE, 9 * PAGE)));
        _exit(0);
    }
    say_child("its child", made);
    tell("the parent comes out", rc);
    TELL(one(context, request(IOCB_CMD_PWRITE, fd, page, PAGE, 9 * PAGE)));
}

int main(int argc, char **argv) {
    (void)argc;
    page = filled(PAGE, 'p');
    contexts();
    file = open_both(argv[1], "f");
    TELL(io_setup(16, &context));
    for (int direct = 0; direct < 2; direct++) {
        int fd = direct ? file.direct : file.buffered;
        say("== %s", direct ? "direct" : "buffered");
        good(fd);
        odd(fd);
        full(fd);
        counter_overflows(fd);
        in_a_child(fd);
        fork_in_a_sleep(fd);
#ifndef BY_NUMBER
        by_old_names(fd);
#endif
    }
    say("== direct, misaligned");
    TELL(one(context, request(IOCB_CMD_PREAD, file.direct, page, 100, 0)));
    say("== direct, beside a mapping");
    char *mapped = map_page(file.buffered, 0);
    good(file.direct);
    say("in the mapping: %c", mapped[0]);
    memset(page, 'm', PAGE);
    TELL(one(context, request(IOCB_CMD_PWRITE, file.direct, page, PAGE, 0)));
    say("in the mapping: %c", mapped[0]);
    munmap(mapped, PAGE);
    others(argv[1]);
    TELL(io_destroy(context));
    say_page("page 1", file.path, PAGE);
    return 0;
}
