// System calls as programs make them without libc: by an instruction of their own, in each of the shapes that compilers
// and people give it. None is a part of another function: what stands around it is what is meant.
#pragma once
#include "hazard.h"

#define RAW __attribute__((noinline, unused)) static long
#define CLOBBERED "rcx", "r11", "memory"

// The number comes as an argument, as in libc's own `syscall`.
RAW raw(long number, long a, long b, long c, long d) {
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = 0;
    register long r9 __asm__("r9") = 0;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : CLOBBERED);
    return result;
}

// The number stands right before the call.
RAW raw_near(int fd, const void *buffer, long size, long at) {
    long result;
    register long r10 __asm__("r10") = at;
    __asm__ volatile("mov %1, %%eax\n\tsyscall"
                     : "=a"(result)
                     : "i"(SYS_pwrite64), "D"((long)fd), "S"(buffer), "d"(size), "r"(r10)
                     : CLOBBERED);
    return result;
}

// Other instructions stand between.
RAW raw_far(int fd, const void *buffer, long size, long at) {
    long result;
    __asm__ volatile("mov %1, %%eax\n\tmov %2, %%edi\n\tmov %3, %%rsi\n\tmov %4, %%rdx\n\tmov %5, %%r10\n\tsyscall\n\t"
                     "mov %%rax, %%r8\n\tmov %%r8, %%rax"
                     : "=&a"(result)
                     : "i"(SYS_pwrite64), "b"(fd), "rm"(buffer), "rm"(size), "rm"(at)
                     : "rdi", "rsi", "rdx", "r10", "r8", CLOBBERED);
    return result;
}

// Both ends say where something is, by how far away it is.
__attribute__((used)) static long raw_here, raw_there;
RAW raw_relative(int fd, const void *buffer, long size, long at) {
    long result;
    register long r10 __asm__("r10") = at;
    raw_here = fd;
    __asm__ volatile("mov %1, %%eax\n\tmov raw_here(%%rip), %%rdi\n\tsyscall\n\tmov %%rax, raw_there(%%rip)"
                     : "=&a"(result)
                     : "i"(SYS_pwrite64), "S"(buffer), "d"(size), "r"(r10)
                     : "rdi", CLOBBERED);
    return raw_there;
}

// A loop leads to the call itself.
RAW raw_again(int fd, const void *buffer, long size, long at) {
    long result, rounds = 2;
    register long r10 __asm__("r10") = at;
    __asm__ volatile("mov %2, %%eax\n\tjmp 2f\n1:\tmov %2, %%eax\n2:\tsyscall\n\tdec %1\n\tjnz 1b"
                     : "=&a"(result), "+r"(rounds)
                     : "i"(SYS_pwrite64), "D"((long)fd), "S"(buffer), "d"(size), "r"(r10)
                     : CLOBBERED);
    return result;
}

// Something leads right behind the call, so that nothing but what stands before it can be moved.
RAW raw_entered(int fd, const void *buffer, long size, long at) {
    long result = 0;
    register long r10 __asm__("r10") = at;
    __asm__ volatile("test %%rdx, %%rdx\n\tjz 1f\n\tmov %1, %%eax\n\tmov %2, %%edi\n\tsyscall\n1:\ttest %%rax, %%rax"
                     : "+&a"(result)
                     : "i"(SYS_pwrite64), "b"(fd), "S"(buffer), "d"(size), "r"(r10)
                     : "rdi", CLOBBERED);
    return result;
}

// A switch of eight cases leads by a table.
RAW raw_by_table(int fd, const void *buffer, long size, long at, int which) {
    long number = 0, result;
    switch (which) {
    case 0: number = SYS_read; size /= 2; break;
    case 1: number = SYS_write; break;
    case 2: number = SYS_pread64; fd += 1; break;
    case 3: number = SYS_pwrite64; break;
    case 4: number = SYS_readv; at += 7; break;
    case 5: number = SYS_writev; fd -= 1; break;
    case 6: number = SYS_close; size += at; break;
    case 7: number = SYS_dup; at -= 9; break;
    }
    register long r10 __asm__("r10") = at;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"((long)fd), "S"(buffer), "d"(size), "r"(r10) : CLOBBERED);
    return result + (which > 8);
}

// By hand, without a frame and with the red zone in use.
long raw_by_hand(long fd, const void *buffer, long size, long at);
__asm__(".pushsection .text\n.type raw_by_hand,@function\nraw_by_hand:\n.cfi_startproc\n\tmov %rcx, -8(%rsp)\n\tmov %rbx, -128(%rsp)\n"
        "\tmov %rcx, %r10\n\tmov $18, %eax\n\tsyscall\n\tcmp -8(%rsp), %r10\n\tjne 1f\n\tcmp -128(%rsp), %rbx\n\tje 2f\n"
        "1:\tmov $-1000, %rax\n2:\tret\n.cfi_endproc\n.size raw_by_hand, . - raw_by_hand\n.popsection");

// The place to return to is taken off the stack before the call and put back behind it: what vfork needs, as Go writes it.
long raw_popped(long fd, const void *buffer, long size, long at);
__asm__(".pushsection .text\n.type raw_popped,@function\nraw_popped:\n.cfi_startproc\n\tmov %rcx, %r10\n\tmov $18, %eax\n\tpop %r8\n"
        "\t.cfi_adjust_cfa_offset -8\n\t.cfi_register %rip, %r8\n\tsyscall\n\tpush %r8\n\t.cfi_adjust_cfa_offset 8\n\t.cfi_offset %rip, -8\n"
        "\tret\n.cfi_endproc\n.size raw_popped, . - raw_popped\n.popsection");
