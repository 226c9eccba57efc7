// Parent and children write through one inherited descriptor: every record lands at an offset of
// its own, as the kernel's lock on the shared offset has it.
#include "hazard.h"

enum { RECORD = 4096, COUNT = 200, WRITERS = 4 };

static void writer(int fd, int who) {
    char *record = filled(RECORD, 'a' + who);
    for (int i = 0; i < COUNT; i++)
        if (write(fd, record, RECORD) != RECORD)
            exit(3);
}

static void series(const char *what, const char *path, int fd) {
    MUST(ftruncate(fd, 0));
    MUST(lseek(fd, 0, SEEK_SET));
    pid_t pids[WRITERS];
    for (int who = 0; who < WRITERS; who++)
        if ((pids[who] = MUST(fork())) == 0) {
            writer(fd, who);
            _exit(0);
        }
    for (int who = 0; who < WRITERS; who++)
        say_child(what, pids[who]);
    struct stat st;
    MUST(stat(path, &st));
    say("%s: size %ld, offset %ld", what, (long)st.st_size, (long)lseek(fd, 0, SEEK_CUR));
    int count[WRITERS] = {0}, torn = 0, check = MUST(open(path, O_RDONLY));
    char *record = filled(RECORD, 0);
    while (read(check, record, RECORD) == RECORD) {
        int who = record[0] - 'a';
        if (who < 0 || who >= WRITERS || !all(record, RECORD, record[0]))
            torn++;
        else
            count[who]++;
    }
    close(check);
    for (int who = 0; who < WRITERS; who++)
        say("%s: writer %d: %d records", what, who, count[who]);
    say("%s: torn or lost: %d", what, torn);
}

int main(int argc, char **argv) {
    (void)argc;
    struct both file = open_both(argv[1], "f");
    series("buffered", file.path, file.buffered);
    series("direct", file.path, file.direct);
    // As a shell does it: (a; b) >file
    char command[PATH_MAX + 200];
    snprintf(command, sizeof command, "(echo one; (echo two); echo three & wait; sh -c 'echo four') >%s/out; cat %s/out",
        argv[1], argv[1]);
    fflush(stdout);
    say("shell: %d", system(command));
    unlink(file.path);
}
