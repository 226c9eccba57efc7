// A program's first request of POSIX AIO, while other threads are in the very functions of libc's that make it.
#include "hazard.h"
#include <aio.h>

#define THREADS 4

static int fd;
static volatile int stop, wrong;

static void *calls(UNUSED void *unused) {
    char bytes[16];
    while (!stop) {
        if (pread(fd, bytes, 10, PAGE - 6) != 6 || pwrite(fd, bytes, 0, 0) != 0)
            wrong = 1;
        if (fdatasync(-1) != -1 || errno != EBADF || fsync(-1) != -1 || errno != EBADF)
            wrong = 1;
    }
    return NULL;
}

int main(int argc, char **argv) {
    if (argc < 2)
        return 1;
    char *page = filled(PAGE, 'x');
    fd = (int)MUST(open(path_in(argv[1], "data"), O_RDWR | O_CREAT, 0600));
    MUST(pwrite(fd, page, PAGE, 0));
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, calls, NULL);
    usleep(2000);
    struct aiocb block = {.aio_fildes = fd, .aio_buf = page, .aio_nbytes = PAGE};
    const struct aiocb *list[] = {&block};
    for (int i = 0; i < 20; i++) {
        MUST(i % 4 == 3 ? aio_fsync(O_DSYNC, &block) : i % 4 == 2 ? aio_read(&block) : aio_write(&block));
        while (aio_error(&block) == EINPROGRESS)
            aio_suspend(list, 1, NULL);
        if (aio_return(&block) != (i % 4 == 3 ? 0 : PAGE))
            wrong = 1;
    }
    stop = 1;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    say("%s", wrong ? "wrong" : "right");
    return 0;
}
