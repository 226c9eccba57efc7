//! What a read or a write has moved, and how.

use trace::{Mode, What};

use crate::what::data::{Position, Transfer};
use crate::what::descriptions;
use crate::what::words::{self, Peek};

/// What it is.
#[inline]
pub fn what_of(write: bool) -> What {
    match write {
        true => What::Write,
        false => What::Read,
    }
}

/// How it uses the file.
#[inline]
pub fn mode_of(write: bool, is_direct: bool) -> Mode {
    match (write, is_direct) {
        (false, false) => Mode::BufferedRead,
        (true, false) => Mode::BufferedWrite,
        (false, true) => Mode::DirectRead,
        (true, true) => Mode::DirectWrite,
    }
}

/// The first and last byte that it has moved, or that it was to move. At the file offset it is asked where that has come to.
#[inline(always)]
pub fn moved(call: &Transfer, n: isize) -> Option<(u64, u64)> {
    match (call.at, call.write, n) {
        (Position::At(at @ 0..), false, 1..) => {
            let first = at as u64;
            Some((first, first.saturating_add(n as u64 - 1)))
        }
        _ => moved_otherwise(call, n),
    }
}

/// What is no read of bytes at a place.
#[inline(never)]
fn moved_otherwise(call: &Transfer, n: isize) -> Option<(u64, u64)> {
    let appends = call.write && appends(call);
    let len = match n {
        1.. => n as u64,
        _ => call.data.bytes().filter(|len| *len != 0)?,
    };
    let first = match call.at {
        Position::At(at) if !appends => u64::try_from(at).ok()?,
        // It isn't known where the file ended.
        Position::At(_) => return None,
        Position::Offset if appends && n <= 0 => return None,
        Position::Offset => {
            let now = u64::try_from(kernel::lseek(call.fd, 0, libc::SEEK_CUR)).ok()?;
            now.checked_sub(n.max(0) as u64)?
        }
    };
    Some((first, first.saturating_add(len - 1)))
}

pub fn appends(call: &Transfer) -> bool {
    let Peek::Description { index, .. } = words::peek(call.fd) else {
        return false;
    };
    descriptions::description(index).is_some_and(|d| call.appends(d.flags()))
}

/// Whether another process has its file offset, too.
pub fn is_shared(fd: i32) -> bool {
    let Peek::Description { index, .. } = words::peek(fd) else {
        return true;
    };
    descriptions::description(index).is_none_or(|d| d.is_shared())
}
