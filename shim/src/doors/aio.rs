//! Asynchronous calls: which numbers their blocks name.

use super::symbol::Library;
use core::ffi::{CStr, c_int, c_long, c_void};
use core::sync::atomic::AtomicUsize;
use kernel::aio::{Event, Mask};
use libc::timespec;
use protocol::calls::numbers::uncovered;
use protocol::requests::calls;

pub struct Libaio;

impl Library for Libaio {
    type Found<F> = Option<F>;
    const AT_START: bool = false;
    /// Nobody asks: what its functions do is done without them.
    fn find(_: &CStr, _: &AtomicUsize) -> usize {
        0
    }
}

pub const POSIX: &str = "POSIX aio";

/// The head of a `struct aiocb` (POSIX) or `struct iocb` (Linux), as far as it names the descriptor.
fn number_at(block: *const c_void, offset: usize) -> c_int {
    let mut fd = [0 as c_int];
    let at = (block as usize).wrapping_add(offset) as *const c_int;
    match kernel::copy_from_program(at, &mut fd) {
        Ok(()) => fd.first().copied().unwrap_or(-1),
        Err(_) => -1,
    }
}

/// A request of POSIX's: libc makes the calls, in threads of its own.
pub fn posix(block: *const c_void, real: impl Fn() -> c_int) -> c_int {
    if !is_covered() {
        uncovered(number_at(block, 0), POSIX);
    }
    real()
}

#[cfg(target_arch = "x86_64")]
pub use super::sites::posix::is_covered;

/// How libc makes a system call is known on x86-64.
#[cfg(not(target_arch = "x86_64"))]
pub fn is_covered() -> bool {
    false
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
        if kernel::copy_from_program(blocks.wrapping_add(i), &mut block).is_ok() {
            block
                .iter()
                .for_each(|b| uncovered(number_at(*b, number_stands_at), what));
        }
    }
}

/// To a context that was made past us: said once a file.
pub fn submit(context: usize, count: isize, blocks: *const *mut c_void) -> isize {
    calls::submit(context, count, blocks.cast()).unwrap_or_else(|| {
        let n = kernel::aio::submit_list(context, count, blocks as usize);
        tell_each(blocks, n as c_long, 20, "io_submit");
        n
    })
}

/// As `syscall` says it.
pub fn said(result: isize) -> c_long {
    kernel::libc_result(result) as c_long
}

/// libaio's `io_getevents`, in either of its versions: 0.1 has no least number of completions, and waits for one.
pub fn wait(
    context: usize,
    (least, most): (isize, isize),
    into: *mut Event,
    limit: *const timespec,
) -> isize {
    match is_address(most) {
        true => calls::get_events(context, (1, least), most as *mut Event, into.cast()),
        false => calls::get_events(context, (least, most), into, limit),
    }
}

/// No program wants as many completions as an address is high, unless it means the address.
fn is_address(most: isize) -> bool {
    const LOWEST: isize = 1 << 22;
    let at = most as usize;
    most >= LOWEST && kernel::is_mapped(at - at % kernel::page().max(1), 1)
}

pub fn wait_masked(
    context: usize,
    how_many: (isize, isize),
    into: *mut Event,
    limit: *const timespec,
    set: *const c_void,
) -> isize {
    let mask = Mask {
        set: set as usize,
        size: 8,
    };
    calls::get_events_masked(context, how_many, into, limit, &mask)
}
