// A library with a system call of its own.
#include <sys/syscall.h>
#include <unistd.h>

long writes_raw(long fd, const void *buffer, long size, long at);
long writes_raw(long fd, const void *buffer, long size, long at) {
    long result;
    register long r10 __asm__("r10") = at;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"((long)SYS_pwrite64), "D"(fd), "S"(buffer), "d"(size), "r"(r10)
                     : "rcx", "r11", "memory");
    return result;
}
