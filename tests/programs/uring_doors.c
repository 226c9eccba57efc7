// Every way by which liburing makes a ring: it calls the kernel past libc, so that a fence must stand at liburing's own
// functions. Says what each returns; and through a ring that could be made, what a write returns.
#include "hazard.h"
#include <liburing.h>
#include <sys/syscall.h>

static void say_made(const char *what, int rc, struct io_uring *ring) {
    say("%s: %s", what, rc == 0 ? "made" : strerrorname_np(-rc));
    if (rc == 0)
        io_uring_queue_exit(ring);
}

// Through liburing 2's ring: a page, and what became of it.
static void say_write(int fd) {
    struct io_uring ring;
    if (io_uring_queue_init(4, &ring, 0) != 0)
        return say("no ring, no write");
    char *page = filled(PAGE, 'u');
    struct io_uring_sqe *request = io_uring_get_sqe(&ring);
    struct io_uring_cqe *done = NULL;
    io_uring_prep_write(request, fd, page, PAGE, 0);
    io_uring_submit(&ring);
    io_uring_wait_cqe(&ring, &done);
    say("a write through it: %d", done->res);
    io_uring_queue_exit(&ring);
    free(page);
}

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    struct both file = open_both(argv[1], "data");
    struct io_uring ring;
    struct io_uring_params params = {0};
    say_made("io_uring_queue_init", io_uring_queue_init(4, &ring, 0), &ring);
    say_made("io_uring_queue_init_params", io_uring_queue_init_params(4, &ring, &params), &ring);

    struct io_uring_probe *probe = io_uring_get_probe();
    say("io_uring_get_probe: %s", probe ? "one" : "none");
    if (probe)
        io_uring_free_probe(probe);

    memset(&params, 0, sizeof params);
    int fd = io_uring_setup(4, &params);
    say("io_uring_setup: %s", fd >= 0 ? "made" : strerrorname_np(-fd));
    if (fd >= 0)
        say_made("io_uring_queue_mmap", io_uring_queue_mmap(fd, &params, &ring), &ring);

    memset(&params, 0, sizeof params);
    errno = 0;
    fd = (int)syscall(SYS_io_uring_setup, 4, &params);
    say("syscall(io_uring_setup): %s", fd >= 0 ? "made" : strerrorname_np(errno));
    if (fd >= 0)
        close(fd);
    say_write(file.direct);
    return 0;
}
