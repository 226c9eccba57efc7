//! This process's own machine code: pages for more of it, and other bytes where some stands.
//!
//! Two ways to change it, neither of which ever takes the right to run it away, not even for a moment: under a policy that
//! memory is not both written and run (MDWE, SELinux) it wouldn't come back.

use crate::call::Raw;
use crate::{put_data, stands};
use core::ffi::c_int;

pub const PAGE: usize = 4096;

fn map(
    at: usize,
    len: usize,
    protection: c_int,
    flags: c_int,
    (fd, offset): (c_int, usize),
) -> Option<usize> {
    let at = call!(SYS_mmap, at, len, protection, flags, fd, offset);
    (!(-4095..=0).contains(&at)).then_some(at as usize)
}

/// Pages that can be run, at this place exactly; None: something is there.
pub fn map_to_run(at: usize, len: usize) -> Option<usize> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    let mapped = map(at, len, libc::PROT_READ | libc::PROT_EXEC, flags, (-1, 0))?;
    if mapped != at {
        // A kernel before 4.17 takes the place for a hint.
        crate::unmap(mapped as *mut u8, len);
        return None;
    }
    Some(at)
}

/// A file's bytes, to look at.
pub fn map_to_read(fd: c_int, len: usize) -> Option<usize> {
    map(0, len, libc::PROT_READ, libc::MAP_PRIVATE, (fd, 0))
}

/// mmap as somebody else asked for it.
pub fn map_as_asked(arguments: [usize; 6]) -> Raw {
    // SAFETY: the arguments are those of a call that was about to be made.
    unsafe { crate::any(libc::SYS_mmap as usize, arguments) }
}

/// Puts the bytes there, over what stands there. With `quiet`, nobody runs that code meanwhile: otherwise whoever does
/// sees all of the old bytes or all of the new ones.
///
/// # Safety
/// Readable code of this process stands there, and means the same with these bytes to whoever runs it.
pub unsafe fn put(at: usize, bytes: &[u8], quiet: bool) -> bool {
    // SAFETY: as the caller promises.
    unsafe { (quiet && put_data(at, bytes)) || exchanged(at, bytes) }
}

/// A copy of the pages takes their place, which the kernel does at once: a thread that runs there goes on in the one or in
/// the other, and waits in the fault meanwhile.
///
/// # Safety
/// As for [`put`].
unsafe fn exchanged(at: usize, bytes: &[u8]) -> bool {
    let first = at / PAGE * PAGE;
    let len = (at + bytes.len()).next_multiple_of(PAGE) - first;
    let Some(copy) = crate::map_anonymous(len) else {
        return false;
    };
    // SAFETY: the pages can be read, and the copy, which is ours, has room for them.
    unsafe {
        core::ptr::copy_nonoverlapping(first as *const u8, copy, len);
        core::ptr::copy_nonoverlapping(bytes.as_ptr(), copy.add(at - first), bytes.len());
    }
    let run = libc::PROT_READ | libc::PROT_EXEC;
    if call!(SYS_mprotect, copy, len, run) != 0 || !crate::move_mapping(copy as usize, len, first) {
        crate::unmap(copy, len);
        return false;
    }
    // SAFETY: as the caller of `put` promises.
    unsafe { stands(at, bytes) }
}
