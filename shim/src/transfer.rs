//! read, write and their many forms.

use crate::{family, resolve_all};
use core::ffi::{c_int, c_void};
use libc::{iovec, off64_t, size_t, ssize_t};
use protocol::data::Data;
use protocol::data::{Position, Transfer};
use protocol::transfer::{seek, transfer};

fn reading(fd: c_int, data: Data, at: Position, flags: c_int) -> Transfer {
    Transfer {
        fd,
        write: false,
        data,
        at,
        flags,
    }
}

fn writing(fd: c_int, data: Data, at: Position, flags: c_int) -> Transfer {
    Transfer {
        fd,
        write: true,
        data,
        at,
        flags,
    }
}

fn vector(iov: *const iovec, count: c_int) -> Data {
    Data::Vector(iov, usize::try_from(count).unwrap_or(0))
}

/// The v2 forms take -1 for "at the file offset".
fn offset_or_current(offset: off64_t) -> Position {
    if offset == -1 {
        Position::Offset
    } else {
        Position::At(offset)
    }
}

family! { read, __read => (fd: c_int, buf: *mut c_void, n: size_t) -> ssize_t, |real| {
    transfer(&reading(fd, Data::Buffer(buf, n), Position::Offset, 0), || real(fd, buf, n))
}}
family! { __read_chk => (fd: c_int, buf: *mut c_void, n: size_t, room: size_t) -> ssize_t, |real| {
    transfer(&reading(fd, Data::Buffer(buf, n), Position::Offset, 0), || real(fd, buf, n, room))
}}
family! { pread, pread64, __pread64 => (fd: c_int, buf: *mut c_void, n: size_t, at: off64_t) -> ssize_t, |real| {
    transfer(&reading(fd, Data::Buffer(buf, n), Position::At(at), 0), || real(fd, buf, n, at))
}}
family! { __pread_chk, __pread64_chk =>
    (fd: c_int, buf: *mut c_void, n: size_t, at: off64_t, room: size_t) -> ssize_t, |real| {
    transfer(&reading(fd, Data::Buffer(buf, n), Position::At(at), 0), || real(fd, buf, n, at, room))
}}
family! { readv => (fd: c_int, iov: *const iovec, count: c_int) -> ssize_t, |real| {
    transfer(&reading(fd, vector(iov, count), Position::Offset, 0), || real(fd, iov, count))
}}
family! { preadv, preadv64 => (fd: c_int, iov: *const iovec, count: c_int, at: off64_t) -> ssize_t, |real| {
    transfer(&reading(fd, vector(iov, count), Position::At(at), 0), || real(fd, iov, count, at))
}}
family! { preadv2, preadv64v2 =>
    (fd: c_int, iov: *const iovec, count: c_int, at: off64_t, flags: c_int) -> ssize_t, |real| {
    transfer(&reading(fd, vector(iov, count), offset_or_current(at), flags), || real(fd, iov, count, at, flags))
}}

family! { write, __write => (fd: c_int, buf: *mut c_void, n: size_t) -> ssize_t, |real| {
    transfer(&writing(fd, Data::Buffer(buf, n), Position::Offset, 0), || real(fd, buf, n))
}}
family! { pwrite, pwrite64, __pwrite64 => (fd: c_int, buf: *mut c_void, n: size_t, at: off64_t) -> ssize_t, |real| {
    transfer(&writing(fd, Data::Buffer(buf, n), Position::At(at), 0), || real(fd, buf, n, at))
}}
family! { writev => (fd: c_int, iov: *const iovec, count: c_int) -> ssize_t, |real| {
    transfer(&writing(fd, vector(iov, count), Position::Offset, 0), || real(fd, iov, count))
}}
family! { pwritev, pwritev64 => (fd: c_int, iov: *const iovec, count: c_int, at: off64_t) -> ssize_t, |real| {
    transfer(&writing(fd, vector(iov, count), Position::At(at), 0), || real(fd, iov, count, at))
}}
family! { pwritev2, pwritev64v2 =>
    (fd: c_int, iov: *const iovec, count: c_int, at: off64_t, flags: c_int) -> ssize_t, |real| {
    transfer(&writing(fd, vector(iov, count), offset_or_current(at), flags), || real(fd, iov, count, at, flags))
}}

family! { lseek, lseek64, __lseek => (fd: c_int, offset: off64_t, whence: c_int) -> off64_t, |real| {
    seek(fd, || real(fd, offset, whence))
}}

resolve_all!(
    read,
    __read,
    __read_chk,
    pread,
    pread64,
    __pread64,
    __pread_chk,
    __pread64_chk,
    readv,
    preadv,
    preadv64,
    preadv2,
    preadv64v2,
    write,
    __write,
    pwrite,
    pwrite64,
    __pwrite64,
    writev,
    pwritev,
    pwritev64,
    pwritev2,
    pwritev64v2,
    lseek,
    lseek64,
    __lseek,
);
