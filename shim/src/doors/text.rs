//! Functions of libc's that write text to a number: through a stream of their own, which comes by `doors::streams` like
//! any, once that door is open (since glibc 2.37 without one, and that is said). They take as many arguments as the caller likes, of any kind, so they can't be called
//! from a function of ours: the hook opens the door and jumps.

use super::stdio::printed_on;
use super::symbol::next;
use core::ffi::{CStr, c_int};
use core::sync::atomic::{AtomicUsize, Ordering::*};

static REAL: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
const NAMES: [&CStr; 2] = [c"dprintf", c"__dprintf_chk"];

/// Looks up what the jumps go to.
pub fn resolve() {
    for (name, real) in NAMES.iter().zip(&REAL) {
        real.store(next(name), Release);
    }
}

fn before(fd: c_int, real: &AtomicUsize) -> usize {
    printed_on(fd);
    if real.load(Acquire) == 0 {
        resolve();
    }
    real.load(Acquire)
}

extern "C" fn before_plain(fd: c_int) -> usize {
    before(fd, &REAL[0])
}

extern "C" fn before_checked(fd: c_int) -> usize {
    before(fd, &REAL[1])
}

macro_rules! text {
    ($($name:ident after $before:ident),+) => {
        $(
            /// # Safety
            /// As dprintf(3).
            #[unsafe(naked)]
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name() -> c_int {
                #[cfg(target_arch = "x86_64")]
                core::arch::naked_asm!(
                    "push rdi", "push rsi", "push rdx", "push rcx", "push r8", "push r9", "push rax",
                    "sub rsp, 128",
                    "movups [rsp], xmm0", "movups [rsp + 16], xmm1", "movups [rsp + 32], xmm2", "movups [rsp + 48], xmm3",
                    "movups [rsp + 64], xmm4", "movups [rsp + 80], xmm5", "movups [rsp + 96], xmm6", "movups [rsp + 112], xmm7",
                    "call {before}",
                    "mov r11, rax",
                    "movups xmm0, [rsp]", "movups xmm1, [rsp + 16]", "movups xmm2, [rsp + 32]", "movups xmm3, [rsp + 48]",
                    "movups xmm4, [rsp + 64]", "movups xmm5, [rsp + 80]", "movups xmm6, [rsp + 96]", "movups xmm7, [rsp + 112]",
                    "add rsp, 128",
                    "pop rax", "pop r9", "pop r8", "pop rcx", "pop rdx", "pop rsi", "pop rdi",
                    "jmp r11",
                    before = sym $before
                );
                #[cfg(target_arch = "aarch64")]
                core::arch::naked_asm!(
                    "stp x29, x30, [sp, #-208]!",
                    "stp x0, x1, [sp, #16]", "stp x2, x3, [sp, #32]", "stp x4, x5, [sp, #48]", "stp x6, x7, [sp, #64]",
                    "stp q0, q1, [sp, #80]", "stp q2, q3, [sp, #112]", "stp q4, q5, [sp, #144]", "stp q6, q7, [sp, #176]",
                    "bl {before}",
                    "mov x16, x0",
                    "ldp x0, x1, [sp, #16]", "ldp x2, x3, [sp, #32]", "ldp x4, x5, [sp, #48]", "ldp x6, x7, [sp, #64]",
                    "ldp q0, q1, [sp, #80]", "ldp q2, q3, [sp, #112]", "ldp q4, q5, [sp, #144]", "ldp q6, q7, [sp, #176]",
                    "ldp x29, x30, [sp], #208",
                    "br x16",
                    before = sym $before
                );
            }
        )+
    };
}
text!(dprintf after before_plain, __dprintf_chk after before_checked);
