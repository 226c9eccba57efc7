//! A direct request of a file whose policy routes such through the page cache: refused where direct I/O refuses it, made
//! by the program's own call, from whose descriptor `O_DIRECT` is off, and on the device when it returns.
//!
//! What isn't aligned the kernel refuses, mostly. A read is made directly first, by a second descriptor that has
//! `O_DIRECT` for so long, and through the cache if that was granted. A write can't be tried. Its place and its length are
//! never granted, and a buffer at an odd address where it is one piece, crosses no page, and makes the file no longer (the
//! kernel has zeros to write beside it then).

use core::cell::Cell;

use lock_table::page;

use crate::direct::alignment::alignment;
use crate::direct::refused::refuses_flags;
use crate::direct::second::{self, InHand};
use crate::direct::writeback::owe;
use crate::hold::call::look_at;
use crate::what::data::{Position, Transfer};
use crate::what::descriptions::Pinned;
use crate::what::file::File;
use crate::what::seconds::For;
use crate::what::storage::LAYERED;
use crate::who::thread::Frame;

/// What one look says of a request.
struct Asked {
    /// The kernel's error for it, negative; 0: none.
    refused: kernel::Raw,
    /// A write changes nothing before this, and no more than so much behind it; 0: to the end.
    place: u64,
    len: u64,
    seen: u64,
    /// The filesystem asks for alignment: one that doesn't goes through the cache by itself when it has to.
    is_judged: bool,
}

/// Makes the request, with `real`, or refuses it.
#[inline(never)]
pub fn serve(call: &Transfer, real: &dyn Fn() -> isize) -> isize {
    let asked = look_at(call.fd, |_, frame, pinned| ask(call, frame, pinned)).flatten();
    let Some(asked) = asked else {
        return real();
    };
    if asked.refused < 0 {
        return kernel::libc_result(asked.refused);
    }
    let n = real();
    match n {
        1.. if call.write => settle(call, &asked),
        -1 if may_not_wait(call) && asked.is_judged => would_wait(call),
        1.. if asked.is_judged && is_cut_short(call, &asked, n as u64) => {
            return refuse_rest(call, &asked);
        }
        _ => {}
    }
    n
}

fn may_not_wait(call: &Transfer) -> bool {
    call.flags & libc::RWF_NOWAIT != 0
}

/// A read into memory of which a part is bad, and not at the end of the file.
#[inline(never)]
fn is_cut_short(call: &Transfer, asked: &Asked, n: u64) -> bool {
    let end = asked.place.saturating_add(n);
    call.data.bytes().is_some_and(|len| n < len)
        && !call.data.is_readable_at(n)
        && kernel::fstat(call.fd).is_ok_and(|stat| !stat.is_regular() || end < stat.size)
}

/// Directly it reads nothing.
fn refuse_rest(call: &Transfer, asked: &Asked) -> isize {
    if call.at == Position::Offset {
        kernel::lseek(call.fd, asked.place as i64, libc::SEEK_SET);
    }
    kernel::libc_result(-libc::EFAULT as isize)
}

/// None: the kernel says what becomes of it, whichever way it goes.
#[inline(never)]
fn ask(call: &Transfer, frame: &Frame, pinned: &Pinned) -> Option<Asked> {
    let len = call.data.bytes().filter(|len| *len != 0)?;
    if !pinned.description.allows(call.write) {
        return None;
    }
    let given = match call.at {
        Position::At(offset) => u64::try_from(offset).ok()?,
        Position::Offset => u64::try_from(kernel::lseek(call.fd, 0, libc::SEEK_CUR)).ok()?,
    };
    let appends = call.appends(pinned.description.flags());
    let place = match appends {
        true => kernel::fstat(call.fd).ok()?.size,
        false => given,
    };
    let align = alignment(pinned.file, call.fd);
    // Where an append would begin if it were none, XFS alone looks at.
    let counts = !appends || align.has_place([given; 3]) || is_on_xfs(call.fd);
    let in_place = align.has_place([place, if counts { given } else { place }, len]);
    let refused = match in_place
        && !call
            .data
            .any_element(|b, l| align.lacks_memory(b as u64, l))
    {
        true => 0,
        // No length: the kernel refuses it whatever it is aligned to.
        false if call.data.any_element(|_, len| len > isize::MAX as usize) => 0,
        // It would have to wait for the end of the file before it is looked at.
        false if appends && may_not_wait(call) => -libc::EAGAIN as kernel::Raw,
        false if call.write && !in_place => -libc::EINVAL as kernel::Raw,
        false if call.write => refuse_memory(call, makes_longer(call.fd, pinned, place, len)),
        false => try_read(call, given, frame, pinned).min(0),
    };
    // What the kernel refuses first, it refuses now, too.
    let flags_first = refused < 0 && call.flags != 0 && refuses_flags(call.fd, call.flags);
    let exact = !appends && matches!(call.at, Position::At(_));
    Some(Asked {
        refused: if flags_first { 0 } else { refused },
        place,
        len: if exact { len } else { 0 },
        seen: pinned.seen,
        is_judged: align.offset > 1,
    })
}

fn is_on_xfs(fd: i32) -> bool {
    const XFS: i64 = 0x5846_5342;
    kernel::filesystem_magic(fd) == Some(XFS)
}

fn makes_longer(fd: i32, pinned: &Pinned, place: u64, len: u64) -> bool {
    let end = place.saturating_add(len);
    !pinned.file.is_block_device() && kernel::fstat(fd).is_ok_and(|stat| end > stat.size)
}

/// An odd buffer of a write that has its place.
fn refuse_memory(call: &Transfer, longer: bool) -> kernel::Raw {
    let piece = Cell::new(None);
    let apart = call.data.any_element(|base, len| {
        let base = base as u64;
        let (first, end) = piece.get().unwrap_or((base, base));
        piece.set(Some((first, base.saturating_add(len as u64))));
        end != base
    });
    let (first, end) = piece.get().unwrap_or((0, 0));
    let crosses = first / page() != end.saturating_sub(1) / page();
    // A bad address is told of first.
    let bad = |base: *mut libc::c_void, _: usize| {
        kernel::copy_from_program(base.cast::<u8>(), &mut [0u8]).is_err()
    };
    match (apart || crosses || longer) && !call.data.any_element(bad) {
        true => -libc::EINVAL as kernel::Raw,
        false => 0,
    }
}

/// The kernel's word on a direct read, by making it. What it has read is read again.
fn try_read(call: &Transfer, at: u64, frame: &Frame, pinned: &Pinned) -> kernel::Raw {
    let said = directly(call.fd, frame, pinned, |fd| {
        call.data.move_at(false, fd, at, 0)
    });
    // Nobody to be asked: what may be granted is.
    said.unwrap_or(0)
}

/// Whether the file takes `O_DIRECT`: 0, or the kernel's error.
#[inline(never)]
pub fn takes_direct(fd: i32, frame: &Frame, pinned: &Pinned) -> kernel::Raw {
    directly(fd, frame, pinned, |_| 0).unwrap_or(0)
}

/// One call by a second descriptor that has `O_DIRECT` as long as that takes. Nobody else uses it: in this file all direct
/// requests of this process are routed.
fn directly(
    fd: i32,
    frame: &Frame,
    pinned: &Pinned,
    call: impl Fn(i32) -> kernel::Raw,
) -> Option<kernel::Raw> {
    let purpose = match pinned.description.allows(false) {
        true => For::Reading,
        false => For::Writing,
    };
    let second: InHand = second::borrow(frame, pinned.file, fd, purpose)?;
    let said = second.act(|fd| {
        let Ok(flags) = kernel::get_flags(fd) else {
            return 0;
        };
        let with = kernel::set_flags(fd, flags | libc::O_DIRECT as u32);
        let said = match with {
            0.. => call(fd),
            refused => refused,
        };
        kernel::set_flags(fd, flags & !(libc::O_DIRECT as u32));
        said
    });
    second.done();
    Some(match kernel::is_refused(said) {
        true => 0,
        false => said,
    })
}

/// On the device when the call returns, as if it had gone there directly. What synchronizes itself is.
#[inline(never)]
fn settle(call: &Transfer, asked: &Asked) {
    let errno = kernel::errno();
    look_at(call.fd, |_, _, pinned| {
        let syncs = pinned.description.has(libc::O_DSYNC) || call.flags & libc::RWF_DSYNC != 0;
        if pinned.seen == asked.seen && !syncs {
            owe(pinned.file, sync(pinned.file, call.fd, asked));
        }
    });
    kernel::set_errno(errno);
}

fn sync(file: &File, fd: i32, asked: &Asked) -> kernel::Raw {
    match file.has(LAYERED) {
        true => kernel::sync(fd, false),
        false => kernel::sync_range(fd, asked.place, asked.len),
    }
}

/// Where the cache can't promise not to wait, a direct request would have.
fn would_wait(call: &Transfer) {
    if kernel::errno() == libc::EOPNOTSUPP && !refuses_flags(call.fd, call.flags) {
        kernel::set_errno(libc::EAGAIN);
    }
}
