//! Opening by number, where the arguments aren't a function's of libc's.

use core::ffi::{c_char, c_int};

use protocol::calls::emptying::open;

/// The flags stand in a struct of the program's, which `real` takes the address of.
#[inline(never)]
pub fn opens_how(
    dir: c_int,
    path: *const c_char,
    (how, size): (*const u64, usize),
    real: &dyn Fn(*const u64) -> c_int,
) -> c_int {
    let mut first = [0u64];
    let there = first.get_mut(..(size / 8).min(1)).unwrap_or(&mut []);
    let known = kernel::copy_from_program(how, there).is_ok();
    let given = first.first().filter(|_| known).map_or(0, |f| *f as c_int);
    open(dir, path, given, |flags| match flags == given {
        true => real(how),
        false => with_flags((how, size), flags, real),
    })
}

/// Other flags go in a copy; not while the file is emptied, which needs the stack.
#[inline(never)]
fn with_flags(
    (how, size): (*const u64, usize),
    flags: c_int,
    real: &dyn Fn(*const u64) -> c_int,
) -> c_int {
    let mut copy = [0u64; 8];
    let there = copy.get_mut(..size / 8);
    if there.is_none_or(|there| kernel::copy_from_program(how, there).is_err()) {
        return real(how);
    }
    if let Some(first) = copy.first_mut() {
        // The upper half has no flags yet: what stands there is the kernel's to refuse.
        *first = *first & !u64::from(u32::MAX) | u64::from(flags as u32);
    }
    real(copy.as_ptr())
}

/// creat(2); without its O_TRUNC it is an open(2).
#[cfg(target_arch = "x86_64")]
pub fn creat_by_number(path: *const c_char, mode: libc::mode_t, real: impl Fn() -> c_int) -> c_int {
    let flags = libc::O_CREAT | libc::O_TRUNC | libc::O_WRONLY;
    open(libc::AT_FDCWD, path, flags, |flags| {
        if flags & libc::O_TRUNC != 0 {
            return real();
        }
        let words = [path as usize, flags as usize, mode as usize, 0, 0, 0];
        // SAFETY: what the program gave for the call, which means the same.
        kernel::libc_result(unsafe { kernel::any(libc::SYS_open as usize, words) }) as c_int
    })
}
