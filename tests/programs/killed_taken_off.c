// A process that shares an open file description has taken O_DIRECT off it for one request, and is killed in that
// moment: the one who lives on writes directly again. (The first part is done by hand, past every library.)
#include "hazard.h"
#include <sys/syscall.h>

static long past_all(long number, long a, long b, long c) {
#if defined(__x86_64__)
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
#else
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
#endif
}

int main(int argc, char **argv) {
    (void)argc;
    struct both file = open_both(argv[1], "f");
    char *page = filled(PAGE, 'k');
    MUST(pwrite(file.direct, page, PAGE, 0));
    int flags = MUST(fcntl(file.direct, F_GETFL));
    pid_t pid = MUST(fork());
    if (pid == 0) {
        past_all(SYS_fcntl, file.direct, F_SETFL, flags ^ (O_DIRECT | O_NONBLOCK));
        kill(getpid(), SIGKILL);
    }
    say_child("the other", pid);
    MUST(pwrite(file.direct, page, PAGE, PAGE));
    say("as before: %d", fcntl(file.direct, F_GETFL) == flags);
    say_page("it", file.path, PAGE);
}
