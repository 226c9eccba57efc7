//! What one look at the descriptor says about a call: its flags, and where it begins. And whether that has changed by the
//! time its range is held.

use core::sync::atomic::Ordering::Acquire;

use crate::hold::slots::Wait;
use crate::what::data::{Position, Transfer};
use crate::what::descriptions::{self, Pinned};
use crate::what::routes;
use crate::what::words;
use crate::who::process;
use crate::who::registry::Registry;
use crate::who::thread::{Frame, Thread};

/// What changes in a description while `O_DIRECT` is off it for one request, in one step: a mark that says so, on a
/// flag that means nothing to files. Who shares the description and outlives a kill in that moment puts it back.
pub const TAKEN_OFF: u32 = (libc::O_DIRECT | libc::O_NONBLOCK) as u32;

/// What one look at the descriptor says about the call.
#[derive(Default)]
pub struct View {
    pub flags: u32,
    pub append: bool,
    pub direct: bool,
    /// The start, where it can be known beforehand.
    pub start: Option<u64>,
}

#[inline(never)]
pub fn view(call: &Transfer, thread: &Thread, frame: &Frame, pinned: &Pinned) -> View {
    let shared = pinned.description.is_shared();
    let flags = flags_now(call.fd, pinned);
    let start = match call.at {
        Position::At(offset) => Some(offset as u64),
        // Another process may move it: any place.
        Position::Offset if shared => None,
        Position::Offset => {
            let no_wait = call.flags & libc::RWF_NOWAIT != 0;
            if lock_offset(thread, frame, pinned, no_wait) {
                u64::try_from(kernel::lseek(call.fd, 0, libc::SEEK_CUR)).ok()
            } else {
                None
            }
        }
    };
    seen(call, pinned, flags, start)
}

/// The same for who only looks on: the offset isn't his, and another may move it meanwhile.
#[inline(never)]
pub fn look(call: &Transfer, pinned: &Pinned) -> View {
    let start = match call.at {
        Position::At(offset) => u64::try_from(offset).ok(),
        Position::Offset => u64::try_from(kernel::lseek(call.fd, 0, libc::SEEK_CUR)).ok(),
    };
    seen(call, pinned, flags_now(call.fd, pinned), start)
}

#[inline]
fn seen(call: &Transfer, pinned: &Pinned, flags: u32, start: Option<u64>) -> View {
    View {
        flags,
        append: call.appends(flags),
        direct: flags & libc::O_DIRECT as u32 != 0
            || process::has_other_ways() && routes::goes_past(pinned.file, flags),
        start,
    }
}

/// As they are now, where another process may have changed them.
#[inline]
fn flags_now(fd: i32, pinned: &Pinned) -> u32 {
    let d = pinned.description;
    if d.is_shared()
        && let Ok(now) = kernel::get_flags(fd)
        && !is_taken_off(d.flags(), now)
    {
        d.set_flags(now, fd);
    }
    d.flags()
}

/// Whether the descriptor changed while we waited: its flags, its offset, or who shares it.
#[inline(never)]
pub fn has_moved(call: &Transfer, v: &View, pinned: &Pinned) -> bool {
    let shared = pinned.description.is_shared();
    if shared && kernel::get_flags(call.fd).is_ok_and(|now| now != v.flags) {
        // Under a range nobody is in that moment: he was killed in it.
        if kernel::get_flags(call.fd).is_ok_and(|now| is_taken_off(v.flags, now)) {
            kernel::set_flags(call.fd, v.flags);
        }
        return true;
    }
    if !shared && pinned.description.flags() != v.flags {
        return true;
    }
    match v.start {
        Some(start) if call.at == Position::Offset => {
            shared || kernel::lseek(call.fd, 0, libc::SEEK_CUR) != start as isize
        }
        _ => false,
    }
}

/// In a forked child that is registered: in which mode its descriptions are, which its parent may have turned meanwhile.
/// From now on it is told of that.
pub fn look_again_in_child(registry: &Registry) {
    for fd in 0..words::end() as i32 {
        let word = words::word(fd).map(|w| w.load(Acquire));
        let Some(index) = word.and_then(words::description_of) else {
            continue;
        };
        if let Some(d) = descriptions::description(index)
            && let Ok(now) = kernel::get_flags(fd)
            && (now ^ d.flags()) & libc::O_DIRECT as u32 != 0
            && !is_taken_off(d.flags(), now)
        {
            d.set_flags_in(registry, now, fd);
        }
    }
}

/// Whether somebody who shares the description has taken `O_DIRECT` off it for one request of his.
fn is_taken_off(known: u32, now: u32) -> bool {
    known & libc::O_DIRECT as u32 != 0 && now ^ known == TAKEN_OFF
}

/// Take the file offset for this call. Without waiting inside another call of this thread: somebody may hold the
/// offset and wait for what that one holds.
pub fn lock_offset(thread: &Thread, frame: &Frame, pinned: &Pinned, no_wait: bool) -> bool {
    let (d, tid) = (pinned.description, thread.tid.get());
    let mut locked = d.lock_offset(tid, None);
    let alone = thread.outer_slots(frame.slot.get()).next().is_none();
    if !locked && alone && !no_wait {
        let wait = Wait::begin(frame, pinned.file.lock_timeout_ns());
        locked = d.lock_offset(tid, Some(wait.deadline));
        wait.end(frame);
    }
    if locked {
        frame.offset_locked.set(pinned.index);
    }
    locked
}
