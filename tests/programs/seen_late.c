// What exists when a fence joins the process, or is made past it afterwards. With -DLIB it is a library whose
// constructor runs before a preload's: it maps files, closes them, opens a stream and takes a lock. The program then
// goes on step by step: it says where it is, and waits for a byte.
#include "hazard.h"

#define LEN (2 * 1024 * 1024)
extern char *early, *later;
extern FILE *stream;
extern int locked, number;

#ifdef LIB
char *early, *later;
FILE *stream;
int locked, number;

static int made(const char *name) {
    char *path = path_in(getenv("SEEN_LATE"), name);
    int fd = MUST(open(path, O_RDWR | O_CREAT, 0644));
    MUST(ftruncate(fd, 2 * LEN));
    free(path);
    return fd;
}

__attribute__((constructor)) static void before_everybody(void) {
    int fd = made("early");
    early = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, LEN);
    close(fd);
    fd = made("later");
    later = mmap(NULL, LEN, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (early == MAP_FAILED || later == MAP_FAILED)
        exit(99);
    char *path = path_in(getenv("SEEN_LATE"), "stream");
    stream = fopen(path, "w");
    locked = made("locked");
    MUST(lockf(locked, F_LOCK, 0));
    number = made("number");
}
#else

static int sized(const char *dir, const char *name) {
    char *path = path_in(dir, name);
    int fd = MUST(open(path, O_RDWR | O_CREAT, 0644));
    MUST(ftruncate(fd, LEN));
    free(path);
    return fd;
}

int main(int argc, char **argv) {
    (void)argc;
    const char *dir = argv[1];
    step("joined");
    MUST(mprotect(later, LEN, PROT_READ | PROT_WRITE));
    step("later is writable");
    MUST(munmap(early, LEN));
    MUST(mprotect(later, LEN, PROT_READ));
    step("early is gone");

    pid_t pid = vfork();
    if (pid == 0) {
        int fd = open(path_in(dir, "child"), O_RDWR | O_CREAT, 0644);
        void *at = MAP_FAILED;
        if (ftruncate(fd, LEN) == 0)
            at = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        _exit(at == MAP_FAILED);
    }
    say_child("vfork", pid);
    MUST(fcntl(0, F_GETFD)); // whatever the next call is
    step("mapped by a vfork child");

    int fd = sized(dir, "past");
    if (past_libc(SYS_mmap, 0, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) < 0)
        say("past libc: failed");
    past_libc(SYS_close, fd, 0, 0, 0, 0, 0);
    char *page = filled(PAGE, 'd'), *path = path_in(dir, "enough");
    int direct;
    do { // one look at the mappings follows the other only after some time
        usleep(10000);
        direct = MUST(open(path_in(dir, "direct"), O_RDWR | O_CREAT | O_DIRECT, 0644));
        MUST(pwrite(direct, page, PAGE, 0));
        step("mapped past libc");
        close(direct);
    } while (access(path, F_OK) != 0);

    // What the constructor had open is known at its first use.
    MUST(pread(number, page, PAGE, 0));
    MUST(pread(locked, page, PAGE, 0));
    const char *names[] = {"number", "stream", "locked"};
    for (int i = 0; i < 3; i++) {
        path = path_in(dir, names[i]);
        direct = MUST(open(path, O_RDWR | O_DIRECT)); // not closed: that would drop the lock
        MUST(pwrite(direct, page, PAGE, 0));
    }
    fprintf(stream, "text\n");
    step("used directly");
    // A lock that another process still meets: no descriptor of the file was closed.
    pid = MUST(fork());
    if (pid == 0)
        _exit(lockf(MUST(open(path, O_RDWR)), F_TEST, 0) == -1 ? 7 : 0);
    say_child("the lock", pid);
    step("done");
}
#endif
