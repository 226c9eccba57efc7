// What the hazard programs share: say what a call returned, and make a file that is used both
// ways, so that a fence has something to do. Each program gets a directory as its first argument.
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define SIZE (4 * 1024 * 1024)
#define UNUSED __attribute__((unused))

// Runs a call and says its result, or its error by name.
#define SAY(call) say_result(#call, (errno = 0, (long)(call)))
// A call without which the program makes no sense.
#define MUST(call) must(#call, (long)(call))

UNUSED static void say(const char *format, ...) {
    va_list list;
    va_start(list, format);
    vprintf(format, list);
    va_end(list);
    putchar('\n');
    fflush(stdout);
}

UNUSED static long say_result(const char *what, long rc) {
    if (rc == -1)
        say("%s: %s", what, strerrorname_np(errno));
    else
        say("%s: %ld", what, rc);
    return rc;
}

UNUSED static long must(const char *what, long rc) {
    if (rc == -1) {
        say("%s: %s, and the program can't go on", what, strerrorname_np(errno));
        exit(99);
    }
    return rc;
}

UNUSED static char *path_in(const char *dir, const char *name) {
    char *path = NULL;
    MUST(asprintf(&path, "%s/%s", dir, name));
    return path;
}

// Page-aligned memory full of one byte.
UNUSED static char *filled(size_t size, int byte) {
    void *memory = NULL;
    if (posix_memalign(&memory, PAGE, size))
        abort();
    memset(memory, byte, size);
    return memory;
}

UNUSED static int all(const char *bytes, size_t size, int byte) {
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != (char)byte)
            return 0;
    return 1;
}

// A file of SIZE bytes '.', written both ways and open both ways.
struct both {
    char *path;
    int buffered, direct;
};

UNUSED static struct both open_both(const char *dir, const char *name) {
    struct both file = {.path = path_in(dir, name)};
    char *dots = filled(SIZE, '.');
    file.buffered = MUST(open(file.path, O_RDWR | O_CREAT | O_TRUNC, 0644));
    MUST(pwrite(file.buffered, dots, SIZE, 0));
    file.direct = MUST(open(file.path, O_RDWR | O_DIRECT));
    MUST(pwrite(file.direct, dots, PAGE, 0));
    MUST(pread(file.buffered, dots, PAGE, 0));
    free(dots);
    return file;
}

// SIGALRM once, so many microseconds from now; 0: never. A handler that wants another arms it itself, at its end: where it takes
// longer than the interval of a timer that goes on by itself, nothing else would run.
UNUSED static void alarm_in(int microseconds) {
    struct itimerval once = {{0, 0}, {0, microseconds}};
    MUST(setitimer(ITIMER_REAL, &once, NULL));
}

// A shared writable mapping of one page: direct writes near it can't go direct when fenced.
UNUSED static char *map_page(int fd, off_t at) {
    char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, at);
    if (page == MAP_FAILED)
        MUST(-1);
    return page;
}

// What the page at an offset holds, read both ways.
UNUSED static void say_page(const char *what, const char *path, off_t at) {
    char *page = filled(PAGE, 0);
    int buffered = MUST(open(path, O_RDONLY)), direct = MUST(open(path, O_RDONLY | O_DIRECT));
    MUST(pread(buffered, page, PAGE, at));
    say("%s: buffered read: %c..%c", what, page[0], page[PAGE - 1]);
    MUST(pread(direct, page, PAGE, at));
    say("%s: direct read: %c..%c", what, page[0], page[PAGE - 1]);
    close(buffered);
    close(direct);
    free(page);
}

// Waits for a child and says how it ended.
UNUSED static void say_child(const char *what, pid_t pid) {
    int status = 0;
    MUST(waitpid(pid, &status, 0));
    if (WIFSIGNALED(status))
        say("%s: killed by signal %d", what, WTERMSIG(status));
    else
        say("%s: exit %d", what, WEXITSTATUS(status));
}

// Says where the program is and waits for a byte: a test looks at the lock table meanwhile.
UNUSED static void step(const char *what) {
    char go;
    say("%s", what);
    MUST(read(0, &go, 1));
}

// A system call that no library sees.
UNUSED static long past_libc(long number, long a, long b, long c, long d, long e, long f) {
#if defined(__x86_64__)
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "+a"(number)
                     : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return number;
#else
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
#endif
}

UNUSED static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

// Another process that must get at a range at once: a lock left behind would keep it out.
UNUSED static void say_free(const char *path, off_t at) {
    double begun = now();
    pid_t pid = MUST(fork());
    if (pid == 0) {
        char *page = filled(PAGE, 'o');
        int direct = MUST(open(path, O_RDWR | O_DIRECT)), buffered = MUST(open(path, O_RDWR));
        MUST(pwrite(direct, page, PAGE, at));
        MUST(pwrite(buffered, page, PAGE, at));
        MUST(pread(direct, page, PAGE, at));
        _exit(all(page, PAGE, 'o') ? 0 : 1);
    }
    say_child("another process uses the range", pid);
    say("in time: %s", now() - begun < 8 ? "yes" : "no");
}
