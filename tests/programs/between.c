// A signal between any two instructions of a call, whose handler reads, writes and copies: the call does what it does without.
// A parent lets the program make so many steps into the call, sends the signal, and lets it go on.
#include "hazard.h"
#include <linux/aio_abi.h>
#include <sys/ptrace.h>

// In so many instructions a call has begun, and what it makes within itself has.
enum { STEPS = 300, CALLS = 4 };

static struct both file, other;
static int alone, another; // in one mode, and so in a row
static char *page, *seen, *mine, *back;
static aio_context_t context;
static volatile int handled, wrong;

static void handler(int signal) {
    int error = errno;
    off_t from = 8 * PAGE, to = 8 * PAGE;
    (void)signal;
    wrong += pwrite(file.buffered, mine, PAGE, from) != PAGE || pread(file.direct, back, PAGE, from) != PAGE || !all(back, PAGE, 'h');
    wrong += copy_file_range(file.buffered, &from, other.buffered, &to, PAGE, 0) != PAGE;
    for (int i = 0; i < 3; i++)
        wrong += pread(another, back, PAGE, 0) != PAGE || !all(back, PAGE, 'h');
    handled++;
    errno = error;
}

static long by_aio(int fd, int opcode, char *bytes) {
    struct iocb request = {.aio_fildes = fd, .aio_lio_opcode = opcode, .aio_buf = (uintptr_t)bytes, .aio_nbytes = PAGE, .aio_offset = PAGE};
    struct iocb *list[] = {&request};
    struct io_event event = {0};
    long got;
    if (syscall(SYS_io_submit, context, 1, list) != 1)
        return -1;
    while ((got = syscall(SYS_io_getevents, context, 1, 1, &event, NULL)) == -1 && errno == EINTR)
        continue;
    return got == 1 ? event.res : -1;
}

static long call(int which) {
    off_t from = PAGE, to = PAGE;
    switch (which) {
    case 0: return pwrite(file.direct, page, PAGE, PAGE);
    case 1: return by_aio(file.buffered, IOCB_CMD_PWRITE, page);
    case 2: return copy_file_range(other.buffered, &from, file.buffered, &to, PAGE, 0);
    default: return pread(alone, seen, PAGE, PAGE) == PAGE && all(seen, PAGE, 'p') ? PAGE : -1;
    }
}

static void stepped(const char *dir) {
    static const char *const names[CALLS] = {"pwrite", "io_submit", "copy_file_range", "pread in one mode"};
    file = open_both(dir, "f");
    other = open_both(dir, "g");
    page = filled(PAGE, 'p'), seen = filled(PAGE, 0), mine = filled(PAGE, 'h'), back = filled(PAGE, 0);
    MUST(pwrite(other.buffered, page, PAGE, PAGE));
    alone = MUST(open(path_in(dir, "alone"), O_RDWR | O_CREAT, 0644));
    another = MUST(open(path_in(dir, "another"), O_RDWR | O_CREAT, 0644));
    MUST(pwrite(alone, page, PAGE, PAGE));
    MUST(pwrite(another, mine, PAGE, 0));
    MUST(syscall(SYS_io_setup, 4, &context));
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    MUST(sigaction(SIGUSR1, &action, NULL));
    MUST(ptrace(PTRACE_TRACEME, 0, 0, 0));
    for (int which = 0; which < CALLS; which++) {
        int failed = 0;
        handled = wrong = 0;
        for (int n = 0; n < STEPS; n++) {
            for (int i = 0; i < 3; i++)
                failed += pread(alone, seen, PAGE, PAGE) != PAGE;
            raise(SIGSTOP);
            failed += call(which) != PAGE;
            raise(SIGTRAP);
            memset(seen, 0, PAGE);
            failed += pread(file.direct, seen, PAGE, PAGE) != PAGE || !all(seen, PAGE, 'p');
        }
        say("%s: failed %d, in the handler %d, handled %s", names[which], failed, wrong, handled > STEPS / 4 ? "often" : "seldom");
    }
    SAY(syscall(SYS_io_destroy, context));
    exit(0);
}

static int status;

// Until it stops for this signal; the others it gets. False: it has ended.
static int until(pid_t pid, int wanted) {
    for (int pass = 0;; pass = WSTOPSIG(status)) {
        if (ptrace(PTRACE_CONT, pid, 0, pass) || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
            return 0;
        if (WSTOPSIG(status) == wanted)
            return 1;
    }
}

int main(int argc, char **argv) {
    (void)argc;
    pid_t pid = MUST(fork());
    if (pid == 0)
        stepped(argv[1]);
    MUST(waitpid(pid, &status, 0));
    for (int n = 0; n < CALLS * STEPS; n++) {
        // It has stopped before the call. One that is over says so by a signal of its own.
        siginfo_t why = {.si_code = TRAP_TRACE};
        for (int step = 0; step < n % STEPS && why.si_code > 0; step++) {
            MUST(ptrace(PTRACE_SINGLESTEP, pid, 0, 0));
            MUST(waitpid(pid, &status, 0));
            MUST(ptrace(PTRACE_GETSIGINFO, pid, 0, &why));
        }
        MUST(kill(pid, SIGUSR1));
        if ((why.si_code > 0 && !until(pid, SIGTRAP)) || (n < CALLS * STEPS - 1 && !until(pid, SIGSTOP)))
            break;
    }
    until(pid, 0);
    say("it ends with %d, by signal %d", WEXITSTATUS(status), WTERMSIG(status));
    return 0;
}
