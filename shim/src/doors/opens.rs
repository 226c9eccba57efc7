//! Opening by number, where the arguments aren't a function's of libc's.

use core::ffi::{c_char, c_int};

use core::ffi::c_void;
#[cfg(target_arch = "x86_64")]
use protocol::calls::emptying::open;
use protocol::calls::emptying::open_as_written;
use protocol::what::fresh;

use crate::doors::symbol::next;

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
    open_as_written(dir, path, given, |flags| match flags == given {
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

/// What `_dl_find_object` says, as far as it concerns us.
#[repr(C)]
struct Found {
    flags: u64,
    start: *const c_void,
    end: *const c_void,
    rest: [usize; 10],
}

/// In the constructor: whether libc itself is what the hooks call, and no other library that was loaded before the program,
/// which may ask for other flags than the program does. Where libc can't be asked (before 2.35), nobody relies on it.
pub fn at_start(hooked: &[usize]) {
    let (find, libc) = (next(c"_dl_find_object"), next(c"gnu_get_libc_version"));
    if find == 0 || libc == 0 {
        return;
    }
    // SAFETY: plain integers and pointers; all-zero is a value.
    let mut found: Found = unsafe { core::mem::zeroed() };
    // SAFETY: libc's function of this name has this type, and fills in no more than this.
    let there = unsafe {
        let find: unsafe extern "C" fn(usize, *mut Found) -> c_int = core::mem::transmute(find);
        find(libc, &raw mut found)
    };
    let of_libc = found.start as usize..found.end as usize;
    if there == 0 && hooked.iter().all(|at| of_libc.contains(at)) {
        fresh::opens_are_as_asked();
    }
}
