//! What moves bytes from one file to another, into another process, or later. Not covered: said where it matters, not
//! hidden.

use crate::doors::aio::{POSIX, posix, tell_each};
use crate::doors::symbol::Libc;

use crate::table::calls;
use core::ffi::{c_int, c_long, c_uint, c_ulong};
use libc::{aiocb, iovec, off64_t, pid_t, sigevent, size_t, ssize_t};
use protocol::calls::numbers::{asking_both, uncovered_if_mixed};

/// What the kernel moves from one number to the other.
fn copying(what: &'static str, from: c_int, to: c_int, real: impl Fn() -> ssize_t) -> ssize_t {
    asking_both(from, to, || {
        uncovered_if_mixed(from, what);
        uncovered_if_mixed(to, what);
        real()
    })
}

calls! { Libc "Not covered, and said" {
"copies a part of a file": [copy_file_range 2.27] = SYS_copy_file_range
    fn(from: c_int, at: *mut off64_t, to: c_int, into: *mut off64_t, n: size_t, flags: c_uint) -> ssize_t, |real| {
    copying("copy_file_range", from, to, || real(from, at, to, into, n, flags))
}
"sends a part of a file": [sendfile, sendfile64] = SYS_sendfile
    fn(to: c_int, from: c_int, at: *mut off64_t, n: size_t) -> ssize_t, |real| {
    copying("sendfile", from, to, || real(to, from, at, n))
}
"moves a part of a file from or to a pipe": [splice] = SYS_splice
    fn(from: c_int, at: *mut off64_t, to: c_int, into: *mut off64_t, n: size_t, flags: c_uint) -> ssize_t, |real| {
    copying("splice", from, to, || real(from, at, to, into, n, flags))
}
"writes into another process's memory": [process_vm_writev] = SYS_process_vm_writev
    fn(pid: pid_t, local: *const iovec, n: c_ulong, remote: *const iovec, m: c_ulong, flags: c_ulong) -> ssize_t, |real| {
    protocol::tell::once::uncovered_call("process_vm_writev");
    real(pid, local, n, remote, m, flags)
}
"reads later": [aio_read] unlisted [aio_read64]
    fn(block: *mut aiocb) -> c_int, |real| {
    posix(block.cast(), || real(block))
}
"writes later": [aio_write] unlisted [aio_write64]
    fn(block: *mut aiocb) -> c_int, |real| {
    posix(block.cast(), || real(block))
}
"reads and writes later, or waits": [lio_listio] unlisted [lio_listio64]
    fn(mode: c_int, list: *const *mut aiocb, count: c_int, event: *mut sigevent) -> c_int, |real| {
    tell_each(list.cast(), c_long::from(count), 0, POSIX);
    real(mode, list, count, event)
}
}}
