// Things after which a direct write beside a mapping must still be one that falls back: whether it did is not this
// program's to say.
#include "hazard.h"
#include <aio.h>

// A child has a page of the file mapped, and only the child: made by itself, or inherited.
static void a_child_maps(const char *dir, int inherited) {
    struct both file = open_both(dir, "mapped by a child");
    int ready[2], done[2];
    MUST(pipe(ready));
    MUST(pipe(done));
    char byte = 0, *page = filled(PAGE, 'd'), *mapped = inherited ? map_page(file.buffered, PAGE) : NULL;
    pid_t child = MUST(fork());
    if (child == 0) {
        close(done[1]);
        if (!inherited)
            mapped = map_page(file.buffered, PAGE);
        mapped[0] = 'm';
        MUST(write(ready[1], &byte, 1));
        _exit(read(done[0], &byte, 1) == 0 ? 0 : 1);
    }
    if (inherited)
        munmap(mapped, PAGE);
    MUST(read(ready[0], &byte, 1));
    MUST(pwrite(file.direct, page, PAGE, 2 * PAGE));
    close(done[1]);
    say_child("the child", child);
}

// libc makes the writes, in threads of its own: alone, in a process that has others, and in a child.
static void one_later(int fd, char *page, off_t at, int listed) {
    struct aiocb block = {.aio_fildes = fd, .aio_buf = page, .aio_nbytes = PAGE, .aio_offset = at, .aio_lio_opcode = LIO_WRITE};
    struct aiocb *list[] = {&block};
    MUST(listed ? lio_listio(LIO_WAIT, list, 1, NULL) : aio_write(&block));
    while (aio_error(&block) == EINPROGRESS)
        aio_suspend((const struct aiocb *const *)list, 1, NULL);
    MUST(aio_return(&block));
    MUST(aio_fsync(O_DSYNC, &block));
    while (aio_error(&block) == EINPROGRESS)
        aio_suspend((const struct aiocb *const *)list, 1, NULL);
    MUST(aio_return(&block));
}

static void later(const char *dir) {
    struct both file = open_both(dir, "written later");
    char *page = filled(PAGE, 'd');
    map_page(file.buffered, PAGE)[0] = 'm';
    // The child first: after a fork libc waits for threads that it no longer has.
    pid_t child = MUST(fork());
    if (child == 0) {
        for (int i = 0; i < 6; i++)
            one_later(file.direct, page, 2 * PAGE, i % 2);
        _exit(0);
    }
    say_child("the child", child);
    for (int i = 0; i < 3; i++) {
        one_later(file.direct, page, 2 * PAGE, 0);
        one_later(file.direct, page, 3 * PAGE, 1);
    }
}

// A descriptor becomes direct after it was opened.
static void setfl(const char *dir) {
    struct both file = open_both(dir, "made direct");
    char *page = filled(PAGE, 'd');
    map_page(file.buffered, PAGE)[0] = 'm';
    MUST(fcntl(file.buffered, F_SETFL, MUST(fcntl(file.buffered, F_GETFL)) | O_DIRECT));
    MUST(pwrite(file.buffered, page, PAGE, 2 * PAGE));
}

// All descriptors but three are closed, as daemons do.
static void closes_all(const char *dir) {
    closefrom(3);
    struct both file = open_both(dir, "opened after all were closed");
    char *page = filled(PAGE, 'd');
    map_page(file.buffered, PAGE)[0] = 'm';
    MUST(pwrite(file.direct, page, PAGE, 2 * PAGE));
}

// Children that share our memory close our numbers in a table of their own. Once more, what the parent has open stays
// known, and nothing piles up.
static void vforks(const char *dir) {
    struct both file = open_both(dir, "closed by children");
    char *page = filled(PAGE, 'd');
    for (int i = 0; i < 20; i++) {
        char *mapped = map_page(file.buffered, PAGE);
        mapped[0] = 'm';
        MUST(pwrite(file.direct, page, PAGE, 2 * PAGE));
        munmap(mapped, PAGE);
        pid_t child = MUST(vfork());
        if (child == 0) {
            close(file.direct);
            close(file.buffered);
            _exit(0);
        }
        waitpid(child, NULL, 0);
        MUST(pread(file.buffered, page, PAGE, 0));
    }
    int open = 0;
    for (int fd = 0; fd < 4096; fd++) {
        char link[64], target[PATH_MAX] = "";
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        if (readlink(link, target, sizeof target - 1) > 0 && strstr(target, "closed by children"))
            open++;
    }
    say("numbers of the file: %s", open <= 4 ? "few" : "many");
    if (open > 4)
        exit(1);
}

// Not by the calls' own names.
static void by_number(const char *dir) {
    struct both file = open_both(dir, "written by number");
    char *page = filled(PAGE, 'd');
    map_page(file.buffered, PAGE)[0] = 'm';
    MUST(syscall(SYS_pwrite64, file.direct, page, PAGE, 2 * PAGE));
    MUST(syscall(SYS_pwritev2, file.direct, &(struct iovec){page, PAGE}, 1, 2 * PAGE, 0, 0));
}

// The file grows into a mapping of its end: by appends, whatever place they name. What for once is no append stays away.
static void appends(const char *dir) {
    struct both file = open_both(dir, "grows into a mapping");
    int append = MUST(open(file.path, O_RDWR | O_APPEND | O_DIRECT));
    char *page = filled(PAGE, 'd');
    struct iovec one = {page, PAGE};
    if (mmap(NULL, 5 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file.buffered, SIZE - PAGE) == MAP_FAILED)
        MUST(-1);
    MUST(write(append, page, PAGE));
    MUST(pwrite(append, page, PAGE, 0));
    MUST(pwritev2(file.direct, &one, 1, 0, RWF_APPEND));
    MUST(pwritev2(file.direct, &one, 1, -1, RWF_APPEND));
    if (pwritev2(append, &one, 1, 0, 0x20 /* RWF_NOAPPEND */) == -1 && errno != EOPNOTSUPP)
        MUST(-1);
    struct stat st;
    MUST(fstat(append, &st));
    if (st.st_size != SIZE + 4 * PAGE)
        exit(1);
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    switch (argv[2][0]) {
    case 'c': a_child_maps(argv[1], 0); break;
    case 'i': a_child_maps(argv[1], 1); break;
    case 's': setfl(argv[1]); break;
    case 'v': vforks(argv[1]); break;
    case 'a': closes_all(argv[1]); break;
    case 'b': by_number(argv[1]); break;
    case 'g': appends(argv[1]); break;
    case 'l': later(argv[1]); break;
    }
    say("written");
    return 0;
}
