//! This process's memory.

use crate::call::Raw;

pub fn map_anonymous(bytes: usize) -> Option<*mut u8> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let at = call!(
        SYS_mmap,
        0,
        bytes,
        libc::PROT_READ | libc::PROT_WRITE,
        flags,
        -1isize,
        0
    );
    (!(-4095..=0).contains(&at)).then_some(at as *mut u8)
}

pub fn unmap(at: *mut u8, bytes: usize) {
    call!(SYS_munmap, at, bytes);
}

/// Nothing may touch this memory.
pub fn forbid(at: *mut u8, bytes: usize) {
    call!(SYS_mprotect, at, bytes, libc::PROT_NONE);
}

/// Whether there is some mapping at all of these addresses: the call does nothing else.
pub fn is_mapped(at: usize, len: usize) -> bool {
    call!(SYS_msync, at, len, libc::MS_ASYNC) == 0
}

/// Moves a mapping, over whatever is there.
pub fn move_mapping(from: usize, len: usize, to: usize) -> bool {
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    call!(SYS_mremap, from, len, len, flags, to) == to as isize
}

/// Have the kernel zero this page in every forked child.
pub fn wipe_on_fork(at: *mut u8, bytes: usize) -> bool {
    call!(SYS_madvise, at, bytes, libc::MADV_WIPEONFORK) == 0
}

/// mlock, or mlock2 where pages are to be read in when they are used.
pub fn lock_memory(at: usize, len: usize, on_fault: bool) -> Raw {
    match on_fault {
        true => call!(SYS_mlock2, at, len, libc::MLOCK_ONFAULT),
        false => call!(SYS_mlock, at, len),
    }
}
