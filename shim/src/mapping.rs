//! mmap and its family.

use crate::{family, resolve_all};
use core::ffi::{c_int, c_void};
use libc::{off64_t, size_t};
use protocol::locked::{lock_all, unlock_all};
use protocol::mappings::{Map, map, unmap};
use protocol::remaps::{Remap, protect, remap, remap_pages};

family! { mmap, mmap64 =>
    (at: *mut c_void, len: size_t, prot: c_int, flags: c_int, fd: c_int, offset: off64_t) -> *mut c_void, |real| {
    map(&Map { at: at as usize, len, prot, flags, fd, offset }, |flags| real(at, len, prot, flags, fd, offset))
}}
family! { munmap => (at: *mut c_void, len: size_t) -> c_int, |real| { unmap(at, len, || real(at, len)) }}
family! { mremap =>
    (at: *mut c_void, old_len: size_t, new_len: size_t, flags: c_int, to: *mut c_void) -> *mut c_void, |real| {
    remap(&Remap { at: at as usize, old_len, new_len, flags }, || real(at, old_len, new_len, flags, to))
}}
family! { mprotect => (at: *mut c_void, len: size_t, prot: c_int) -> c_int, |real| {
    protect(at, len, prot, || real(at, len, prot))
}}
family! { pkey_mprotect => (at: *mut c_void, len: size_t, prot: c_int, key: c_int) -> c_int, |real| {
    protect(at, len, prot, || real(at, len, prot, key))
}}
family! { remap_file_pages => (at: *mut c_void, len: size_t, prot: c_int, page: size_t, flags: c_int) -> c_int, |real| {
    remap_pages(at, len, || real(at, len, prot, page, flags))
}}

family! { mlockall => (flags: c_int) -> c_int, |real| { lock_all(flags, |flags| real(flags)) }}
family! { munlockall => () -> c_int, |real| { unlock_all(|| real()) }}

resolve_all!(
    mmap,
    mmap64,
    munmap,
    mremap,
    mprotect,
    pkey_mprotect,
    remap_file_pages,
    mlockall,
    munlockall,
);
