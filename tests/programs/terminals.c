// Numbers that libc makes, takes and closes inside: terminals, queues of messages, a shell that expands words. What was
// known of a number is forgotten when something else is there.
#include "hazard.h"
#include <mqueue.h>
#include <pty.h>
#include <utmp.h>
#include <wordexp.h>

// For programs that were linked long ago.
extern off_t old_seek(int fd, off_t to, int whence);
#if defined(__x86_64__)
__asm__(".symver old_seek,llseek@GLIBC_2.2.5");
#else
#define old_seek lseek
#endif

static struct both file;

// Of a number that has become another thing, odd lengths are as good as any.
static void use(const char *what, int fd) {
    char *odd = filled(2 * PAGE, 'o');
    long written = write(fd, odd + 1, 7), placed = pwrite(fd, odd + 1, 7, 3);
    say("%s: %ld, then at a place: %s", what, written, placed < 0 ? strerrorname_np(errno) : "written");
    free(odd);
}

static void terminals(void) {
    int master, slave;
    for (int n = 0; n < 3; n++) {
        // The numbers were a direct file's a moment ago.
        int a = MUST(dup(file.direct)), b = MUST(dup(file.direct));
        char *page = filled(PAGE, 'd');
        MUST(pwrite(a, page, PAGE, 0));
        MUST(pwrite(b, page, PAGE, 0));
        MUST(close(a));
        MUST(close(b));
        SAY(openpty(&master, &slave, NULL, NULL, NULL));
        say("the same numbers: %d", master == a && slave == b);
        use("master", master);
        use("slave", slave);
        close(master);
        close(slave);
        free(page);
    }
}

static void taken_as_its_own(void) {
    int master, slave;
    fflush(stdout);
    MUST(openpty(&master, &slave, NULL, NULL, NULL));
    pid_t pid = MUST(fork());
    if (pid == 0) {
        char *page = filled(PAGE, 'l');
        int out = MUST(dup(1));
        for (int fd = 0; fd < 3; fd++) {
            MUST(dup2(file.direct, fd));
            MUST(pwrite(fd, page, PAGE, PAGE));
        }
        MUST(login_tty(slave));
        int wrong = 0;
        for (int fd = 0; fd < 3; fd++)
            wrong += write(fd, "odd", 3) != 3;
        wrong += write(slave, "odd", 3) != -1;
        wrong += dup(file.direct) != slave || pwrite(slave, page, PAGE, 0) != PAGE || pwrite(slave, page, 7, 0) != -1;
        dprintf(out, "in the child: %d wrong\n", wrong);
        _exit(0);
    }
    say_child("login_tty", pid);
    char *page = filled(PAGE, 'f');
    int out = MUST(dup(1));
    pid = MUST(forkpty(&master, NULL, NULL, NULL));
    if (pid == 0) {
        int wrong = write(0, "odd", 3) != 3 || write(1, "odd", 3) != 3 || pwrite(file.direct, page, PAGE, 0) != PAGE;
        dprintf(out, "in the child: %d wrong\n", wrong);
        _exit(0);
    }
    say_child("forkpty", pid);
    char seen[16];
    SAY(read(master, seen, 6));
    use("its master", master);
    close(master);
    close(out);
}

static void queue(void) {
    char name[64];
    snprintf(name, sizeof name, "/pagefence-test-%d", getpid());
    struct mq_attr few = {.mq_maxmsg = 2, .mq_msgsize = 16};
    int a = MUST(dup(file.direct));
    char *page = filled(PAGE, 'q');
    MUST(pwrite(a, page, PAGE, 0));
    MUST(close(a));
    mqd_t queue = mq_open(name, O_CREAT | O_RDWR, 0600, &few);
    if (queue == -1 && errno == ENOSYS)
        return say("no queues");
    MUST(queue);
    say("the same number: %d, sent %d", queue == a, mq_send(queue, "odd", 3, 1));
    SAY(mq_close(queue));
    // And back: the number is a direct file's again.
    MUST(dup(file.direct));
    SAY(pwrite(a, page, PAGE, 0));
    SAY(pwrite(a, page, 7, 0));
    close(a);
    mq_unlink(name);
}

static void words(void) {
    wordexp_t words;
    char command[64], *page = filled(PAGE, 'x');
    MUST(lseek(file.buffered, 3 * PAGE, SEEK_SET));
    snprintf(command, sizeof command, "$(echo child >&%d) $(echo two)", file.buffered);
    SAY(wordexp(command, &words, 0));
    SAY(words.we_wordc);
    MUST(write(file.buffered, "parent", 6));
    SAY(old_seek(file.buffered, 0, SEEK_CUR) - 3 * PAGE);
    SAY(old_seek(file.direct, PAGE, SEEK_SET));
    SAY(write(file.direct, page, PAGE));
    SAY(old_seek(file.direct, 0, SEEK_CUR));
    char seen[13] = "";
    MUST(pread(file.buffered, seen, 12, 3 * PAGE));
    say("%s", seen);
    wordfree(&words);
}

int main(int argc, char **argv) {
    (void)argc;
    file = open_both(argv[1], "f");
    terminals();
    taken_as_its_own();
    queue();
    words();
    say_page("at last", file.path, PAGE);
    return 0;
}
