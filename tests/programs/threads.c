// 10,000 threads one after the other, then 300 at once, each with a write and a read of its own:
// what a thread had is given back when it ends.
#include "hazard.h"

static struct both file;

static void *one(void *argument) {
    long n = (long)argument;
    off_t at = (n % 512) * PAGE;
    char *page = filled(PAGE, 'a' + n % 26), *seen = filled(PAGE, 0);
    ssize_t done = pwrite(n % 2 ? file.direct : file.buffered, page, PAGE, at);
    done += pread(n % 2 ? file.buffered : file.direct, seen, PAGE, at);
    long ok = done == 2 * PAGE && all(seen, PAGE, 'a' + n % 26);
    free(page);
    free(seen);
    return (void *)(long)!ok;
}

int main(int argc, char **argv) {
    (void)argc;
    file = open_both(argv[1], "f");
    long wrong = 0;
    void *result;
    pthread_t threads[300];
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 128 * 1024);
    for (long n = 0; n < 10000; n++) {
        MUST(-pthread_create(&threads[0], &small, one, (void *)n));
        pthread_join(threads[0], &result);
        wrong += (long)result;
    }
    say("one after the other: %ld wrong", wrong);
    for (long n = 0; n < 300; n++)
        MUST(-pthread_create(&threads[n], &small, one, (void *)n));
    for (long n = 0; n < 300; n++) {
        pthread_join(threads[n], &result);
        wrong += (long)result;
    }
    say("at once: %ld wrong", wrong);
}
