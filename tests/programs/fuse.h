// A filesystem in user space, as small as can be: one file "f", whose bytes the serving process keeps. It can be slow:
// while `slow` is set a read waits, and while `slow_call` is a request's number, such a request.
#pragma once
#include "hazard.h"
#include <linux/fuse.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>

#define FUSE_SIZE (1 << 20)

static struct fuse_shared {
    volatile int slow, ready;
    volatile unsigned slow_call, attributes_valid;
    volatile long size;
    char bytes[FUSE_SIZE];
} *fuse;

static void fuse_reply(int device, uint64_t unique, int error, const void *body, size_t size) {
    struct fuse_out_header head = {sizeof head + size, -error, unique};
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)body, size}};
    if (writev(device, parts, 2) < 0 && errno != ENOENT && errno != EINTR)
        _exit(3);
}

static struct fuse_attr fuse_attributes(uint64_t node) {
    struct fuse_attr a = {.ino = node, .blksize = PAGE, .nlink = 1};
    a.mode = node == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0666;
    a.size = node == FUSE_ROOT_ID ? 0 : fuse->size;
    a.blocks = a.size / 512;
    return a;
}

static void fuse_answer(int device, struct fuse_in_header *in, const void *argument) {
    while (fuse->slow_call == in->opcode)
        usleep(1000);
    struct fuse_attr_out attributes = {.attr_valid = fuse->attributes_valid, .attr = fuse_attributes(in->nodeid)};
    switch (in->opcode) {
    case FUSE_INIT: {
        struct fuse_init_out out = {.major = 7, .minor = 31, .max_write = 65536, .max_background = 16,
                                    .congestion_threshold = 12, .time_gran = 1};
        fuse_reply(device, in->unique, 0, &out, sizeof out);
        fuse->ready = 1;
        return;
    }
    case FUSE_LOOKUP: {
        struct fuse_entry_out out = {.nodeid = 2, .entry_valid = 3600, .attr_valid = fuse->attributes_valid,
                                     .attr = fuse_attributes(2)};
        int there = strcmp(argument, "f") == 0;
        fuse_reply(device, in->unique, there ? 0 : ENOENT, &out, there ? sizeof out : 0);
        return;
    }
    case FUSE_SETATTR: {
        const struct fuse_setattr_in *set = argument;
        if (set->valid & FATTR_SIZE)
            fuse->size = set->size;
        attributes.attr = fuse_attributes(in->nodeid);
    } // fall through
    case FUSE_GETATTR:
        fuse_reply(device, in->unique, 0, &attributes, sizeof attributes);
        return;
    case FUSE_OPEN:
    case FUSE_OPENDIR: {
        struct fuse_open_out out = {0};
        fuse_reply(device, in->unique, 0, &out, sizeof out);
        return;
    }
    case FUSE_READ: {
        const struct fuse_read_in *ask = argument;
        while (fuse->slow)
            usleep(1000);
        long left = fuse->size - (long)ask->offset;
        long length = left < 0 ? 0 : left < ask->size ? left : ask->size;
        fuse_reply(device, in->unique, 0, fuse->bytes + ask->offset, length);
        return;
    }
    case FUSE_WRITE: {
        const struct fuse_write_in *ask = argument;
        struct fuse_write_out out = {.size = ask->size};
        memcpy(fuse->bytes + ask->offset, ask + 1, ask->size);
        if (fuse->size < (long)(ask->offset + ask->size))
            fuse->size = ask->offset + ask->size;
        fuse_reply(device, in->unique, 0, &out, sizeof out);
        return;
    }
    case FUSE_STATFS: {
        struct fuse_statfs_out out = {.st = {.bsize = PAGE, .frsize = PAGE, .namelen = 255}};
        fuse_reply(device, in->unique, 0, &out, sizeof out);
        return;
    }
    case FUSE_FLUSH:
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
    case FUSE_FSYNC:
    case FUSE_ACCESS:
        fuse_reply(device, in->unique, 0, NULL, 0);
        return;
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
        return;
    default:
        fuse_reply(device, in->unique, ENOSYS, NULL, 0);
    }
}

// Mounts it on a directory, in a mount namespace of this process's own, and serves it in a child until this process ends.
UNUSED static void serve_fuse(const char *at) {
    fuse = mmap(NULL, sizeof *fuse, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    fuse->attributes_valid = 3600;
    MUST(unshare(CLONE_NEWNS));
    MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    int device = MUST(open("/dev/fuse", O_RDWR | O_CLOEXEC));
    char options[100];
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", device);
    MUST(mount("tiny", at, "fuse", 0, options));
    if (MUST(fork()) == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        static char request[FUSE_SIZE];
        for (;;) {
            struct fuse_in_header *in = (void *)request;
            if (read(device, request, sizeof request) > 0)
                fuse_answer(device, in, in + 1);
            else if (errno != EINTR && errno != ENOENT)
                break;
        }
        _exit(0);
    }
    close(device);
}
