//! mmap and its family.

use crate::doors::symbol::Libc;
use crate::table::calls;
use core::ffi::{c_int, c_uint, c_void};
use libc::{iovec, off64_t, size_t, ssize_t};
use protocol::calls::locked::{lock_all, unlock_all};
use protocol::calls::mappings::{Map, map, unmap};
use protocol::calls::memory::{remove, remove_each, sync};
use protocol::calls::remaps::{Remap, protect, remap, remap_pages};

calls! { Libc "Mappings" {
"maps a file": [mmap, mmap64] = SYS_mmap
    fn(at: *mut c_void, len: size_t, prot: c_int, flags: c_int, fd: c_int, offset: off64_t) -> *mut c_void, |real| {
    map(&Map { at: at as usize, len, prot, flags, fd, offset }, |flags| real(at, len, prot, flags, fd, offset))
}
"takes a mapping away": [munmap] = SYS_munmap
    fn(at: *mut c_void, len: size_t) -> c_int, |real| { unmap(at, len, || real(at, len)) }
"moves a mapping, or changes its length": variadic [mremap] = SYS_mremap
    fn(at: *mut c_void, old_len: size_t, new_len: size_t, flags: c_int, to: *mut c_void) -> *mut c_void, |real| {
    remap(&Remap { at: at as usize, old_len, new_len, flags }, || real(at, old_len, new_len, flags, to))
}
"says who may do what with a mapping": [mprotect] = SYS_mprotect
    fn(at: *mut c_void, len: size_t, prot: c_int) -> c_int, |real| {
    protect(at, len, prot, || real(at, len, prot))
}
"says who may do what with a mapping, and gives it a key": unlisted [pkey_mprotect 2.27] = SYS_pkey_mprotect
    fn(at: *mut c_void, len: size_t, prot: c_int, key: c_int) -> c_int, |real| {
    protect(at, len, prot, || real(at, len, prot, key))
}
"maps other pages of the file": [remap_file_pages] = SYS_remap_file_pages
    fn(at: *mut c_void, len: size_t, prot: c_int, page: size_t, flags: c_int) -> c_int, |real| {
    remap_pages(at, len, page, || real(at, len, prot, page, flags))
}
// An allocator's calls, of which there are many, are none of these.
"advises on memory (MADV_REMOVE: punches the file that is shown there)": [madvise] = SYS_madvise
    fn(at: *mut c_void, len: size_t, advice: c_int) -> c_int, |real| {
    match advice {
        libc::MADV_REMOVE => remove(at as usize, len, &|at, len| real(at as *mut c_void, len, advice) as isize) as c_int,
        _ => real(at, len, advice),
    }
}
"advises on parts of a process's memory (MADV_REMOVE: punches)": unlisted [process_madvise 2.36] = SYS_process_madvise
    fn(process: c_int, parts: *const iovec, n: size_t, advice: c_int, flags: c_uint) -> ssize_t, |real| {
    let one = |at, len| {
        let part = iovec { iov_base: at as *mut c_void, iov_len: len };
        real(process, &part, 1, advice, flags)
    };
    match advice {
        libc::MADV_REMOVE => remove_each((parts, n), &one, &|| real(process, parts, n, advice, flags)),
        _ => real(process, parts, n, advice, flags),
    }
}
"brings a mapping onto the device": [msync] = SYS_msync
    fn(at: *mut c_void, len: size_t, flags: c_int) -> c_int, |real| {
    sync(at as usize, len, flags, || real(at, len, flags))
}
"keeps all memory in": [mlockall] = SYS_mlockall
    fn(flags: c_int) -> c_int, |real| { lock_all(flags, |flags| real(flags)) }
"keeps memory in no longer": [munlockall] = SYS_munlockall
    fn() -> c_int, |real| { unlock_all(|| real()) }
}}
