// Direct reads and writes in all their forms, good and misaligned, and what the program sees of its flags: served through
// the page cache they must be the same.
#include "hazard.h"
#include "aio.h"

static char *memory;

static void flags_of(const char *what, int fd) {
    int flags = fcntl(fd, F_GETFL);
    say("%s:%s%s%s%s", what, flags & O_DIRECT ? " O_DIRECT" : "", flags & O_APPEND ? " O_APPEND" : "",
        flags & O_DSYNC ? " O_DSYNC" : "", flags & O_NONBLOCK ? " O_NONBLOCK" : "");
}

static void forms(const char *what, int fd) {
    say("--- %s", what);
    flags_of("as opened", fd);
    struct iovec whole[2] = {{memory, PAGE}, {memory + PAGE, PAGE}}, odd[2] = {{memory, PAGE}, {memory + PAGE, 100}};
    SAY(pwrite(fd, memory, PAGE, 0));
    SAY(pwrite(fd, memory, PAGE, 100));
    SAY(pwrite(fd, memory, 100, 0));
    SAY(pwrite(fd, memory + 1, PAGE, 0));
    SAY(pread(fd, memory, PAGE, 0));
    SAY(pread(fd, memory, PAGE, 100));
    SAY(pread(fd, memory, 100, 0));
    SAY(pread(fd, memory + 1, PAGE, 0));
    SAY(pread(fd, memory, 100, SIZE * 2));
    SAY(pwritev(fd, whole, 2, PAGE));
    SAY(pwritev(fd, odd, 2, PAGE));
    SAY(preadv(fd, whole, 2, PAGE));
    SAY(preadv(fd, odd, 2, PAGE));
    SAY(pwritev2(fd, whole, 2, PAGE, RWF_DSYNC));
    SAY(pwritev2(fd, odd, 2, PAGE, RWF_DSYNC));
    SAY(lseek(fd, 0, SEEK_SET));
    SAY(read(fd, memory, PAGE));
    SAY(write(fd, memory, PAGE));
    SAY(readv(fd, whole, 2));
    SAY(read(fd, memory, 100));
    SAY(write(fd, memory, 100));
    SAY(lseek(fd, 0, SEEK_CUR));
    SAY(write(fd, memory, 0));
    SAY(pwrite(fd, memory, PAGE, -1));
    SAY(lseek(fd, 0, SEEK_END));
    SAY(ftruncate(fd, SIZE));
    SAY(fsync(fd));
    SAY(fdatasync(fd));
}

// What one asynchronous request says.
static void asynchronous(int fd, int opcode, char *buffer, size_t bytes, off_t at) {
    aio_context_t context = 0;
    MUST(syscall(SYS_io_setup, 4, &context));
    struct iocb block = {.aio_lio_opcode = opcode,
                         .aio_fildes = fd,
                         .aio_buf = (uintptr_t)buffer,
                         .aio_nbytes = bytes,
                         .aio_offset = at};
    struct iocb *list[1] = {&block};
    struct io_event event = {0};
    SAY(syscall(SYS_io_submit, context, 1, list));
    SAY(syscall(SYS_io_getevents, context, 1, 1, &event, NULL));
    say("opcode %d, memory +%d, %zu at %ld: %ld", opcode, (int)((uintptr_t)buffer % PAGE), bytes, (long)at, (long)event.res);
    MUST(syscall(SYS_io_destroy, context));
}

static void changing(const char *path) {
    say("--- flags that come and go");
    int fd = MUST(open(path, O_RDWR));
    flags_of("buffered", fd);
    SAY(pwrite(fd, memory, 100, 0));
    SAY(fcntl(fd, F_SETFL, O_DIRECT));
    flags_of("set", fd);
    SAY(pwrite(fd, memory, 100, 0));
    SAY(fcntl(fd, F_SETFL, O_DIRECT | O_APPEND));
    flags_of("and one more", fd);
    int other = MUST(dup(fd));
    flags_of("a duplicate", other);
    SAY(write(other, memory, 100));
    SAY(write(other, memory, PAGE));
    SAY(lseek(fd, 0, SEEK_CUR));
    pid_t pid = MUST(fork());
    if (pid == 0) {
        flags_of("the child's", fd);
        SAY(pread(other, memory, 100, 0));
        SAY(pread(other, memory, PAGE, 0));
        _exit(0);
    }
    say_child("child", pid);
    SAY(fcntl(other, F_SETFL, O_NONBLOCK));
    flags_of("taken off", fd);
    SAY(pwrite(fd, memory, 100, 0));
    SAY(fcntl(fd, F_SETFL, O_DIRECT));
    flags_of("and on", other);
    MUST(close(other));
    SAY(pread(fd, memory, 100, 0));
    MUST(ftruncate(fd, SIZE));
    MUST(close(fd));
    int zero = MUST(open("/proc/self/status", O_RDONLY));
    SAY(fcntl(zero, F_SETFL, O_DIRECT));
    MUST(close(zero));
}

// A child that asks before anybody has used the descriptor.
static void unused(const char *path) {
    int fd = MUST(open(path, O_RDWR | O_DIRECT));
    pid_t pid = MUST(fork());
    if (pid == 0) {
        flags_of("a child's, never used", fd);
        SAY(pread(fd, memory, 100, 0));
        _exit(0);
    }
    say_child("child", pid);
    flags_of("never used", fd);
    pid = MUST(fork());
    if (pid == 0) {
        char number[16];
        snprintf(number, sizeof number, "%d", fd);
        MUST(execl("/proc/self/exe", "routed", path, number, NULL));
    }
    say_child("another program", pid);
    MUST(close(fd));
}

int main(int argc, char **argv) {
    memory = filled(8 * PAGE, 'm');
    if (argc > 2) {
        int inherited = atoi(argv[2]);
        flags_of("after exec", inherited);
        SAY(pread(inherited, memory, 100, 0));
        SAY(pread(inherited, memory, PAGE, 0));
        return 0;
    }
    char *path = path_in(argv[1], "f");
    int fd = MUST(open(path, O_RDWR | O_CREAT | O_EXCL | O_DIRECT, 0644));
    flags_of("created", fd);
    SAY(ftruncate(fd, SIZE));
    char *all_of_it = filled(SIZE, 'f');
    SAY(pwrite(fd, all_of_it, SIZE, 0));
    forms("direct", fd);
    forms("direct and synchronous", MUST(open(path, O_RDWR | O_DIRECT | O_DSYNC)));
    int appends = MUST(open(path, O_RDWR | O_DIRECT | O_APPEND));
    flags_of("appends", appends);
    SAY(write(appends, memory, PAGE));
    SAY(pwrite(appends, memory, PAGE, 0));
    SAY(write(appends, memory, 100));
    SAY(pwrite(appends, memory + 1, PAGE, 0));
    SAY(lseek(appends, 0, SEEK_END));
    int reads = MUST(open(path, O_RDONLY | O_DIRECT)), writes = MUST(open(path, O_WRONLY | O_DIRECT));
    SAY(pwrite(reads, memory, 100, 0));
    SAY(pread(writes, memory, 100, 0));
    SAY(pread(reads, memory, 100, 0));
    SAY(pwrite(writes, memory, 100, 0));
    asynchronous(fd, IOCB_CMD_PWRITE, memory, PAGE, 0);
    asynchronous(fd, IOCB_CMD_PWRITE, memory, 100, 0);
    asynchronous(fd, IOCB_CMD_PREAD, memory, PAGE, 0);
    asynchronous(fd, IOCB_CMD_PREAD, memory, PAGE, 100);
    changing(path);
    unused(path);
    memset(all_of_it, 0, SIZE);
    SAY(pread(fd, all_of_it, SIZE, 0));
    long sum = 0;
    for (long i = 0; i < SIZE; i++)
        sum = sum * 31 + all_of_it[i];
    say("in the end: %lx", sum);
}
