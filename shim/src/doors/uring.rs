//! io_uring, by liburing's names and by number: refused or let through.

use super::symbol::{self, Library};
use core::ffi::{CStr, c_int};
use core::sync::atomic::{AtomicUsize, Ordering::Release};
use protocol::what::rings;

pub struct Liburing;

impl Library for Liburing {
    type Found<F> = Option<F>;
    const AT_START: bool = false;
    #[cold]
    #[inline(never)]
    fn find(name: &CStr, known: &AtomicUsize) -> usize {
        let found = match symbol::next(name) {
            0 => NAMES
                .iter()
                .map(|library| own(library, name))
                .find(|at| *at != 0),
            at => Some(at),
        };
        let found = found.unwrap_or(0);
        known.store(found, Release);
        found
    }
}

/// Where to look for it when it lies in no scope that all share: a library loaded it for itself.
const NAMES: [&CStr; 3] = [c"liburing.so.2", c"liburing-ffi.so.2", c"liburing.so.1"];

/// What a library that is there already calls by the name.
fn own(library: &CStr, name: &CStr) -> usize {
    // SAFETY: terminated names; nothing is called or loaded, and what is there stays: the program is calling it.
    unsafe {
        let handle = libc::dlopen(library.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD);
        if handle.is_null() {
            return 0;
        }
        let found = libc::dlsym(handle, name.as_ptr());
        libc::dlclose(handle);
        found as usize
    }
}

/// What liburing returns for a kernel without io_uring.
pub const NO_SUCH_CALL: c_int = -libc::ENOSYS;

/// liburing's function, where a program that asks for a ring may get one.
pub fn unless_refused<F>(real: impl Fn() -> Option<F>) -> Option<F> {
    if rings::refused() {
        return None;
    }
    real()
}

pub fn by_number(real: impl Fn() -> c_int) -> c_int {
    match unless_refused(|| Some(&real)) {
        Some(real) => real(),
        None => {
            kernel::set_errno(libc::ENOSYS);
            -1
        }
    }
}
