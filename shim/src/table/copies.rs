//! What the kernel moves from one number to another, and what moves blocks from one file to another.

use crate::doors::copies::{given, sending, splicing};
use crate::doors::symbol::Libc;
use crate::table::calls;
use core::ffi::{c_int, c_uint, c_ulong};
use libc::{off64_t, size_t, ssize_t};
use protocol::calls::blocks::control;
use protocol::calls::copy::copy;
use protocol::calls::numbers::asking_both;
use protocol::calls::piece::Copy;

calls! { Libc "Copies and moves" {
"copies a part of a file": [copy_file_range 2.27] = SYS_copy_file_range
    fn(from: c_int, at: *mut off64_t, to: c_int, into: *mut off64_t, n: size_t, flags: c_uint) -> ssize_t, |real| {
    let all = Copy { from, at, to, into, len: n };
    asking_both(from, to, || copy(&all, &|from, at, to, into, n| real(from, at, to, into, n, flags)))
}
"sends a part of a file": [sendfile, sendfile64] = SYS_sendfile
    fn(to: c_int, from: c_int, at: *mut off64_t, n: size_t) -> ssize_t, |real| {
    sending(to, from, at, n, |n| real(to, from, at, n))
}
"moves a part of a file from or to a pipe": [splice] = SYS_splice
    fn(from: c_int, at: *mut off64_t, to: c_int, into: *mut off64_t, n: size_t, flags: c_uint) -> ssize_t, |real| {
    const KNOWN: c_uint = 15;
    if flags & !KNOWN != 0 {
        real(from, at, to, into, n, flags) // the kernel refuses it
    } else {
        splicing(&given(from, at, to, into, n, flags), |from, at, to, into, n, more| {
            real(from, at, to, into, n, flags | more)
        })
    }
}
"does what a device or a filesystem can: of this reflinks, dedupe, and what else moves blocks": variadic [ioctl] = SYS_ioctl
    fn(fd: c_int, request: c_ulong, argument: usize) -> c_int, |real| {
    control(fd, request as usize, argument, |argument| real(fd, request, argument))
}
}}
