// Many of one thing at once, each used and looked at: limits DIR processes|threads|mappings|files N, then a few again.
// Or some calls, and what they return: on one file, limits DIR calls; of a child, limits DIR forked.
#include "hazard.h"

// One page through the cache and one past it; whether each is seen the other way.
static int both_right(const char *path) {
    char *page = filled(PAGE, 'b'), *seen = filled(PAGE, 0);
    int buffered = MUST(open(path, O_RDWR | O_CREAT, 0644)), direct = MUST(open(path, O_RDWR | O_DIRECT));
    MUST(pwrite(buffered, page, PAGE, 0));
    MUST(pread(direct, seen, PAGE, 0));
    int right = all(seen, PAGE, 'b');
    memset(page, 'd', PAGE);
    MUST(pwrite(direct, page, PAGE, PAGE));
    MUST(pread(buffered, seen, PAGE, PAGE));
    right &= all(seen, PAGE, 'd');
    free(page);
    free(seen);
    return right; // both stay open
}

static char *numbered(const char *dir, const char *what, long n) {
    char *name = NULL;
    MUST(asprintf(&name, "%s-%ld", what, n));
    return path_in(dir, name);
}

// Each child stays until all have done their part.
static void processes(const char *dir, long count) {
    int done[2], leave[2];
    char byte = 0;
    both_right(path_in(dir, "parent"));
    MUST(pipe(done));
    MUST(pipe(leave));
    for (long n = 0; n < count; n++) {
        if (MUST(fork()) == 0) {
            close(leave[1]);
            byte = both_right(numbered(dir, "child", n)) ? 'r' : 'w';
            MUST(write(done[1], &byte, 1));
            MUST(read(leave[0], &byte, 1));
            _exit(0);
        }
    }
    long right = 0;
    for (long n = 0; n < count; n++) {
        MUST(read(done[0], &byte, 1));
        right += byte == 'r';
    }
    close(leave[1]);
    while (wait(NULL) > 0)
        ;
    say("%ld processes: %ld right", count, right);
}

static struct both shared;
static pthread_barrier_t together;

static void *thread(void *argument) {
    long n = (long)argument, right = 0;
    char *page = filled(PAGE, 0), *seen = filled(PAGE, 0);
    pthread_barrier_wait(&together);
    for (int round = 0; round < 40; round++) {
        memset(page, 'a' + (n + round) % 26, PAGE);
        MUST(pwrite(round % 2 ? shared.direct : shared.buffered, page, PAGE, n * PAGE));
        MUST(pread(round % 2 ? shared.buffered : shared.direct, seen, PAGE, n * PAGE));
        right += !memcmp(page, seen, PAGE);
    }
    // Everybody is there until the last has done his part.
    pthread_barrier_wait(&together);
    free(page);
    free(seen);
    return (void *)(long)(right == 40);
}

static void threads(const char *dir, long count) {
    shared = open_both(dir, "shared");
    pthread_t all[count];
    long right = 0;
    pthread_barrier_init(&together, NULL, count);
    for (long n = 0; n < count; n++)
        MUST(-pthread_create(&all[n], NULL, thread, (void *)n));
    for (long n = 0; n < count; n++) {
        void *result;
        pthread_join(all[n], &result);
        right += (long)result;
    }
    say("%ld threads: %ld right", count, right);
}

static void mappings(const char *dir, long count) {
    struct both file = open_both(dir, "mapped");
    char *page = filled(PAGE, 'd'), *seen = filled(PAGE, 0), *at[count];
    long right = 0;
    for (long n = 0; n < count; n++)
        at[n] = map_page(file.buffered, n * PAGE);
    // Beside the first mapping, which fits: it must not go past the cache.
    MUST(pwrite(file.direct, page, PAGE, 0));
    right += all(at[0], PAGE, 'd');
    for (long n = 0; n < count; n++)
        memset(at[n], 'A' + n, PAGE);
    for (long n = 0; n < count; n++) {
        MUST(pread(file.buffered, seen, PAGE, n * PAGE));
        right += all(seen, PAGE, 'A' + n);
        MUST(munmap(at[n], PAGE));
    }
    say("%ld mappings: %ld right", count, right);
}

static void files(const char *dir, long count) {
    long right = 0, lowest = MUST(dup(0));
    close(lowest);
    for (long n = 0; n < count; n++)
        right += both_right(numbered(dir, "file", n));
    for (long n = 0; n < 2 * count; n++)
        close(lowest + n);
    say("%ld files: %ld right", count, right);
}

static int calls(const char *dir) {
    char *page = filled(PAGE, 'c'), *path = path_in(dir, "calls");
    int buffered = MUST(open(path, O_RDWR | O_CREAT, 0644)), direct = MUST(open(path, O_RDWR | O_DIRECT));
    SAY(pwrite(buffered, page, PAGE, 0));
    SAY(pwrite(direct, page, PAGE, PAGE));
    SAY(lseek(buffered, 0, SEEK_END));
    return 0;
}

// A child opens a file of its own, and one that is open already.
static int forked(const char *dir) {
    char *path = path_in(dir, "inherited"), byte = 'f';
    int inherited = MUST(open(path, O_RDWR | O_CREAT, 0644));
    MUST(pwrite(inherited, &byte, 1, 0));
    if (MUST(fork()) == 0) {
        SAY(open(path_in(dir, "own"), O_RDWR | O_CREAT, 0644) >= 0 ? 0 : -1);
        SAY(pwrite(inherited, &byte, 1, 0));
        SAY(truncate(path, 1));
        SAY(fopen(path, "w") ? 0 : -1);
        _exit(0);
    }
    wait(NULL);
    return 0;
}

int main(int argc, char **argv) {
    const char *dir = argv[1], *what = argv[2];
    if (argc < 4)
        return strcmp(what, "forked") ? calls(dir) : forked(dir);
    void (*many)(const char *, long) = !strcmp(what, "processes") ? processes
                                       : !strcmp(what, "threads") ? threads
                                       : !strcmp(what, "mappings") ? mappings
                                                                   : files;
    many(dir, atol(argv[3]));
    many(dir, 2);
    return 0;
}
