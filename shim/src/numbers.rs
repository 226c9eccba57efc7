//! open, close, dup, fcntl: the life of descriptors, and the syncs that report their errors.

use crate::{family, resolve_all};
use core::ffi::{c_char, c_int, c_uint, c_void};
use libc::{AT_FDCWD, O_CREAT, O_TRUNC, O_WRONLY, mode_t, off64_t};
use protocol::emptying::open as opening;
use protocol::numbers as ours;

// `open` is variadic, but every register holds something: what isn't given isn't looked at.
family! { open, open64, __open, __open64 => (path: *const c_char, flags: c_int, mode: mode_t) -> c_int, |real| {
    opening(AT_FDCWD, path, flags, |flags| real(path, flags, mode))
}}
family! { __open_2, __open64_2 => (path: *const c_char, flags: c_int) -> c_int, |real| {
    opening(AT_FDCWD, path, flags, |flags| real(path, flags))
}}
family! { openat, openat64 => (dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int, |real| {
    opening(dir, path, flags, |flags| real(dir, path, flags, mode))
}}
family! { __openat_2, __openat64_2 => (dir: c_int, path: *const c_char, flags: c_int) -> c_int, |real| {
    opening(dir, path, flags, |flags| real(dir, path, flags))
}}
family! { creat, creat64 => (path: *const c_char, mode: mode_t) -> c_int, |real| {
    opening(AT_FDCWD, path, O_CREAT | O_TRUNC | O_WRONLY, |flags| {
        if flags & O_TRUNC != 0 { real(path, mode) } else { open::real()(path, flags, mode) }
    })
}}

family! { close, __close => (fd: c_int) -> c_int, |real| { ours::close(fd, || real(fd)) }}
family! { close_range => (first: c_uint, last: c_uint, flags: c_int) -> c_int, |real| {
    ours::close_range(first, last, flags, |a, b, f| real(a, b, f))
}}
family! { closefrom => (first: c_int) -> (), |real| {
    let _ = real;
    ours::close_range(first.max(0) as c_uint, c_uint::MAX, 0, |a, b, f| close_range::real()(a, b, f));
}}

family! { dup => (old: c_int) -> c_int, |real| { ours::dup(old, || real(old)) }}
family! { dup2, __dup2 => (old: c_int, new: c_int) -> c_int, |real| { ours::dup_to(old, new, || real(old, new)) }}
family! { dup3 => (old: c_int, new: c_int, flags: c_int) -> c_int, |real| { ours::dup_to(old, new, || real(old, new, flags)) }}
family! { fcntl, fcntl64, __fcntl => (fd: c_int, command: c_int, argument: usize) -> c_int, |real| {
    ours::fcntl(fd, command, argument, || real(fd, command, argument))
}}
family! { fstat, fstat64 => (fd: c_int, into: *mut c_void) -> c_int, |real| { ours::asking(fd, || real(fd, into)) }}
family! { __fxstat, __fxstat64 => (version: c_int, fd: c_int, into: *mut c_void) -> c_int, |real| {
    ours::asking(fd, || real(version, fd, into))
}}
family! { lockf, lockf64 => (fd: c_int, command: c_int, len: off64_t) -> c_int, |real| {
    ours::posix_lock(fd, || real(fd, command, len))
}}

family! { fsync, fdatasync => (fd: c_int) -> c_int, |real| { ours::sync(fd, || real(fd)) }}
family! { sync_file_range => (fd: c_int, offset: off64_t, len: off64_t, flags: c_uint) -> c_int, |real| {
    ours::sync(fd, || real(fd, offset, len, flags))
}}

resolve_all!(
    open,
    open64,
    __open,
    __open64,
    __open_2,
    __open64_2,
    openat,
    openat64,
    __openat_2,
    __openat64_2,
    creat,
    creat64,
    close,
    __close,
    dup,
    dup2,
    __dup2,
    dup3,
    fcntl,
    fcntl64,
    __fcntl,
    lockf,
    lockf64,
    fsync,
    fdatasync,
    sync_file_range,
    close_range,
    closefrom,
    fstat,
    fstat64,
    __fxstat,
    __fxstat64
);
