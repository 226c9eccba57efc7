// A ring whose number is calculated, which no instruction says: its queue is mapped, and then a file is opened both ways.
#include "hazard.h"
#include <linux/io_uring.h>

int main(int argc, char **argv) {
    static struct io_uring_params params;
    volatile long number = SYS_io_uring_setup - argc;
    long fd;
    __asm__ volatile("syscall" : "=a"(fd) : "0"(number + argc), "D"(4), "S"(&params) : "rcx", "r11", "memory");
    say("a ring of its own: %s", fd >= 0 ? "made" : strerrorname_np((int)-fd));
    if (argc < 2 || fd < 0)
        return 1;
    if (mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, (int)fd, IORING_OFF_SQ_RING) == MAP_FAILED)
        return 1;
    struct both file = open_both(argv[1], "data");
    char *page = filled(PAGE, 'u');
    SAY(pwrite(file.direct, page, PAGE, 0));
    return 0;
}
