// A program with a liburing of its own, whose names nobody can hook: makes a ring, opens a file both ways and writes a page
// through the ring.
#include "hazard.h"
#include <liburing.h>

int main(int argc, char **argv) {
    struct io_uring ring;
    int rc = io_uring_queue_init(4, &ring, 0);
    say("a ring of its own: %s", rc == 0 ? "made" : strerrorname_np(-rc));
    if (argc < 2 || rc != 0)
        return argc < 2;
    struct both file = open_both(argv[1], "data");
    char *page = filled(PAGE, 'u');
    struct io_uring_cqe *done = NULL;
    io_uring_prep_write(io_uring_get_sqe(&ring), file.direct, page, PAGE, 0);
    io_uring_submit(&ring);
    io_uring_wait_cqe(&ring, &done);
    say("a write through it: %d", done->res);
    io_uring_queue_exit(&ring);
    return 0;
}
