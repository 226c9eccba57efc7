// Without a main: a library that is linked to liburing, for a program that isn't.
#include <liburing.h>
#include <string.h>

int uses_ring(void);
int uses_ring(void) {
    struct io_uring ring;
    int rc = io_uring_queue_init(4, &ring, 0);
    if (rc == 0)
        io_uring_queue_exit(&ring);
    return rc;
}
