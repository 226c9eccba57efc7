//! Asynchronous calls: which numbers their blocks name.

use super::symbol::{self, Library};
use core::ffi::{CStr, c_int, c_long, c_ulong, c_void};
use core::sync::atomic::{AtomicUsize, Ordering::Release};
use protocol::numbers::uncovered;

pub struct Libaio;

impl Library for Libaio {
    type Found<F> = Option<F>;
    const AT_START: bool = false;
    #[cold]
    #[inline(never)]
    fn find(name: &CStr, known: &AtomicUsize) -> usize {
        let found = symbol::next(name);
        known.store(found, Release);
        found
    }
}

pub const POSIX: &str = "POSIX aio";

/// The head of a `struct aiocb` (POSIX) or `struct iocb` (Linux), as far as it names the descriptor.
fn number_at(block: *const c_void, offset: usize) -> c_int {
    let mut fd = [0 as c_int];
    let at = (block as usize).wrapping_add(offset) as *const c_int;
    match protocol::raw::copy_from_program(at, &mut fd) {
        Ok(()) => fd.first().copied().unwrap_or(-1),
        Err(_) => -1,
    }
}

/// A request of POSIX's.
pub fn posix(block: *const c_void, real: impl Fn() -> c_int) -> c_int {
    uncovered(number_at(block, 0), POSIX);
    real()
}

/// Of a list of blocks.
pub fn tell_each(
    blocks: *const *mut c_void,
    count: c_long,
    number_stands_at: usize,
    what: &'static str,
) {
    for i in 0..usize::try_from(count).unwrap_or(0).min(1024) {
        let mut block = [core::ptr::null_mut::<c_void>()];
        if protocol::raw::copy_from_program(blocks.wrapping_add(i), &mut block).is_ok() {
            block
                .iter()
                .for_each(|b| uncovered(number_at(*b, number_stands_at), what));
        }
    }
}

pub fn tell_submitted(count: c_long, blocks: *const *mut c_void) {
    tell_each(blocks, count, 20, "io_submit");
}

/// Where libaio isn't in sight: the same request, straight to the kernel; libaio too returns the negative error.
///
/// # Safety
/// The arguments are the program's own.
pub unsafe fn submit(context: c_ulong, count: c_long, blocks: *const *mut c_void) -> c_int {
    let words = [context as usize, count as usize, blocks as usize, 0, 0, 0];
    // SAFETY: as the caller promises.
    unsafe { protocol::raw::any(libc::SYS_io_submit as usize, words) as c_int }
}
