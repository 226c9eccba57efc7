//! The unwinder that Rust's standard library names: looked up when something unwinds, which nothing of ours does.
//!
//! Every program would else load libgcc_s with us at its start, for a backtrace that is printed when we are about to abort.
//! The names are ours alone (hidden): what the program unwinds with is its own.

use core::ffi::{CStr, c_char, c_int, c_void};

use crate::doors::symbol::next;

/// What the name stands for in libgcc_s. The process ends where there is none: whoever asks is about to abort.
extern "C" fn find(name: *const c_char) -> usize {
    type Open = unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void;
    // SAFETY: libc's own function of this name, or none.
    let open: Option<Open> = unsafe { core::mem::transmute(next(c"dlopen")) };
    let library: &CStr = c"libgcc_s.so.1";
    // SAFETY: terminated names; the library stays loaded.
    let found =
        open.map(|open| unsafe { libc::dlsym(open(library.as_ptr(), libc::RTLD_NOW), name) });
    match found {
        Some(at) if !at.is_null() => at as usize,
        _ => std::process::abort(),
    }
}

macro_rules! unwinder {
    ($($name:literal)+) => { $(
        #[cfg(target_arch = "x86_64")]
        core::arch::global_asm!(
            concat!(".pushsection .text.", $name, ",\"ax\",@progbits"),
            concat!(".globl ", $name),
            concat!(".hidden ", $name),
            concat!(".type ", $name, ",@function"),
            concat!($name, ":"),
            "push rdi", "push rsi", "push rdx", "push rcx", "push r8",
            "lea rdi, [rip + 2f]",
            "call {find}",
            "pop r8", "pop rcx", "pop rdx", "pop rsi", "pop rdi",
            "jmp rax",
            concat!("2: .asciz \"", $name, "\""),
            concat!(".size ", $name, ", . - ", $name),
            ".popsection",
            find = sym find
        );
        #[cfg(target_arch = "aarch64")]
        core::arch::global_asm!(
            concat!(".pushsection .text.", $name, ",\"ax\",@progbits"),
            concat!(".globl ", $name),
            concat!(".hidden ", $name),
            concat!(".type ", $name, ",@function"),
            ".balign 4",
            concat!($name, ":"),
            "stp x29, x30, [sp, #-64]!",
            "stp x0, x1, [sp, #16]", "stp x2, x3, [sp, #32]", "str x4, [sp, #48]",
            "adr x0, 2f",
            "bl {find}",
            "mov x16, x0",
            "ldp x0, x1, [sp, #16]", "ldp x2, x3, [sp, #32]", "ldr x4, [sp, #48]",
            "ldp x29, x30, [sp], #64",
            "br x16",
            concat!("2: .asciz \"", $name, "\""),
            ".balign 4",
            concat!(".size ", $name, ", . - ", $name),
            ".popsection",
            find = sym find
        );
    )+ };
}
unwinder!(
    "_Unwind_Backtrace" "_Unwind_DeleteException" "_Unwind_FindEnclosingFunction" "_Unwind_GetCFA"
    "_Unwind_GetDataRelBase" "_Unwind_GetIP" "_Unwind_GetIPInfo" "_Unwind_GetLanguageSpecificData"
    "_Unwind_GetRegionStart" "_Unwind_GetTextRelBase" "_Unwind_RaiseException" "_Unwind_Resume"
    "_Unwind_SetGR" "_Unwind_SetIP"
);
