// Threads cancelled in the middle of their writes, deferred and asynchronously: they end as
// cancelled, and the range is free for the next one.
#include "hazard.h"

static struct both file;
static int asynchronous, use_direct;
static volatile int cleaned;

static void cleanup(void *argument) {
    (void)argument;
    __sync_fetch_and_add(&cleaned, 1);
}

static void *writer(void *argument) {
    char *page = argument;
    pthread_cleanup_push(cleanup, NULL);
    pthread_setcanceltype(asynchronous ? PTHREAD_CANCEL_ASYNCHRONOUS : PTHREAD_CANCEL_DEFERRED, NULL);
    for (;;)
        if (pwrite(use_direct ? file.direct : file.buffered, page, PAGE, PAGE) != PAGE)
            _exit(9);
    pthread_cleanup_pop(0);
    return NULL;
}

static void *reader_of_a_pipe(void *argument) {
    char byte;
    read(*(int *)argument, &byte, 1);
    return NULL;
}

static void *disabled(void *argument) {
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    for (int i = 0; i < 50; i++)
        if (pwrite(file.direct, argument, PAGE, PAGE) != PAGE)
            return (void *)1;
    int old = -1;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    return (void *)(long)(old == PTHREAD_CANCEL_DISABLE ? 7 : 8);
}

static void series(const char *what, char *page) {
    int cancelled = 0;
    cleaned = 0;
    for (int i = 0; i < 100; i++) {
        pthread_t thread;
        void *result = NULL;
        pthread_create(&thread, NULL, writer, page);
        usleep(200 + 37 * i % 1500);
        pthread_cancel(thread);
        pthread_join(thread, &result);
        cancelled += result == PTHREAD_CANCELED;
        // The thread that cancelled it goes on with the same range.
        if (pwrite(file.direct, page, PAGE, PAGE) != PAGE || pwrite(file.buffered, page, PAGE, PAGE) != PAGE)
            say("a write failed");
    }
    say("%s: cancelled %d, cleaned up %d", what, cancelled, cleaned);
    say_free(file.path, PAGE);
}

int main(int argc, char **argv) {
    (void)argc;
    file = open_both(argv[1], "f");
    char *page = filled(PAGE, 'c');
    for (asynchronous = 0; asynchronous < 2; asynchronous++)
        for (use_direct = 0; use_direct < 2; use_direct++)
            series(asynchronous ? use_direct ? "asynchronous, direct" : "asynchronous, buffered"
                                : use_direct ? "deferred, direct" : "deferred, buffered",
                page);
    char *map = map_page(file.buffered, 3 * PAGE);
    map[0] = 'm';
    asynchronous = 0;
    use_direct = 1;
    series("deferred, beside a mapping", page);

    pthread_t thread;
    void *result = NULL;
    int fds[2];
    MUST(pipe(fds));
    pthread_create(&thread, NULL, reader_of_a_pipe, &fds[0]);
    usleep(20000);
    pthread_cancel(thread);
    pthread_join(thread, &result);
    say("blocked in read: %s", result == PTHREAD_CANCELED ? "cancelled" : "not cancelled");
    pthread_create(&thread, NULL, disabled, page);
    pthread_cancel(thread);
    pthread_join(thread, &result);
    say("disabled: %ld", (long)result);
}
