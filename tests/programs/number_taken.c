// One thread takes every number that it finds open and didn't open itself with dup2, for a file that nobody writes,
// while others write directly beside a mapping and a third runs out of numbers again and again: not a byte may go
// into that file.
#include "hazard.h"
#include <pthread.h>
#include <stdatomic.h>

enum { LIMIT = 1200, SECONDS = 2 };

static struct both file;
static int victim, top;
static atomic_int over;
static atomic_long writes, taken, wrong;

static void *writer(void *argument) {
    long which = (long)argument;
    char *page = filled(PAGE, 'd');
    for (long i = 0; !over; i++) {
        // Beside the mapping, and far from it: falling back, and looking.
        off_t at = (i % 2 ? 2 * PAGE : 2 * 1024 * 1024) + which * PAGE;
        if (pwrite(file.direct, page, PAGE, at) != PAGE)
            wrong++;
        writes++;
    }
    free(page);
    return NULL;
}

static void *taker(void *argument) {
    (void)argument;
    while (!over) {
        for (int fd = top; fd < LIMIT; fd++) {
            char link[64], to[8];
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            if (readlink(link, to, sizeof to) < 0)
                continue;
            // Not one of the third thread's.
            if (fcntl(fd, F_GETFD) >= 0)
                continue;
            int rc = dup2(victim, fd);
            if (rc == fd) {
                taken++;
                sched_yield();
                close(fd);
            } else {
                wrong += errno != EBUSY;
            }
        }
    }
    return NULL;
}

static void *spender(void *argument) {
    (void)argument;
    static int fds[LIMIT];
    while (!over) {
        int n = 0, fd;
        while (n < LIMIT && (fd = open("/dev/null", O_RDONLY)) >= 0)
            fds[n++] = fd;
        while (n > 0)
            close(fds[--n]);
        usleep(300);
    }
    return NULL;
}

int main(int argc, char **argv) {
    (void)argc;
    file = open_both(argv[1], "f");
    char *map = map_page(file.buffered, PAGE), *bytes = filled(SIZE, 'v');
    map[0] = 'm';
    victim = MUST(open(path_in(argv[1], "victim"), O_RDWR | O_CREAT, 0644));
    MUST(pwrite(victim, bytes, SIZE, 0));
    // What the library has is within the program's numbers.
    struct rlimit limit;
    MUST(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = LIMIT;
    MUST(setrlimit(RLIMIT_NOFILE, &limit));
    MUST(top = fcntl(0, F_DUPFD, 900)); // all below are ours
    while (dup(0) < top - 1)
        ;
    pthread_t threads[4];
    pthread_create(&threads[0], NULL, writer, (void *)0);
    pthread_create(&threads[1], NULL, writer, (void *)1);
    pthread_create(&threads[2], NULL, taker, NULL);
    pthread_create(&threads[3], NULL, spender, NULL);
    sleep(SECONDS);
    over = 1;
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    struct stat stat;
    MUST(fstat(victim, &stat));
    MUST(pread(victim, bytes, SIZE, 0));
    long foreign = stat.st_size != SIZE;
    for (int i = 0; i < SIZE; i++)
        foreign += bytes[i] != 'v';
    fprintf(stderr, "%ld writes, %ld numbers taken\n", (long)writes, (long)taken);
    say("foreign bytes %ld, wrong %ld, written %d, taken %d", foreign, (long)wrong, writes > 100, taken > 3);
}
