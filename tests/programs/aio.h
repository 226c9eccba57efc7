// Linux AIO by libaio's functions, or (-DBY_NUMBER) by the system calls' numbers, as programs without libaio do it.
#pragma once
#include "hazard.h"
#include <linux/aio_abi.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#ifdef BY_NUMBER
// As libaio says errors.
#define CALL(...) ({ long rc_ = syscall(__VA_ARGS__); rc_ == -1 ? -errno : rc_; })
#define io_setup(n, c) CALL(SYS_io_setup, n, c)
#define io_destroy(c) CALL(SYS_io_destroy, c)
#define io_submit(c, n, l) CALL(SYS_io_submit, c, n, l)
#define io_cancel(c, b, e) CALL(SYS_io_cancel, c, b, e)
#define io_getevents(...) CALL(SYS_io_getevents, __VA_ARGS__)
struct mask {
    const sigset_t *set;
    size_t size;
};
#define io_pgetevents(c, min, n, e, t, s) CALL(SYS_io_pgetevents, c, min, n, e, t, &(struct mask){s, 8})
#else
int io_setup(int, aio_context_t *);
int io_destroy(aio_context_t);
int io_submit(aio_context_t, long, struct iocb **);
int io_cancel(aio_context_t, struct iocb *, struct io_event *);
int io_getevents(aio_context_t, long, long, struct io_event *, struct timespec *);
int io_pgetevents(aio_context_t, long, long, struct io_event *, struct timespec *, const sigset_t *);
int io_queue_init(int, aio_context_t *);
int io_queue_release(aio_context_t);
int io_queue_run(aio_context_t);
#endif

// A call that gives a result or a negative error: says it.
#define TELL(call) tell(#call, (long)(call))

UNUSED static long tell(const char *what, long rc) {
    if (rc < 0)
        say("%s: %s", what, strerrorname_np(-rc));
    else
        say("%s: %ld", what, rc);
    return rc;
}

UNUSED static struct iocb request(int opcode, int fd, const void *buffer, size_t bytes, off_t offset) {
    return (struct iocb){.aio_lio_opcode = opcode,
                         .aio_fildes = fd,
                         .aio_buf = (uintptr_t)buffer,
                         .aio_nbytes = bytes,
                         .aio_offset = offset};
}

UNUSED static struct timespec at_most(double seconds) {
    return (struct timespec){seconds, (seconds - (long)seconds) * 1e9};
}

// Submits one and waits for it: its result, or the error of a call.
UNUSED static long one(aio_context_t context, struct iocb block) {
    struct iocb *list[] = {&block};
    block.aio_data = 4711;
    long rc = io_submit(context, 1, list);
    if (rc != 1)
        return rc;
    struct io_event event = {0};
    rc = io_getevents(context, 1, 1, &event, NULL);
    if (rc != 1 || event.data != 4711 || event.obj != (uintptr_t)&block || event.res2 != 0)
        say("  an event that isn't right: %ld, data %lld", rc, (long long)event.data);
    return event.res;
}
