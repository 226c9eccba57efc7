// What storm.c does by every door: an actor has a page of a file to itself, which lies among those of others, writes it by
// one door and reads it by another. What it reads must be what it wrote.
#pragma once
#include "hazard.h"
#include <aio.h>
#include <dirent.h>
#include <linux/aio_abi.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>

// Both files are in mixed use: what is copied goes from and to the actor's page of the other one.
static struct both file, other;
// Data that was another's, or older: a bare kernel loses some. Calls that failed, or did half.
static volatile long wrong, failed, done;

struct actor {
    off_t at;
    char *page, *seen, *map;
    FILE *stream;
    int pipe[2];
    aio_context_t *context;
    struct aiocb posix;
    struct iocb request;
    unsigned turn;
    int is_forked;
};

enum door { BUFFERED, DIRECT, STREAM, COPIED, SPLICED, POSIX, LINUX, LINUX_BUFFERED, MAPPED, SENT, DOORS };

static long posix_done(struct actor *me, int started) {
    if (started)
        return -1;
    const struct aiocb *list[] = {&me->posix};
    while (aio_error(&me->posix) == EINPROGRESS)
        aio_suspend(list, 1, NULL);
    return aio_return(&me->posix);
}

static long by_posix(struct actor *me, int write) {
    me->posix = (struct aiocb){.aio_fildes = file.direct, .aio_buf = write ? me->page : me->seen, .aio_nbytes = PAGE, .aio_offset = me->at};
    me->posix.aio_sigevent.sigev_notify = SIGEV_NONE;
    return posix_done(me, write ? aio_write(&me->posix) : aio_read(&me->posix));
}

// A context is one actor's: nobody else takes its completions.
static long by_linux(struct actor *me, int fd, int write) {
    struct io_event event = {0};
    me->request = (struct iocb){.aio_fildes = fd, .aio_lio_opcode = write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
        .aio_buf = (uintptr_t)(write ? me->page : me->seen), .aio_nbytes = PAGE, .aio_offset = me->at};
    struct iocb *list[] = {&me->request};
    if (syscall(SYS_io_submit, *me->context, 1, list) != 1)
        return -1;
    long got;
    while ((got = syscall(SYS_io_getevents, *me->context, 1, 1, &event, NULL)) == -1 && errno == EINTR)
        continue;
    return got == 1 ? event.res : -1;
}

static long write_by(struct actor *me, enum door door) {
    off_t from = me->at, to = me->at;
    switch (door) {
    case DIRECT: return pwrite(file.direct, me->page, PAGE, me->at);
    case STREAM: return fseeko(me->stream, me->at, SEEK_SET) ? -1 : (long)fwrite(me->page, 1, PAGE, me->stream);
    case COPIED:
    case SENT:
        return pwrite(other.buffered, me->page, PAGE, from) == PAGE ? copy_file_range(other.buffered, &from, file.buffered, &to, PAGE, 0) : -1;
    case SPLICED: return write(me->pipe[1], me->page, PAGE) == PAGE ? splice(me->pipe[0], NULL, file.buffered, &to, PAGE, 0) : -1;
    case POSIX: return by_posix(me, 1);
    case LINUX: return by_linux(me, file.direct, 1);
    case LINUX_BUFFERED: return by_linux(me, file.buffered, 1);
    case MAPPED: return (memcpy(me->map, me->page, PAGE), PAGE);
    default: return pwrite(file.buffered, me->page, PAGE, me->at);
    }
}

static long read_by(struct actor *me, enum door door) {
    off_t from = me->at, to = me->at;
    memset(me->seen, 0, PAGE);
    switch (door) {
    case DIRECT: return pread(file.direct, me->seen, PAGE, me->at);
    case STREAM: return fseeko(me->stream, me->at, SEEK_SET) ? -1 : (long)fread(me->seen, 1, PAGE, me->stream);
    case COPIED:
        return copy_file_range(file.buffered, &from, other.buffered, &to, PAGE, 0) == PAGE ? pread(other.direct, me->seen, PAGE, me->at) : -1;
    case SPLICED: return splice(file.buffered, &from, me->pipe[1], NULL, PAGE, 0) == PAGE ? read(me->pipe[0], me->seen, PAGE) : -1;
    case SENT: return sendfile(me->pipe[1], file.buffered, &from, PAGE) == PAGE ? read(me->pipe[0], me->seen, PAGE) : -1;
    case POSIX: return by_posix(me, 0);
    case LINUX: return by_linux(me, file.direct, 0);
    case LINUX_BUFFERED: return by_linux(me, file.buffered, 0);
    case MAPPED: return (memcpy(me->seen, me->map, PAGE), PAGE);
    default: return pread(file.buffered, me->seen, PAGE, me->at);
    }
}

// Whether the actor can.
static int has(struct actor *me, enum door door) {
    switch (door) {
    case STREAM: return me->stream != NULL;
    case MAPPED: return me->map != NULL;
    case SPLICED:
    case SENT: return me->pipe[1] != 0;
    case LINUX:
    case LINUX_BUFFERED: return me->context != NULL;
    // After a fork glibc waits for threads that only the parent has.
    case POSIX: return !me->is_forked;
    default: return 1;
    }
}

// What a call that failed has left in the pipe.
static void drain(struct actor *me) {
    int error = errno, left = 0;
    while (me->pipe[1] && ioctl(me->pipe[0], FIONREAD, &left) == 0 && left > 0)
        if (read(me->pipe[0], me->seen, PAGE) <= 0)
            break;
    errno = error;
}

// By the next pair of doors: in DOORS * DOORS turns each with each.
static void act(struct actor *me) {
    unsigned turn = me->turn++;
    enum door in = turn % DOORS, out = (turn + turn / DOORS) % DOORS;
    in = has(me, in) ? in : BUFFERED;
    out = has(me, out) ? out : DIRECT;
    memset(me->page, 'a' + (turn + me->at / PAGE) % 26, PAGE);
    long n = write_by(me, in), m = n == PAGE ? read_by(me, out) : PAGE;
    __sync_fetch_and_add(&done, 1);
    if (n != PAGE || m != PAGE) {
        drain(me);
        if (__sync_fetch_and_add(&failed, 1) < 5)
            say("door %d: %ld, door %d: %ld (%s)", in, n, out, m, strerrorname_np(errno));
    } else if (memcmp(me->page, me->seen, PAGE))
        __sync_fetch_and_add(&wrong, 1);
}

enum { WITH_PIPE = 1, WITH_STREAM = 2, WITH_MAP = 4, WITH_CONTEXT = 8, WITH_ALL = 15 };

static void enter(struct actor *me, int page, int with) {
    *me = (struct actor){.at = (off_t)page * PAGE, .page = filled(PAGE, 0), .seen = filled(PAGE, 0), .turn = page * 7};
    if (with & WITH_PIPE)
        MUST(pipe2(me->pipe, O_CLOEXEC));
    if (with & WITH_STREAM) {
        me->stream = fopen(file.path, "r+e");
        if (!me->stream)
            MUST(-1);
        setvbuf(me->stream, NULL, _IONBF, 0);
    }
    if (with & WITH_MAP)
        me->map = map_page(file.buffered, me->at);
    if (with & WITH_CONTEXT) {
        me->context = calloc(1, sizeof *me->context);
        MUST(syscall(SYS_io_setup, 4, me->context));
    }
}

static void leave(struct actor *me) {
    if (me->context)
        MUST(syscall(SYS_io_destroy, *me->context));
    if (me->map)
        MUST(munmap(me->map, PAGE));
    if (me->stream)
        MUST(fclose(me->stream));
    if (me->pipe[1]) {
        MUST(close(me->pipe[0]));
        MUST(close(me->pipe[1]));
    }
    free(me->context);
    free(me->page);
    free(me->seen);
}

// Of /proc/self/status, in KiB.
static long resident(void) {
    char line[256];
    long kib = 0;
    FILE *status = fopen("/proc/self/status", "re");
    while (fgets(line, sizeof line, status))
        sscanf(line, "VmRSS: %ld", &kib);
    fclose(status);
    return kib;
}

static int descriptors(void) {
    int count = 0;
    DIR *all = opendir("/proc/self/fd");
    while (readdir(all))
        count++;
    closedir(all);
    return count;
}
