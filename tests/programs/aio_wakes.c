// Who sleeps until there is a completion wakes: whoever brings it about, and however it is done.
#include "aio.h"
#include <setjmp.h>
#include <stdatomic.h>
#include <sys/time.h>

// A busy disk keeps a request for half a minute.
#define PATIENCE 50

static struct both file;
static char *page;
static aio_context_t context;
static char *mapped;

static struct iocb some(int i) {
    static int turn;
    // Buffered, direct, beside a mapping, a sync, at the same place and at others.
    switch (turn++ % 5) {
    case 0: return request(IOCB_CMD_PREAD, file.buffered, page, PAGE, i % 8 * PAGE);
    case 1: return request(IOCB_CMD_PWRITE, file.direct, page, PAGE, SIZE / 2 + i % 8 * PAGE);
    case 2: return request(IOCB_CMD_PWRITE, file.direct, page, PAGE, 0);
    case 3: return request(IOCB_CMD_FDSYNC, file.buffered, NULL, 0, 0);
    default: return request(IOCB_CMD_PREAD, file.direct, page, PAGE, SIZE / 2);
    }
}

static atomic_int taken, slept;

static void *takes(void *many) {
    for (int i = 0; i < (int)(intptr_t)many; i++) {
        struct io_event event;
        slept++;
        long rc = io_getevents(context, 1, 1, &event, NULL);
        if (rc != 1)
            say("took: %ld", rc);
        taken++;
    }
    return NULL;
}

static void until(atomic_int *what, int value) {
    double begun = now();
    while (*what < value && now() - begun < PATIENCE)
        usleep(50);
    if (*what < value)
        say("LOST: %d of %d", *what, value), exit(1);
}

// Threads that take one each, and one that submits one when they sleep.
static void sleepers(int threads, int rounds) {
    pthread_t all[8];
    taken = slept = 0;
    for (int i = 0; i < threads; i++)
        pthread_create(&all[i], NULL, takes, (void *)(intptr_t)rounds);
    for (int i = 0; i < threads * rounds; i++) {
        until(&slept, i + 1);
        if (i % 3 == 0)
            usleep(100);
        struct iocb block = some(i), *list[] = {&block};
        long rc = io_submit(context, 1, list);
        if (rc != 1)
            say("submitted: %ld", rc);
        until(&taken, i + 1);
    }
    for (int i = 0; i < threads; i++)
        pthread_join(all[i], NULL);
    say("%d threads, each woken %d times", threads, rounds);
}

static void *sleeps(void *into) {
    struct io_event event;
    slept++;
    *(long *)into = io_getevents(context, 1, 1, &event, NULL);
    return NULL;
}

static void destroyed(void) {
    pthread_t all[3];
    long said[3] = {0};
    slept = 0;
    context = 0;
    TELL(io_setup(8, &context));
    for (int i = 0; i < 3; i++)
        pthread_create(&all[i], NULL, sleeps, &said[i]);
    until(&slept, 3);
    usleep(50000);
    TELL(io_destroy(context));
    for (int i = 0; i < 3; i++) {
        pthread_join(all[i], NULL);
        tell("a sleeper", said[i]);
    }
}

#ifdef BY_NUMBER // libaio looks at a ring that is gone
static atomic_long current;
#define TELL_WRONG(call)                     \
    do {                                     \
        if (call)                            \
            say("%s: failed", #call);        \
    } while (0)

// Uses whatever context there is, also one that is being destroyed, or that another one has replaced at its address.
static void *uses(void *nothing) {
    struct iocb blocks[8], *list[8];
    struct io_event events[8];
    char *own = filled(PAGE, 'u');
    for (aio_context_t which; (which = current);) {
        struct timespec soon = at_most(0.002);
        for (int i = 0; i < 8; i++) {
            blocks[i] = request(i % 2 ? IOCB_CMD_PREAD : IOCB_CMD_PWRITE, i % 4 ? file.direct : file.buffered, own, PAGE,
                                SIZE / 2 + i * PAGE);
            list[i] = &blocks[i];
        }
        long n = io_submit(which, 8, list);
        if (n > 0)
            io_getevents(which, n, 8, events, &soon);
    }
    return nothing;
}

static void replaced_in_use(void) {
    pthread_t all[3];
    aio_context_t next = 0;
    TELL_WRONG(io_setup(32, &next));
    current = next;
    for (int i = 0; i < 3; i++)
        pthread_create(&all[i], NULL, uses, NULL);
    for (int i = 0; i < 40; i++) {
        usleep(200 + i % 7 * 150);
        next = 0;
        TELL_WRONG(io_setup(32, &next));
        TELL_WRONG(io_destroy(atomic_exchange(&current, next)));
    }
    TELL_WRONG(io_destroy(atomic_exchange(&current, 0)));
    for (int i = 0; i < 3; i++)
        pthread_join(all[i], NULL);
    say("replaced while others use them");
}
#endif

struct ring {
    unsigned id, nr, head, tail, magic, compat, incompat, length;
    struct io_event events[];
};

// Takes a completion by itself, if there is one.
static int take_from(volatile struct ring *ring) {
    unsigned head = ring->head;
    if (head == __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE))
        return 0;
    if (ring->events[head].res != PAGE)
        say("a wrong completion");
    __atomic_store_n(&ring->head, (head + 1) % ring->nr, __ATOMIC_RELEASE);
    return 1;
}

// Edge-triggered: the program hears once of what it doesn't take.
static void edges(int reads, int direct, int depth) {
    int tells = MUST(eventfd(0, EFD_NONBLOCK)), epoll = MUST(epoll_create1(0));
    struct epoll_event want = {.events = EPOLLIN | EPOLLET}, got;
    MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, tells, &want));
    struct iocb blocks[8];
    long submitted = 0, done = 0, told = 0;
    while (done < 400) {
        while (submitted < 400 && submitted - done < depth) {
            struct iocb *block = &blocks[submitted % depth];
            *block = request(submitted % 3 ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD, direct ? file.direct : file.buffered, page,
                             PAGE, SIZE / 2 + submitted % 16 * PAGE);
            block->aio_flags = IOCB_FLAG_RESFD;
            block->aio_resfd = tells;
            struct iocb *list[] = {block};
            if (io_submit(context, 1, list) != 1)
                say("not submitted");
            submitted++;
        }
        if (epoll_wait(epoll, &got, 1, PATIENCE * 1000) != 1)
            say("LOST: %ld of %ld", done, submitted), exit(1);
        eventfd_t count = 0;
        if (reads % 2 == 1 && read(tells, &count, 8) == 8)
            told += count;
        if (reads == 2 && eventfd_read(tells, &count) == 0)
            told += count;
        struct io_event events[8];
        long n;
        // Heard of, and then found in the ring: as qemu does it.
        while (reads == 3 && take_from((void *)context))
            done++;
        while (reads != 3 && (n = io_getevents(context, 0, 8, events, &(struct timespec){0, 0})) > 0)
            done += n;
    }
    // The kernel tells after it has put a completion into its ring: of the last it may be about to.
    struct pollfd more = {.fd = tells, .events = POLLIN};
    for (eventfd_t count; told < done && poll(&more, 1, PATIENCE * 1000) == 1;)
        told += read(tells, &count, 8) == 8 ? count : 0;
    eventfd_t count = 0;
    if (read(tells, &count, 8) == 8)
        told += count;
    say("edges, %s: %ld done, %ld told", reads ? "read" : "not read", done, told);
    close(epoll);
    close(tells);
}

// A program that finds its completions in the ring by itself, and calls for nothing but submitting.
static void looks(int depth, int direct) {
    aio_context_t own = 0;
    MUST(io_setup(16, &own));
    volatile struct ring *ring = (void *)own;
    struct iocb blocks[8];
    long submitted = 0, done = 0;
    double begun = now();
    while (done < 300) {
        while (submitted < 300 && submitted - done < depth) {
            blocks[submitted % depth] =
                request(IOCB_CMD_PWRITE, direct ? file.direct : file.buffered, page, PAGE, SIZE / 2 + submitted % 16 * PAGE);
            struct iocb *list[] = {&blocks[submitted % depth]};
            if (io_submit(own, 1, list) != 1)
                say("not submitted");
            submitted++;
        }
        done += take_from(ring);
        if (now() - begun > PATIENCE)
            say("LOST: %ld of %ld", done, submitted), exit(1);
    }
    MUST(io_destroy(own));
    say("found in the ring: %ld", done);
}

static void nothing(int signal) { (void)signal; }
static sigjmp_buf out;
static void jump(int signal) {
    (void)signal;
    siglongjmp(out, 1);
}

static void handle(int signal, void (*how)(int), int flags) {
    struct sigaction action = {.sa_handler = how, .sa_flags = flags};
    MUST(sigaction(signal, &action, NULL));
}

static void interrupted(void) {
    for (int restart = 0; restart < 2; restart++) {
        handle(SIGUSR1, nothing, restart ? SA_RESTART : 0);
        pthread_t all[2];
        long said[2] = {0};
        slept = 0;
        for (int i = 0; i < 2; i++)
            pthread_create(&all[i], NULL, sleeps, &said[i]);
        until(&slept, 2);
        usleep(50000);
        for (int i = 0; i < 2; i++) {
            pthread_kill(all[i], SIGUSR1);
            pthread_join(all[i], NULL);
            tell("interrupted", said[i]);
        }
    }
    // A mask for the time of the sleep: what is pending under it is heard at once, and later.
    sigset_t blocked, open;
    sigemptyset(&open);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    raise(SIGUSR1);
    struct io_event event;
    struct timespec soon = at_most(5);
    TELL(io_pgetevents(context, 1, 1, &event, &soon, &open));
    soon = at_most(0.01);
    TELL(io_pgetevents(context, 1, 1, &event, &soon, &open));
    sigprocmask(SIG_UNBLOCK, &blocked, NULL);
}

// A handler jumps out of the sleep: others, and the thread itself, go on.
static void jumped_out(void) {
    handle(SIGALRM, jump, 0);
    struct itimerval soon = {.it_value = {0, 20000}};
    struct io_event event;
    if (sigsetjmp(out, 1) == 0) {
        setitimer(ITIMER_REAL, &soon, NULL);
        TELL(io_getevents(context, 1, 1, &event, NULL));
    }
    say("out");
    TELL(one(context, request(IOCB_CMD_PWRITE, file.direct, page, PAGE, SIZE / 2)));
    TELL(one(context, request(IOCB_CMD_PREAD, file.buffered, page, PAGE, SIZE / 2)));
    sleepers(2, 10);
}

static void cancelled(void) {
    pthread_t thread;
    long said = 0;
    slept = 0;
    pthread_create(&thread, NULL, sleeps, &said);
    until(&slept, 1);
    usleep(20000);
    pthread_cancel(thread); // no cancellation point: it sleeps on
    usleep(20000);
    struct iocb block = request(IOCB_CMD_PWRITE, file.direct, page, PAGE, SIZE / 2), *list[] = {&block};
    TELL(io_submit(context, 1, list));
    void *ended;
    pthread_join(thread, &ended);
    say("took %ld, ended %s", said, ended ? "otherwise" : "by itself");
}

int main(int argc, char **argv) {
    (void)argc;
    page = filled(PAGE, 'p');
    file = open_both(argv[1], "f");
    mapped = map_page(file.buffered, 0);
    TELL(io_setup(64, &context));
    sleepers(1, 150);
    // The kernel has one in flight all the time, which doesn't end.
    int pair[2];
    MUST(pipe(pair));
    struct iocb poll_it = request(IOCB_CMD_POLL, pair[0], (void *)POLLIN, 0, 0), *list[] = {&poll_it};
    TELL(io_submit(context, 1, list));
    sleepers(1, 150);
    sleepers(3, 50);
    struct io_event event;
    TELL(io_cancel(context, &poll_it, &event));
    TELL(io_getevents(context, 1, 1, &event, NULL));
    for (int direct = 0; direct < 2; direct++)
        for (int reads = 0; reads < 4; reads++)
            edges(reads, direct, reads == 0 ? 1 : 8);
    interrupted();
    jumped_out();
    cancelled();
    TELL(io_destroy(context));
    for (int i = 0; i < 4; i++)
        looks(i < 2 ? 1 : 8, i % 2);
    destroyed();
#ifdef BY_NUMBER
    replaced_in_use();
#endif
    return 0;
}
