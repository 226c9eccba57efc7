//! sendfile and splice, which share a way.

use crate::table::write;
use core::ffi::{c_int, c_uint};
use core::ptr::null_mut;
use protocol::calls::moved::{self, Move};
use protocol::calls::numbers::asking_both;

/// splice, as the program asked for it.
pub fn given(
    from: c_int,
    at: *mut i64,
    to: c_int,
    into: *mut i64,
    len: usize,
    flags: c_uint,
) -> Move {
    Move {
        from,
        at,
        to,
        into,
        len,
        no_wait: flags & libc::SPLICE_F_NONBLOCK != 0,
    }
}

/// `real` takes the length.
pub fn sending(
    to: c_int,
    from: c_int,
    at: *mut i64,
    len: usize,
    real: impl Fn(usize) -> isize,
) -> isize {
    let all = Move {
        from,
        at,
        to,
        into: null_mut(),
        len,
        no_wait: false,
    };
    asking_both(from, to, || moved::send(&all, &real))
}

/// `real` takes all but the flags, and flags more.
pub fn splicing(
    all: &Move,
    real: impl Fn(c_int, *mut i64, c_int, *mut i64, usize, c_uint) -> isize,
) -> isize {
    asking_both(all.from, all.to, || {
        moved::splice(
            all,
            &|len| real(all.from, all.at, all.to, all.into, len, 0),
            &|from, at, to, into, len| real(from, at, to, into, len, libc::SPLICE_F_NONBLOCK),
            // SAFETY: the buffer is as long.
            &|fd, from, len| unsafe { write::real()(fd, from.cast(), len) },
        )
    })
}
