//! open, close, dup, fcntl: the life of descriptors, and the syncs that report their errors.

use crate::doors::opens::opens_how;
use crate::doors::stdio::standard;
use crate::doors::symbol::Libc;
use crate::table::calls;
use core::ffi::{c_char, c_int, c_uint, c_void};
use libc::{AT_FDCWD, O_CREAT, O_TRUNC, O_WRONLY, file_handle, mode_t, off64_t, size_t};
use protocol::calls::emptying::{open as opening, open_handle, open_shared};
use protocol::calls::numbers as ours;

calls! { Libc "Descriptors" {
"opens a file": variadic [open, open64] unlisted [__open, __open64] = SYS_open on "x86_64"
    fn(path: *const c_char, flags: c_int, mode: mode_t) -> c_int, |real| {
    standard(opening(AT_FDCWD, path, flags, |flags| real(path, flags, mode)))
}
"opens a file that is there": unlisted [__open_2, __open64_2]
    fn(path: *const c_char, flags: c_int) -> c_int, |real| {
    standard(opening(AT_FDCWD, path, flags, |flags| real(path, flags)))
}
"opens a file from a directory": variadic [openat, openat64] = SYS_openat
    fn(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int, |real| {
    standard(opening(dir, path, flags, |flags| real(dir, path, flags, mode)))
}
"opens a file that is there from a directory": unlisted [__openat_2, __openat64_2]
    fn(dir: c_int, path: *const c_char, flags: c_int) -> c_int, |real| {
    standard(opening(dir, path, flags, |flags| real(dir, path, flags)))
}
"opens a file from a directory, as a struct says": = SYS_openat2
    fn(dir: c_int, path: *const c_char, how: *const u64, size: size_t) -> c_int, |real| {
    standard(opens_how(dir, path, (how, size), &|how| real(dir, path, how, size)))
}
"makes a file, or empties it": [creat, creat64]
    fn(path: *const c_char, mode: mode_t) -> c_int, |real| {
    standard(opening(AT_FDCWD, path, O_CREAT | O_TRUNC | O_WRONLY, |flags| {
        if flags & O_TRUNC != 0 { real(path, mode) } else { open::real()(path, flags, mode) }
    }))
}
    by SYS_creat on "x86_64" fn(path: *const c_char, mode: mode_t) -> c_int, |real| {
    standard(crate::doors::opens::creat_by_number(path, mode, || real(path, mode)))
}
"opens the file behind a handle": [open_by_handle_at] = SYS_open_by_handle_at
    fn(mount: c_int, handle: *mut file_handle, flags: c_int) -> c_int, |real| {
    standard(open_handle(flags, |flags| real(mount, handle, flags)))
}
"opens shared memory": [shm_open]
    fn(name: *const c_char, flags: c_int, mode: mode_t) -> c_int, |real| {
    open_shared(name, flags, |flags| real(name, flags, mode))
}

"closes a number": [close] unlisted [__close] = SYS_close
    fn(fd: c_int) -> c_int, |real| { ours::close(fd, || real(fd)) }
"closes many numbers, or those from one on": [close_range 2.34] = SYS_close_range
    fn(first: c_uint, last: c_uint, flags: c_int) -> c_int, |real| {
    ours::close_range(first, last, flags, |a, b, f| real(a, b, f))
}
"closes all numbers from one on": unlisted [closefrom 2.34]
    fn(first: c_int) -> (), |real| {
    let _ = real;
    ours::close_range(first.max(0) as c_uint, c_uint::MAX, 0, |a, b, f| close_range::real()(a, b, f));
}

"makes a second number": [dup] = SYS_dup
    fn(old: c_int) -> c_int, |real| { standard(ours::dup(old, || real(old))) }
"makes a second number, which is named": [dup2] unlisted [__dup2] = SYS_dup2 on "x86_64"
    fn(old: c_int, new: c_int) -> c_int, |real| { standard(ours::dup_to(old, new, || real(old, new))) }
"makes a second number, which is named, with flags": [dup3] = SYS_dup3
    fn(old: c_int, new: c_int, flags: c_int) -> c_int, |real| { standard(ours::dup_to(old, new, || real(old, new, flags))) }
"does many things with a number: second numbers, flags, locks, leases": variadic [fcntl] unlisted [fcntl64 2.28, __fcntl] = SYS_fcntl
    fn(fd: c_int, command: c_int, argument: usize) -> c_int, |real| {
    let result = ours::fcntl(fd, command, argument, || real(fd, command, argument));
    if matches!(command, libc::F_DUPFD | libc::F_DUPFD_CLOEXEC) { standard(result) } else { result }
}
"says what is behind a number": [fstat 2.33] = SYS_fstat
    fn(fd: c_int, into: *mut libc::stat) -> c_int, |real| { ours::asking(fd, || real(fd, into)) }
"says what is behind a number, with large offsets": [fstat64 2.33]
    fn(fd: c_int, into: *mut libc::stat64) -> c_int, |real| { ours::asking(fd, || real(fd, into)) }
"says what is behind a number, as fstat did before it was a function": unlisted [__fxstat, __fxstat64]
    fn(version: c_int, fd: c_int, into: *mut c_void) -> c_int, |real| {
    ours::asking(fd, || real(version, fd, into))
}
"locks a part of a file": [lockf] unlisted [lockf64]
    fn(fd: c_int, command: c_int, len: off64_t) -> c_int, |real| {
    ours::posix_lock(fd, || real(fd, command, len))
}

"writes a file back": [fsync] = SYS_fsync
    fn(fd: c_int) -> c_int, |real| { ours::sync(fd, || real(fd)) }
"writes a file's data back": [fdatasync] = SYS_fdatasync
    fn(fd: c_int) -> c_int, |real| { ours::sync(fd, || real(fd)) }
"writes a part of a file back": [sync_file_range] = SYS_sync_file_range
    fn(fd: c_int, offset: off64_t, len: off64_t, flags: c_uint) -> c_int, |real| {
    ours::sync(fd, || real(fd, offset, len, flags))
}
}}

/// What the hooks of opens call.
pub fn opens() -> [usize; 10] {
    [
        open::real() as usize,
        open64::real() as usize,
        __open::real() as usize,
        __open64::real() as usize,
        openat::real() as usize,
        openat64::real() as usize,
        __open_2::real() as usize,
        __open64_2::real() as usize,
        creat::real() as usize,
        creat64::real() as usize,
    ]
}
