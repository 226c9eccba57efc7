// What the kernel says of rings, asked past all names by an instruction whose number is calculated: to make one, to use one,
// to register with one; on x86-64 also as a program of 32 bits would. And by how many filters this process is bound, and
// whether it may still get privileges: of what it starts, as often as it is told. Usage: no_rings DIR TIMES
#include "hazard.h"
#include <sys/prctl.h>
#include <sys/wait.h>

static volatile long setup = SYS_io_uring_setup;

static const char *asked(long number) {
    static char params[256];
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "0"(number), "D"(0L), "S"(params), "d"(0L) : "rcx", "r11", "memory");
    return result == -ENOSYS ? "ENOSYS" : "there";
}

static const char *asked_as_others_do(long number) {
    int result;
    __asm__ volatile("int $0x80" : "=a"(result) : "0"((int)number), "b"(0), "c"(0), "d"(0) : "r8", "r9", "r10", "r11", "memory");
    return result == -ENOSYS ? "ENOSYS" : "there";
}

static int filters(void) {
    char line[200];
    int count = -1;
    FILE *status = fopen("/proc/self/status", "r");
    while (fgets(line, sizeof line, status))
        sscanf(line, "Seccomp_filters: %d", &count);
    fclose(status);
    return count;
}

int main(int argc, char **argv) {
    int times = argc > 2 ? atoi(argv[2]) : 0;
    say("rings: %s %s %s, %s; %d filters, %s privileges", asked(setup), asked(setup + 1), asked(setup + 2),
        asked_as_others_do(setup), filters(), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) ? "no new" : "new");
    struct both file = open_both(argv[1], "data");
    char *page = filled(PAGE, 'u');
    SAY(pwrite(file.direct, page, PAGE, 0));
    if (!times)
        return 0;
    char fewer[20];
    snprintf(fewer, sizeof fewer, "%d", times - 1);
    pid_t child = fork();
    if (!child) {
        execl("/proc/self/exe", argv[0], argv[1], fewer, NULL);
        _exit(99);
    }
    int status;
    MUST(waitpid(child, &status, 0));
    return WEXITSTATUS(status);
}
