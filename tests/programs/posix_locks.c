// POSIX locks belong to the process and go when it closes any descriptor of the file. Ours must
// not cost it one: not when a direct write falls back, not when it executes itself.
#include "hazard.h"

static void say_held(const char *what, const char *path) {
    pid_t parent = getpid(), pid = MUST(fork());
    if (pid == 0) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 10};
        int fd = MUST(open(path, O_RDWR));
        MUST(fcntl(fd, F_GETLK, &lock));
        say("%s: %s", what, lock.l_type == F_UNLCK ? "free" : lock.l_pid == parent ? "held" : "held by another");
        exit(0);
    }
    waitpid(pid, NULL, 0);
}

static void write_direct(int fd, const char *what) {
    char *page = filled(PAGE, 'p');
    say("%s: %zd", what, pwrite(fd, page, PAGE, 2 * PAGE));
    free(page);
}

int main(int argc, char **argv) {
    char *path = path_in(argv[1], "f");
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 10};
    if (argc > 2) {
        int direct = atoi(argv[2]);
        say_held("after exec", path);
        int buffered = MUST(open(path, O_RDWR));
        char *map = map_page(buffered, PAGE);
        map[0] = 'm';
        write_direct(direct, "after exec");
        say_held("after a write after exec", path);
        close(buffered);
        say_held("closed one after exec", path);
        return 0;
    }
    struct both file = open_both(argv[1], "f");
    SAY(fcntl(file.buffered, F_SETLK, &lock));
    say_held("locked", path);
    write_direct(file.direct, "direct");
    say_held("after a direct write", path);
    char *map = map_page(file.buffered, PAGE);
    map[0] = 'm';
    write_direct(file.direct, "beside a mapping");
    say_held("after a write beside a mapping", path);
    munmap(map, PAGE);
    say_held("after munmap", path);
    MUST(ftruncate(file.buffered, SIZE / 2));
    write_direct(file.direct, "again");
    say_held("after truncation", path);
    SAY(truncate(path, SIZE));
    say_held("after truncate by name", path);
    // O_TRUNC by another process, then a fork that ends.
    pid_t pid = MUST(fork());
    if (pid == 0) {
        write_direct(file.direct, "child");
        exit(0);
    }
    say_child("child", pid);
    say_held("after a child wrote", path);
    char number[16];
    snprintf(number, sizeof number, "%d", file.direct);
    fflush(stdout);
    execl(argv[0], argv[0], argv[1], number, NULL);
    say("exec failed");
}
