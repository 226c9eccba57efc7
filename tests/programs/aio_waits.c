// Requests that their program doesn't take: who needs their range gets it as soon as they are done, also by a thread that
// submitted them, and whatever becomes of the program.
#include "aio.h"
#include <sched.h>

#define AT (SIZE / 2)

static struct both file;
static char *page;
static aio_context_t context;

static void in_flight(int count) {
    static struct iocb blocks[8];
    for (int i = 0; i < count; i++) {
        blocks[i] = request(IOCB_CMD_PWRITE, file.direct, page, PAGE, AT + i * PAGE);
        struct iocb *list[] = {&blocks[i]};
        long rc = io_submit(context, 1, list);
        if (rc != 1)
            tell("submit", rc);
    }
}

static void take(int count) {
    struct io_event events[8] = {0};
    long got = 0, whole = 0, rc = 0;
    while (got < count && (rc = io_getevents(context, 1, 8 - got, events + got, NULL)) > 0)
        got += rc;
    for (int i = 0; i < got; i++)
        whole += events[i].res == PAGE;
    say("taken: %ld, whole %ld", got, whole);
}

static void in_time(const char *what, double begun) { say("%s: %s", what, now() - begun < 15 ? "in time" : "LATE"); }

#define TIMED(call)                 \
    do {                            \
        double begun_ = now();      \
        SAY(call);                  \
        in_time("  which is", begun_); \
    } while (0)

// Calls of the thread that has them in flight.
static void by_itself(void) {
    char *other = filled(PAGE, 0);
    in_flight(4);
    TIMED(pread(file.buffered, other, PAGE, AT));
    TIMED(pwrite(file.buffered, page, PAGE, AT + 2 * PAGE));
    take(4);
    in_flight(4);
    TIMED(pread(file.direct, other, PAGE, AT));
    TIMED(pwrite(file.direct, page, PAGE, AT + PAGE));
    take(4);
    in_flight(4);
    TIMED(fallocate(file.buffered, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, AT, PAGE));
    take(4);
    in_flight(4);
    TIMED(ftruncate(file.buffered, SIZE));
    in_flight(4);
    TIMED(fcntl(file.direct, F_SETFL, 0));
    TIMED(fcntl(file.direct, F_SETFL, O_DIRECT));
    take(8);
    in_flight(2);
    double begun = now();
    char *mapped = map_page(file.buffered, AT);
    mapped[0] = 'x';
    in_time("a mapping", begun);
    take(2);
    in_flight(2);
    take(2);
    munmap(mapped, PAGE);
    free(other);
}

static char *self;

// Another process, started now: one that reads, writes and punches there.
static void by_another(const char *when) {
    pid_t pid = MUST(fork());
    if (pid == 0) {
        execl(self, self, "use", file.path, NULL);
        _exit(127);
    }
    say_child(when, pid);
}

static int use(const char *path) {
    double begun = now();
    char *bytes = filled(PAGE, 0);
    int fd = MUST(open(path, O_RDWR));
    MUST(pread(fd, bytes, PAGE, AT));
    memset(bytes, 'u', PAGE);
    MUST(pwrite(fd, bytes, PAGE, AT));
    MUST(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, AT, 2 * PAGE));
    return now() - begun < 15 ? 0 : 1;
}

static void others(void) {
    in_flight(4);
    by_another("beside one that doesn't take");
    take(4);
    // The descriptor is gone before they are taken.
    in_flight(4);
    SAY(close(file.direct));
    by_another("beside a closed one");
    take(4);
    file.direct = MUST(open(file.path, O_RDWR | O_DIRECT));
    for (int how = 0; how < 3; how++) {
        int ready[2];
        MUST(pipe(ready));
        pid_t pid = MUST(fork());
        if (pid == 0) {
            context = 0;
            MUST(io_setup(8, &context));
            in_flight(4);
            MUST(write(ready[1], "x", 1));
            if (how == 0)
                pause();
            if (how == 1)
                execl("/bin/sleep", "sleep", "0.1", NULL);
            _exit(0);
        }
        char byte;
        MUST(read(ready[0], &byte, 1));
        if (how == 0)
            MUST(kill(pid, SIGKILL));
        by_another("after one that ends");
        say_child("it", pid);
        close(ready[0]);
        close(ready[1]);
    }
}

static void *last(void *nothing) {
    usleep(100000);
    in_flight(2);
    take(2);
    say("the last thread ends");
    return nothing;
}

int main(int argc, char **argv) {
    self = argv[0];
    if (argc > 2)
        return use(argv[2]);
    page = filled(PAGE, 'p');
    file = open_both(argv[1], "f");
    TELL(io_setup(16, &context));
    by_itself();
    others();
    // One thread: so it may.
    in_flight(2);
    if (geteuid() == 0)
        SAY(unshare(CLONE_NEWNS));
    take(2);
    in_flight(2);
    by_another("beside one with other rights");
    take(2);
    // The process ends when its last thread does.
    pthread_t thread;
    pthread_create(&thread, NULL, last, NULL);
    pthread_exit(NULL);
}
