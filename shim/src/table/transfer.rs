//! read, write and their many forms.

use crate::doors::symbol::Libc;
use crate::table::calls;
use core::ffi::{c_int, c_void};
use libc::{iovec, off64_t, size_t, ssize_t};
use protocol::calls::transfer::{seek, transfer};
use protocol::what::data::{Data, Position};

/// What a call moves, from or to where, and how; looked at only if the file isn't in one mode.
type Moved = (Data, Position, c_int);

#[inline(always)]
fn reads(fd: c_int, moved: impl Fn() -> Moved, real: impl Fn() -> ssize_t + Copy) -> ssize_t {
    transfer(fd, false, moved, real)
}

#[inline(always)]
fn writes(fd: c_int, moved: impl Fn() -> Moved, real: impl Fn() -> ssize_t + Copy) -> ssize_t {
    transfer(fd, true, moved, real)
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

// By number the v2 forms take the place in two halves, of which 64-bit kernels use the first.
calls! { Libc "Reading and writing" {
"reads at the offset": [read] unlisted [__read] = SYS_read
    fn(fd: c_int, buf: *mut c_void, n: size_t) -> ssize_t, |real| {
    reads(fd, move || (Data::Buffer(buf, n), Position::Offset, 0), move || real(fd, buf, n))
}
"reads at the offset, into a buffer of known size": unlisted [__read_chk]
    fn(fd: c_int, buf: *mut c_void, n: size_t, room: size_t) -> ssize_t, |real| {
    reads(fd, move || (Data::Buffer(buf, n), Position::Offset, 0), move || real(fd, buf, n, room))
}
"reads a counter": [eventfd_read]
    fn(fd: c_int, value: *mut u64) -> c_int, |real| {
    let read = move || if real(fd, value) == 0 { 8 } else { -1 };
    let n = reads(fd, move || (Data::Buffer(value.cast(), 8), Position::Offset, 0), read);
    if n == 8 { 0 } else { -1 }
}
"reads at a place": [pread, pread64] unlisted [__pread64] = SYS_pread64
    fn(fd: c_int, buf: *mut c_void, n: size_t, at: off64_t) -> ssize_t, |real| {
    reads(fd, move || (Data::Buffer(buf, n), Position::At(at), 0), move || real(fd, buf, n, at))
}
"reads at a place, into a buffer of known size": unlisted [__pread_chk, __pread64_chk]
    fn(fd: c_int, buf: *mut c_void, n: size_t, at: off64_t, room: size_t) -> ssize_t, |real| {
    reads(fd, move || (Data::Buffer(buf, n), Position::At(at), 0), move || real(fd, buf, n, at, room))
}
"reads into several buffers at the offset": [readv] = SYS_readv
    fn(fd: c_int, iov: *const iovec, count: c_int) -> ssize_t, |real| {
    reads(fd, move || (vector(iov, count), Position::Offset, 0), move || real(fd, iov, count))
}
"reads into several buffers at a place": [preadv, preadv64] = SYS_preadv
    fn(fd: c_int, iov: *const iovec, count: c_int, at: off64_t) -> ssize_t, |real| {
    reads(fd, move || (vector(iov, count), Position::At(at), 0), move || real(fd, iov, count, at))
}
"reads into several buffers at a place or the offset, with flags": [preadv2 2.26, preadv64v2 2.26]
    fn(fd: c_int, iov: *const iovec, count: c_int, at: off64_t, flags: c_int) -> ssize_t, |real| {
    reads(fd, move || (vector(iov, count), offset_or_current(at), flags), move || real(fd, iov, count, at, flags))
}
    by SYS_preadv2 fn(fd: c_int, iov: *const iovec, count: c_int, at: off64_t, high: usize, flags: c_int) -> ssize_t, |real| {
    reads(fd, move || (vector(iov, count), offset_or_current(at), flags), move || real(fd, iov, count, at, high, flags))
}

"writes at the offset": [write] unlisted [__write] = SYS_write
    fn(fd: c_int, buf: *const c_void, n: size_t) -> ssize_t, |real| {
    writes(fd, move || (Data::Buffer(buf.cast_mut(), n), Position::Offset, 0), move || real(fd, buf, n))
}
"writes at a place": [pwrite, pwrite64] unlisted [__pwrite64] = SYS_pwrite64
    fn(fd: c_int, buf: *const c_void, n: size_t, at: off64_t) -> ssize_t, |real| {
    writes(fd, move || (Data::Buffer(buf.cast_mut(), n), Position::At(at), 0), move || real(fd, buf, n, at))
}
"writes several buffers at the offset": [writev] = SYS_writev
    fn(fd: c_int, iov: *const iovec, count: c_int) -> ssize_t, |real| {
    writes(fd, move || (vector(iov, count), Position::Offset, 0), move || real(fd, iov, count))
}
"writes several buffers at a place": [pwritev, pwritev64] = SYS_pwritev
    fn(fd: c_int, iov: *const iovec, count: c_int, at: off64_t) -> ssize_t, |real| {
    writes(fd, move || (vector(iov, count), Position::At(at), 0), move || real(fd, iov, count, at))
}
"writes several buffers at a place or the offset, with flags": [pwritev2 2.26, pwritev64v2 2.26]
    fn(fd: c_int, iov: *const iovec, count: c_int, at: off64_t, flags: c_int) -> ssize_t, |real| {
    writes(fd, move || (vector(iov, count), offset_or_current(at), flags), move || real(fd, iov, count, at, flags))
}
    by SYS_pwritev2 fn(fd: c_int, iov: *const iovec, count: c_int, at: off64_t, high: usize, flags: c_int) -> ssize_t, |real| {
    writes(fd, move || (vector(iov, count), offset_or_current(at), flags), move || real(fd, iov, count, at, high, flags))
}

"moves the offset": [lseek, lseek64] unlisted [__lseek] = SYS_lseek
    fn(fd: c_int, offset: off64_t, whence: c_int) -> off64_t, |real| {
    seek(fd, || real(fd, offset, whence))
}
"moves the offset, for programs that were linked long ago: no new one is given the name": unlisted [llseek]
    fn(fd: c_int, offset: off64_t, whence: c_int) -> off64_t, |real| {
    let _ = real;
    seek(fd, || lseek64::real()(fd, offset, whence))
}
}}
