// O_DIRECT, O_APPEND and O_DSYNC turned on and off on an open file, also seen through a dup and a
// fork; F_GETFL tells what the program set.
#include "hazard.h"

static void attempt(const char *what, int fd) {
    char *page = filled(PAGE, 's');
    ssize_t aligned = pwrite(fd, page, PAGE, PAGE);
    say("%s: flags %#x, aligned %zd", what, fcntl(fd, F_GETFL), aligned);
    ssize_t n = pwrite(fd, page, 10, 5);
    say("%s: unaligned %zd %s", what, n, n < 0 ? strerrorname_np(errno) : "");
    free(page);
}

int main(int argc, char **argv) {
    (void)argc;
    char *path = path_in(argv[1], "f"), *page = filled(SIZE, '.');
    int fd = MUST(open(path, O_RDWR | O_CREAT, 0644)), other = MUST(dup(fd));
    MUST(pwrite(fd, page, SIZE, 0));
    for (int mapped = 0; mapped < 2; mapped++) {
        char *map = mapped ? map_page(fd, 2 * PAGE) : NULL;
        attempt("plain", fd);
        SAY(fcntl(fd, F_SETFL, O_DIRECT));
        attempt("direct", fd);
        attempt("direct, by the dup", other);
        pid_t pid = MUST(fork());
        if (pid == 0) {
            attempt("direct, in a child", fd);
            SAY(fcntl(fd, F_SETFL, 0));
            exit(0);
        }
        say_child("child turned it off", pid);
        attempt("plain again", fd);
        attempt("plain again, by the dup", other);
        SAY(fcntl(other, F_SETFL, O_DIRECT | O_APPEND));
        say("append: %zd", pwrite(fd, page, PAGE, 0));
        say("append: %zd", write(fd, page, PAGE));
        say("size: %ld", (long)lseek(fd, 0, SEEK_END));
        SAY(fcntl(fd, F_SETFL, O_NONBLOCK));
        attempt("nonblocking", fd);
        SAY(fcntl(fd, F_SETFL, 0));
        MUST(ftruncate(fd, SIZE));
        if (map)
            munmap(map, PAGE);
    }
    SAY(fcntl(fd, F_GETFD));
    SAY(fcntl(fd, F_SETFD, FD_CLOEXEC));
    SAY(fcntl(fd, F_GETFD));
    SAY(fcntl(fd, 9999, 1));
    SAY(fcntl(999, F_GETFL));
    SAY(fcntl(999, F_SETFL, O_DIRECT));
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 5, .l_len = 6};
    SAY(fcntl(fd, F_OFD_SETLK, &lock));
    SAY(fcntl(fd, F_OFD_SETLK, (void *)1));
    struct f_owner_ex owner = {F_OWNER_PID, getpid()};
    SAY(fcntl(fd, F_SETOWN_EX, &owner));
    owner.pid = 0;
    SAY(fcntl(fd, F_GETOWN_EX, &owner));
    say("owner is me: %d", owner.pid == getpid());
    uint64_t hint = 2;
    SAY(fcntl(fd, F_SET_RW_HINT, &hint));
    hint = 0;
    SAY(fcntl(fd, F_GET_RW_HINT, &hint));
    say("hint: %lu", (unsigned long)hint);
}
