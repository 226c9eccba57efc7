// Much of everything at once, by every door: storm DIR WHAT SECONDS. Says what must be as on the bare kernel, and in a line
// that begins with # what may differ: data that was wrong (0, where nothing is lost), descriptors and KiB of memory more at
// the end than after the first round, signals. Then it has closed all and waits for a byte.
#include "storm.h"
#include <sys/time.h>
#include <sys/wait.h>

static volatile int stop;
static int rounds;

static void *acts(void *me) {
    while (!stop)
        act(me);
    return NULL;
}

static void *acts_a_round(void *me) {
    for (int i = 0; i < 2; i++)
        act(me);
    return NULL;
}

static pthread_t start(void *(*what)(void *), void *with) {
    pthread_t thread;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 128 * 1024);
    MUST(-pthread_create(&thread, &small, what, with));
    return thread;
}

// 1,000 threads, again and again.
static void threads(void) {
    enum { COUNT = 1000 };
    static struct actor all[COUNT];
    pthread_t ids[COUNT];
    for (int i = 0; i < COUNT; i++)
        enter(&all[i], i, (i % 2 ? WITH_PIPE : 0) | (i % 3 ? 0 : WITH_STREAM) | (i % 16 ? 0 : WITH_MAP | WITH_CONTEXT));
    for (int i = 0; i < COUNT; i++)
        ids[i] = start(acts_a_round, &all[i]);
    for (int i = 0; i < COUNT; i++)
        MUST(-pthread_join(ids[i], NULL));
    for (int i = 0; i < COUNT; i++)
        leave(&all[i]);
}

// 10,000 descriptors, half of them direct, of which each is used, some by streams.
static void many_descriptors(void) {
    enum { COUNT = 10000, STREAMS = 500 };
    static int fds[COUNT];
    static FILE *streams[STREAMS];
    struct actor me;
    enter(&me, 3, WITH_ALL);
    for (int i = 0; i < COUNT; i++)
        fds[i] = MUST(open(i % 4 < 2 ? file.path : other.path, O_RDWR | O_CLOEXEC | (i % 2 ? O_DIRECT : 0)));
    for (int i = 0; i < COUNT; i++) {
        memset(me.page, 'A' + i % 26, PAGE);
        int pair = i ^ 1; // The other way to the same file.
        if ((i / 2 % 20 == 0 && pwrite(fds[i], me.page, PAGE, 8 * PAGE) != PAGE) || pread(fds[pair], me.seen, PAGE, 8 * PAGE) != PAGE)
            failed++;
        wrong += i / 2 % 20 == 0 && memcmp(me.page, me.seen, PAGE);
        if (i % 100 == 0)
            act(&me);
    }
    for (int i = 0; i < STREAMS; i++)
        if (!(streams[i] = fdopen(fds[i], "r+")) || fseeko(streams[i], 9 * PAGE, SEEK_SET) || fputs("stream", streams[i]) < 0)
            failed++;
    for (int i = 0; i < STREAMS; i++)
        failed += fclose(streams[i]) != (i % 2 ? -1 : 0); // A direct one writes no odd bytes.
    for (int i = STREAMS; i < COUNT; i++)
        MUST(close(fds[i]));
    leave(&me);
}

static void child(int n) {
    struct actor me;
    alarm(30);
    failed = wrong = 0;
    enter(&me, 100 + n % 200, n % 8 ? WITH_PIPE | WITH_STREAM | WITH_MAP : WITH_ALL);
    me.is_forked = 1;
    acts_a_round(&me);
    if (n % 4 == 0 && fork() == 0) {
        // Pipes, streams and mappings are inherited; a context isn't.
        me.context = NULL;
        acts_a_round(&me);
        _exit(failed ? 3 : wrong ? 2 : 0);
    }
    if (n % 5 == 0)
        kill(getpid(), SIGKILL);
    int status = 0;
    wait(&status);
    leave(&me);
    _exit(failed || status >> 8 == 3 ? 3 : wrong || status ? 2 : 0);
}

static int children_failed, children_wrong, children_killed;

static void *forks(void *from) {
    enum { EACH = 50 };
    for (int n = (long)from * EACH, last = n + EACH; n < last; n++) {
        pid_t pid = MUST(fork());
        int status = 0;
        if (pid == 0)
            child(n);
        MUST(waitpid(pid, &status, 0));
        __sync_fetch_and_add(&children_killed, WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        __sync_fetch_and_add(&children_failed, WIFEXITED(status) ? WEXITSTATUS(status) == 3 || WEXITSTATUS(status) == 99 : WTERMSIG(status) != SIGKILL);
        __sync_fetch_and_add(&children_wrong, WIFEXITED(status) && WEXITSTATUS(status) == 2);
    }
    return NULL;
}

// 200 children of four threads, a fifth of them killed, beside threads that go on.
static void forking(void) {
    enum { BESIDE = 3, FORKERS = 4 };
    struct actor all[BESIDE];
    pthread_t beside[BESIDE], forkers[FORKERS];
    children_failed = children_wrong = children_killed = stop = 0;
    for (int i = 0; i < BESIDE; i++) {
        enter(&all[i], 20 + i, WITH_ALL);
        beside[i] = start(acts, &all[i]);
    }
    for (long i = 0; i < FORKERS; i++)
        forkers[i] = start(forks, (void *)i);
    for (int i = 0; i < FORKERS; i++)
        MUST(-pthread_join(forkers[i], NULL));
    stop = 1;
    for (int i = 0; i < BESIDE; i++) {
        MUST(-pthread_join(beside[i], NULL));
        leave(&all[i]);
    }
    wrong += children_wrong;
    failed += children_failed;
    if (rounds == 0)
        say("killed %d", children_killed);
}

static struct actor in_handler;
// Refused, with EDEADLK: what it wants waits for a call of another thread that waits behind its own.
static volatile long handled, handler_failed, refused;

static void handler(int number) {
    static const enum door doors[] = {BUFFERED, DIRECT, COPIED, SPLICED, SENT};
    int error = errno;
    (void)number;
    long turn = handled++;
    memset(in_handler.page, 'h' + turn % 3, PAGE);
    if (write_by(&in_handler, doors[turn % 5]) != PAGE || read_by(&in_handler, doors[turn / 5 % 5]) != PAGE) {
        drain(&in_handler);
        if (errno == EDEADLK)
            refused++;
        else if (handler_failed++ < 5)
            dprintf(1, "in the handler, turn %ld: %s\n", turn % 25, strerrorname_np(errno));
    } else
        wrong += !!memcmp(in_handler.page, in_handler.seen, PAGE);
    errno = error;
}

// A signal every 100 microseconds, whose handler reads and writes the next page.
static void signals(void) {
    struct actor me, other_one;
    enter(&me, 30, WITH_ALL);
    enter(&other_one, 32, WITH_ALL);
    enter(&in_handler, 31, WITH_PIPE);
    handler_failed = stop = 0;
    sigset_t alarm;
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    MUST(-pthread_sigmask(SIG_BLOCK, &alarm, NULL));
    pthread_t beside = start(acts, &other_one);
    MUST(-pthread_sigmask(SIG_UNBLOCK, &alarm, NULL));
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    MUST(sigaction(SIGALRM, &action, NULL));
    struct itimerval often = {.it_value.tv_usec = 100}, none = {0};
    double until = now() + 1;
    long armed_for = -1, before = handled;
    while (now() < until) {
        // One at a time, or handlers alone would run.
        if (armed_for != handled) {
            armed_for = handled;
            MUST(setitimer(ITIMER_REAL, &often, NULL));
        }
        act(&me);
    }
    MUST(setitimer(ITIMER_REAL, &none, NULL));
    signal(SIGALRM, SIG_IGN);
    stop = 1;
    MUST(-pthread_join(beside, NULL));
    if (rounds == 0)
        say("handled %s, failed %ld", handled - before > 20 ? "many" : "too few", handler_failed);
    leave(&me);
    leave(&other_one);
    leave(&in_handler);
}

static void *may_be_cancelled(void *me) {
    for (;;)
        act(me);
    return NULL;
}

// Eight threads are cancelled and made anew, wherever they are.
static void cancelled(void) {
    enum { COUNT = 8, TIMES = 300 };
    struct actor all[COUNT];
    pthread_t ids[COUNT];
    int ended = 0;
    for (int i = 0; i < COUNT; i++) {
        enter(&all[i], 40 + i, WITH_STREAM | WITH_MAP);
        ids[i] = start(may_be_cancelled, &all[i]);
    }
    for (int n = 0; n < TIMES + COUNT; n++) {
        void *result = NULL;
        int i = n % COUNT;
        usleep(37 * n % 1500);
        MUST(-pthread_cancel(ids[i]));
        MUST(-pthread_join(ids[i], &result));
        ended += result == PTHREAD_CANCELED;
        // What it had in flight is over before its memory is used again.
        if (all[i].posix.aio_fildes)
            posix_done(&all[i], 0);
        if (n < TIMES)
            ids[i] = start(may_be_cancelled, &all[i]);
    }
    if (rounds == 0)
        say("cancelled %d", ended);
    for (int i = 0; i < COUNT; i++)
        leave(&all[i]);
}

enum { LOWEST = 300, NUMBERS = 40 };

static void *uses_numbers(void *argument) {
    unsigned n = (long)argument;
    char *page = filled(PAGE, 'n');
    while (!stop) {
        int from = n++ % 2 ? file.direct : file.buffered, fd = fcntl(from, F_DUPFD_CLOEXEC, LOWEST + n % NUMBERS);
        if (fd < 0 || fd >= LOWEST + 2 * NUMBERS) {
            // Nobody has closed any for a while.
            if (fd < 0 || close(fd))
                __sync_fetch_and_add(&failed, 1);
            continue;
        }
        // It may be gone, or be another thread's: then it says EBADF, or does what it should.
        errno = 0;
        if (pwrite(fd, page, PAGE, (60 + n % 4) * PAGE) != PAGE && errno != EBADF)
            __sync_fetch_and_add(&failed, 1);
        FILE *stream = n % 8 == 0 ? fdopen(fd, "r+") : NULL;
        if (stream) {
            char line[64];
            if (fread(line, 1, sizeof line, stream) == 0 && !feof(stream) && errno != EBADF && errno != EINVAL)
                __sync_fetch_and_add(&failed, 1);
            fclose(stream);
        }
    }
    free(page);
    return NULL;
}

// Numbers are closed in ranges while they are used.
static void ranges(void) {
    enum { COUNT = 4 };
    pthread_t ids[COUNT], beside;
    struct actor me;
    stop = 0;
    enter(&me, 70, WITH_ALL);
    beside = start(acts, &me);
    for (long i = 0; i < COUNT; i++)
        ids[i] = start(uses_numbers, (void *)i);
    double until = now() + 1;
    for (int n = 0; now() < until; n++)
        MUST(n % 3 ? close_range(LOWEST + n % NUMBERS, LOWEST + NUMBERS + n % NUMBERS, 0)
                   : close_range(LOWEST, LOWEST + 2 * NUMBERS, CLOSE_RANGE_CLOEXEC));
    stop = 1;
    for (int i = 0; i < COUNT; i++)
        MUST(-pthread_join(ids[i], NULL));
    MUST(-pthread_join(beside, NULL));
    MUST(close_range(LOWEST, LOWEST + 3 * NUMBERS, 0));
    leave(&me);
}

// At most 20 descriptors, and all of them in use.
static void few(void) {
    struct rlimit before;
    struct actor me;
    MUST(getrlimit(RLIMIT_NOFILE, &before));
    enter(&me, 80, WITH_ALL);
    MUST(setrlimit(RLIMIT_NOFILE, &(struct rlimit){20, before.rlim_max}));
    for (int round = 0; round < 20; round++) {
        int first = -1, last = -1, fd;
        while ((fd = dup(round % 2 ? file.direct : file.buffered)) >= 0) {
            first = first < 0 ? fd : first;
            last = fd;
        }
        if (round == 0 && rounds == 0)
            say("to %d, then %s", last, strerrorname_np(errno));
        for (int i = 0; i < 3 * DOORS; i++)
            act(&me);
        failed += open(file.path, O_RDONLY) != -1 || errno != EMFILE;
        failed += tmpfile() != NULL || errno != EMFILE;
        MUST(close_range(first, last, 0));
    }
    MUST(setrlimit(RLIMIT_NOFILE, &before));
    leave(&me);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*storm)(void);
    } all[] = {{"threads", threads}, {"descriptors", many_descriptors}, {"forks", forking}, {"signals", signals},
        {"cancelled", cancelled}, {"ranges", ranges}, {"few", few}};
    struct rlimit limit;
    (void)argc;
    // The library's own descriptors lie above the limit that it starts with.
    MUST(getrlimit(RLIMIT_NOFILE, &limit));
    if (limit.rlim_cur < 11000) {
        MUST(setrlimit(RLIMIT_NOFILE, &(struct rlimit){11000, limit.rlim_max < 11000 ? 11000 : limit.rlim_max}));
        MUST(execv("/proc/self/exe", argv));
    }
    void (*storm)(void) = NULL;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        storm = strcmp(argv[2], all[i].name) ? storm : all[i].storm;
    double begun = now(), end = begun + atof(argv[3]);
    file = open_both(argv[1], "f");
    other = open_both(argv[1], "g");
    int numbers = 0;
    long memory = 0;
    do {
        storm();
        if (rounds++ == 0) {
            numbers = descriptors();
            memory = resident();
        }
    } while (rounds < 2 || now() < end);
    say("failed %ld", failed);
    numbers = descriptors() - numbers;
    memory = resident() - memory;
    MUST(close_range(file.buffered, other.direct, 0));
    say("# wrong %ld, done %ld, numbers %d, memory %ld, handled %ld, refused %ld, rounds %d, seconds %.1f", wrong, done, numbers,
        memory, handled, refused, rounds, now() - begun);
    step("over");
    return 0;
}
