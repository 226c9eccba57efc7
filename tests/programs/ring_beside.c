// Direct writes through a ring, or by pwrite where there is none, beside stores through a mapping: each write ends in the
// page that is stored to, and no byte is both's. Counts the rounds after which either is lost.
#include "hazard.h"
#include <liburing.h>
#include <stdatomic.h>

#define WRITE (4 * 1024 * 1024 + 512)
#define SECONDS 8
#define ENOUGH 3

static struct io_uring ring;
static int has_ring;
static _Atomic int begun, stop;
static _Atomic uint64_t round_now, round_stored;
static uint64_t *stored;

static void *store(UNUSED void *unused) {
    for (uint64_t n = 1; !stop; n++) {
        while (round_now != n || !begun)
            if (stop)
                return NULL;
        // Sometime in the write.
        for (volatile int i = 0; i < (int)(n * 7919 % 60) * 2000; i++)
            ;
        *(_Atomic uint64_t *)stored = n;
        round_stored = n;
    }
    return NULL;
}

static long write_all(int fd, void *from, size_t len) {
    if (!has_ring)
        return pwrite(fd, from, len, 0);
    struct io_uring_cqe *done = NULL;
    io_uring_prep_write(io_uring_get_sqe(&ring), fd, from, (unsigned)len, 0);
    io_uring_submit(&ring);
    io_uring_wait_cqe(&ring, &done);
    long result = done->res;
    io_uring_cqe_seen(&ring, done);
    return result;
}

int main(int argc, char **argv) {
    if (argc < 2)
        return 1;
    int rc = io_uring_queue_init(4, &ring, 0);
    has_ring = rc == 0;
    say("a ring: %s", has_ring ? "made" : strerrorname_np(-rc));
    char *path = path_in(argv[1], "data");
    int fd = (int)MUST(open(path, O_RDWR | O_CREAT, 0600));
    MUST(ftruncate(fd, 2 * SIZE));
    int direct = (int)MUST(open(path, O_RDWR | O_DIRECT));
    char *map = mmap(NULL, 2 * SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    stored = (uint64_t *)(map + WRITE + 64);
    uint64_t *buffer = NULL, *seen = malloc(WRITE);
    if (map == MAP_FAILED || posix_memalign((void **)&buffer, PAGE, WRITE) != 0)
        return 1;
    pthread_t thread;
    pthread_create(&thread, NULL, store, NULL);
    long lost = 0;
    time_t end = time(NULL) + SECONDS;
    for (uint64_t n = 1; time(NULL) < end && lost < ENOUGH; n++) {
        for (size_t i = 0; i < WRITE / 8; i++)
            buffer[i] = n;
        begun = 0;
        round_now = n;
        begun = 1;
        if (write_all(direct, buffer, WRITE) != WRITE)
            say("a write failed");
        while (round_stored != n)
            ;
        int right = pread(fd, seen, WRITE, 0) == WRITE && *(volatile uint64_t *)stored == n;
        for (size_t i = 0; i < WRITE / 8 && right; i++)
            right = seen[i] == n;
        lost += !right;
    }
    stop = 1;
    pthread_join(thread, NULL);
    say("%s lost", lost ? "updates" : "nothing");
    return 0;
}
