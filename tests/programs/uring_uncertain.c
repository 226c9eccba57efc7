// What only looks like an instruction that makes rings, in the middle of another, and one in a function that no table for
// unwinding knows.
#include "hazard.h"
#include <linux/io_uring.h>

long makes_ring(unsigned entries, struct io_uring_params *params);
__asm__(".text\n"
        ".globl makes_ring\n"
        ".type makes_ring, @function\n"
        "makes_ring:\n"
        "    mov $425, %eax\n"
        "    syscall\n"
        "    ret\n"
        ".size makes_ring, . - makes_ring\n");

int main(int argc, char **argv) {
    if (argc < 2)
        return 1;
    uint64_t number;
    // b8 a9 01 00 00 0f 05, and one byte more.
    __asm__ volatile("movabs $0x90050f000001a9b8, %0" : "=r"(number));
    say("a number: %s", number == 0x90050f000001a9b8 ? "right" : "wrong");
    static struct io_uring_params params;
    long fd = makes_ring(4, &params);
    say("a ring: %s", fd >= 0 ? "made" : strerrorname_np((int)-fd));
    close((int)fd);
    close(open_both(argv[1], "data").direct);
    return 0;
}
