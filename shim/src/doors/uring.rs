//! io_uring, by liburing's names and by number: refused or let through.

use super::symbol::{self, Library};
use core::ffi::{CStr, c_int, c_void};
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
            0 => (0..)
                .map_while(nth_loaded)
                .map(|library| own(library, name))
                .find(|at| *at != 0),
            at => Some(at),
        };
        let found = found.unwrap_or(0);
        known.store(found, Release);
        found
    }
}

/// Where to look for it when it lies in no scope that all share (a library loaded it, or has brought it along, for itself
/// alone): the name of what is loaded, one after the other; empty: the program's, or ours. None: that was the last.
fn nth_loaded(n: usize) -> Option<&'static CStr> {
    /// How many are left to pass by, and what is found.
    struct Search {
        left: usize,
        found: Option<&'static CStr>,
    }
    unsafe extern "C" fn one(
        info: *mut libc::dl_phdr_info,
        _: usize,
        search: *mut c_void,
    ) -> c_int {
        // SAFETY: what the loader says, and what `nth_loaded` has given it.
        let (info, search) = unsafe { (&*info, &mut *search.cast::<Search>()) };
        if let Some(left) = search.left.checked_sub(1) {
            search.left = left;
            return 0;
        }
        // SAFETY: the loader's own headers and text, which stay while the library does: the program is calling it.
        let (headers, name) = unsafe {
            (
                core::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()),
                CStr::from_ptr(info.dlpi_name),
            )
        };
        let here = (one as *const () as u64).wrapping_sub(info.dlpi_addr);
        let is_ours = headers
            .iter()
            .any(|h| h.p_type == libc::PT_LOAD && here.wrapping_sub(h.p_vaddr) < h.p_memsz);
        search.found = Some(if is_ours { c"" } else { name });
        1
    }
    let mut search = Search {
        left: n,
        found: None,
    };
    // SAFETY: the callback gets what it expects, and doesn't keep it.
    unsafe { libc::dl_iterate_phdr(Some(one), (&raw mut search).cast()) };
    search.found
}

/// What a library that is there already calls by the name.
fn own(library: &CStr, name: &CStr) -> usize {
    if library.is_empty() {
        return 0;
    }
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
    if rings::refused(true) {
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
