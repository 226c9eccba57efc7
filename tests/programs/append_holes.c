// Direct appends to a file that this process maps, so that they fall back, while a process that knows the file by its
// name alone empties it: `fenced` like this one, or `unfenced`. Says how many times the file began with a hole.
#include "hazard.h"

static int begins_with_a_hole(int fd) {
    char c = 0;
    struct stat before, after;
    fstat(fd, &before);
    if (before.st_size <= PAGE || pread(fd, &c, 1, 0) != 1 || c)
        return 0;
    fstat(fd, &after);
    return after.st_size >= before.st_size && pread(fd, &c, 1, 0) == 1 && !c;
}

int main(int argc, char **argv) {
    if (argc == 4) { // one that knows the file by its name alone
        srand(1);
        for (char c; read(3, &c, 1) < 0; usleep(rand() % 1000))
            MUST(truncate(argv[1], 0));
        return 0;
    }
    const char *path = argv[1];
    char *page = filled(PAGE, 'd');
    int until[2], holes = 0;
    MUST(pipe(until));
    MUST(close(open(path, O_RDWR | O_CREAT | O_TRUNC, 0600)));
    pid_t pid = MUST(fork());
    if (pid == 0) {
        fcntl(until[0], F_SETFL, O_NONBLOCK);
        MUST(dup2(until[0], 3));
        close(until[1]);
        if (!strcmp(argv[2], "unfenced"))
            unsetenv("LD_PRELOAD");
        execl(argv[0], argv[0], path, argv[2], "empties", NULL);
        _exit(1);
    }
    close(until[0]);
    int map = MUST(open(path, O_RDWR)), direct = MUST(open(path, O_WRONLY | O_APPEND | O_DIRECT));
    char *memory = mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
    if (memory == MAP_FAILED)
        MUST(-1);
    for (double begun = now(); now() - begun < 2;) {
        MUST(write(direct, page, PAGE));
        if (begins_with_a_hole(map)) {
            holes++;
            MUST(truncate(path, 0));
        }
    }
    close(until[1]);
    MUST(waitpid(pid, NULL, 0));
    say("holes: %d", holes);
    return 0;
}
