//! This process's memory.

use core::ffi::c_int;

use crate::call::Raw;
use crate::known;

pub fn map_anonymous(bytes: usize) -> Option<*mut u8> {
    map(bytes, libc::MAP_PRIVATE | NOTHING_BEHIND, -1)
}

/// The same, shared with the children that are forked.
pub fn map_shared(bytes: usize) -> Option<*mut u8> {
    map(bytes, libc::MAP_SHARED | NOTHING_BEHIND, -1)
}

/// A file's bytes, shared with all who map it.
pub fn map_file(fd: c_int, bytes: usize) -> Option<*mut u8> {
    map(bytes, libc::MAP_SHARED, fd)
}

const NOTHING_BEHIND: c_int = libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;

fn map(bytes: usize, flags: c_int, fd: c_int) -> Option<*mut u8> {
    let both = libc::PROT_READ | libc::PROT_WRITE;
    let at = call!(SYS_mmap, 0, bytes, both, flags, fd, 0);
    (!(-4095..=0).contains(&at)).then_some(at as *mut u8)
}

pub fn unmap(at: *mut u8, bytes: usize) {
    call!(SYS_munmap, at, bytes);
}

/// Who may do what with these pages. False: it isn't allowed.
pub fn protect(at: usize, bytes: usize, protection: c_int) -> bool {
    call!(SYS_mprotect, at, bytes, protection) == 0
}

/// Nothing may touch this memory.
pub fn forbid(at: *mut u8, bytes: usize) {
    call!(SYS_mprotect, at, bytes, libc::PROT_NONE);
}

/// How large a page is: of one size on x86-64, and asked for elsewhere.
#[inline]
pub fn page() -> usize {
    if cfg!(target_arch = "x86_64") {
        return 4096;
    }
    // SAFETY: looks at what the kernel gave the program when it started.
    (unsafe { libc::getauxval(libc::AT_PAGESZ) }) as usize
}

/// Has these pages there to be written to, as a copy to them would; what can't be is left.
pub fn populate(at: usize, bytes: usize) {
    let first = at - at % page().max(1);
    call!(
        SYS_madvise,
        first,
        at.saturating_add(bytes).saturating_sub(first),
        libc::MADV_POPULATE_WRITE
    );
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

/// How many pages that end at `end`, of so many, can be read, one after the other downwards. None: it can't be known.
pub fn readable_below(end: usize, pages: usize, page: usize) -> Option<usize> {
    const AT_ONCE: usize = 32;
    let mut found = 0;
    while found < pages {
        let count = (pages - found).min(AT_ONCE);
        let mut bytes = [0u8; AT_ONCE];
        let local = libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: count,
        };
        // The last byte of each.
        let of = |n: usize| libc::iovec {
            iov_base: end.wrapping_sub((found + n) * page + 1) as *mut core::ffi::c_void,
            iov_len: 1,
        };
        let remote: [libc::iovec; AT_ONCE] = core::array::from_fn(of);
        let (pid, remote) = (known::pid(), remote.as_ptr());
        match call!(
            SYS_process_vm_readv,
            pid,
            &raw const local,
            1,
            remote,
            count,
            0
        ) {
            n @ 1.. => found += n as usize,
            n if n == 0 || n == -(libc::EFAULT as isize) => break,
            _ => return None,
        }
    }
    Some(found)
}

/// Puts the bytes there, past what protects them.
///
/// # Safety
/// Readable memory of this process lies there, and means the same with these bytes to whoever reads it.
pub unsafe fn put_data(at: usize, bytes: &[u8]) -> bool {
    let memory = crate::open(c"/proc/self/mem", libc::O_RDWR);
    if memory < 0 {
        return false;
    }
    let done = crate::move_at(
        true,
        memory as c_int,
        bytes.as_ptr() as usize,
        bytes.len(),
        at as u64,
    );
    crate::close(memory as c_int);
    // SAFETY: as the caller promises.
    done == bytes.len() as isize && unsafe { stands(at, bytes) }
}

/// Whether the bytes stand there.
///
/// # Safety
/// It can be read.
pub unsafe fn stands(at: usize, bytes: &[u8]) -> bool {
    let each = bytes.iter().enumerate();
    // SAFETY: as the caller promises. Volatile: what wrote it was no store that the compiler saw.
    each.into_iter()
        .all(|(i, byte)| unsafe { (at as *const u8).wrapping_add(i).read_volatile() == *byte })
}
