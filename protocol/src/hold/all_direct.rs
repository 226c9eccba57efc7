//! A call past the page cache on a file that everybody uses so (P10): it announces itself, and waits for nobody. There is
//! nothing in the cache that it could miss, and what overlaps what is the kernel's affair, as it is without us.
//!
//! Not so a write that may extend the file, or that isn't made of whole pages: the kernel may do a part of those through
//! the cache. Such a one takes its range.

use core::sync::atomic::{Ordering::*, compiler_fence, fence};

use lock_table::{Claim, Slot, Table, page};

use crate::hold::cancellation::UNTOUCHED;
use crate::hold::extents::mode_of;
use crate::hold::slots::{release, slot_of};
use crate::hold::view::lock_offset;
use crate::hold::{give_back, lane};
use crate::tell::counters::{self, Counter};
use crate::what::data::{Position, Transfer};
use crate::what::descriptions::{self, Pinned, pin_index};
use crate::what::words::{self, Peek};
use crate::what::{identity, places};
use crate::who::process;
use crate::who::thread::{self, Frame, Holds, Thread};

/// No file is longer.
const LAST: u64 = i64::MAX as u64;

/// The call, made. None: it takes its range.
#[inline(never)]
pub fn all_direct(call: &Transfer, real: &dyn Fn() -> isize) -> Option<isize> {
    // `unmixed` has asked whether the process is active.
    let thread = thread::current();
    let Peek::Description { seen, index } = words::peek(call.fd) else {
        return None;
    };
    if call.appends(descriptions::description(index)?.flags()) {
        return None;
    }
    let frame = thread.enter(give_back::abandoned)?;
    frame.cancel_state.set(UNTOUCHED);
    // Pinned, so that the file counts as used directly until the call has ended: who uses it through the cache afterwards
    // wouldn't look for it.
    let pinned = pin_index(index).and_then(|d| {
        frame.pinned.set(index);
        d.pinned(index, seen)
    });
    let done = pinned.and_then(|pinned| {
        let n = announced(call, (thread, frame), &pinned, real)?;
        Some((n, pinned))
    });
    let errno = kernel::errno();
    release(frame);
    if let Some((_, pinned)) = &done {
        keep_lane(call, (thread, frame), pinned);
    }
    give_back::of(frame);
    thread.leave(frame);
    kernel::set_errno(errno);
    done.map(|(n, _)| n)
}

/// The next one goes as this one did, where nothing of it is recorded.
#[inline(always)]
fn keep_lane(call: &Transfer, (thread, frame): (&Thread, &Frame), pinned: &Pinned) {
    let file = pinned.file;
    if file.settings().is_plain_as_asked()
        && let Some(table) = process::table()
        && let Some(uses) = file.use_word_in(table)
    {
        let claim = claim(call, pinned);
        let known = (call.fd, pinned.seen, uses);
        lane::keep(thread, frame, table, &claim, known);
    }
}

/// The call, made as its thread's last ones on the number were (see `lane`). None: it isn't so made.
#[inline(never)]
pub fn as_before(call: &Transfer, real: &dyn Fn() -> isize) -> Option<isize> {
    let in_lane = lane::enter::<true>(call.fd, call.write)?;
    let who = in_lane.who();
    let is_in_place = |pinned: Pinned| {
        // The program may have asked for it meanwhile.
        let appends = call.appends(pinned.description.flags());
        !appends && writes_in_place(call, who, &pinned)
    };
    if call.write && !in_lane.pinned().is_some_and(is_in_place) {
        in_lane.leave();
        return None;
    }
    let n = made(call, who.1, real);
    in_lane.end();
    Some(n)
}

#[inline(always)]
fn announced(
    call: &Transfer,
    (thread, frame): (&Thread, &Frame),
    pinned: &Pinned,
    real: &dyn Fn() -> isize,
) -> Option<isize> {
    let table = process::table()?;
    let slot = slot_of(table, thread, frame)?;
    if !announce(table, slot, frame, call, pinned) {
        return None;
    }
    let is_in_place = !call.write || writes_in_place(call, (thread, frame), pinned);
    is_in_place.then(|| made(call, frame, real))
}

/// The call, made, which is announced.
#[inline(always)]
fn made(call: &Transfer, frame: &Frame, real: &dyn Fn() -> isize) -> isize {
    if call.write {
        counters::count(Counter::DirectWritesDirect, 1);
    } else {
        counters::count(Counter::DirectReadsDirect, 1);
        places::pin_buffers(frame, &call.data);
    }
    real()
}

fn claim(call: &Transfer, pinned: &Pinned) -> Claim {
    Claim {
        file: pinned.file.id(),
        first: 0,
        last: LAST,
        mode: mode_of(call.write, true),
        atomic: false,
    }
}

/// Says in the table what the call does. False: it isn't so made, and nothing stands there.
#[inline]
pub fn announce(
    table: &Table,
    slot: Slot,
    frame: &Frame,
    call: &Transfer,
    pinned: &Pinned,
) -> bool {
    let file = pinned.file;
    let Some(entry) = file.use_entry() else {
        return false;
    };
    let known = file.settings();
    if !known.is_plain() || known.observe() || !pinned.description.has(libc::O_DIRECT) {
        return false;
    }
    let claim = claim(call, pinned);
    frame.holds.set(Holds::Perhaps);
    table.announce(slot, &claim);
    // As in `unmixed`: whoever makes the file mixed has every processor pass a barrier.
    compiler_fence(SeqCst);
    fence(Acquire);
    let stands = table.use_direct_alone(entry) && words::still(call.fd, pinned.seen);
    if !stands {
        release(frame);
    }
    stands
}

/// Whether a write that is announced is made of whole pages and stays within the file: who shortens that waits for it.
#[inline(always)]
fn writes_in_place(call: &Transfer, who: (&Thread, &Frame), pinned: &Pinned) -> bool {
    let Some(len) = whole_pages(call) else {
        return false;
    };
    let start = match call.at {
        Position::At(at) => u64::try_from(at).ok(),
        Position::Offset => offset(call, who, pinned),
    };
    start.is_some_and(|start| {
        is_whole(start) && is_within(call.fd, pinned, start.saturating_add(len))
    })
}

/// Where the call begins, which moves the offset: from then on nobody else of this process does.
#[inline(never)]
fn offset(call: &Transfer, (thread, frame): (&Thread, &Frame), pinned: &Pinned) -> Option<u64> {
    if pinned.description.is_shared() {
        return None;
    }
    let no_wait = call.flags & libc::RWF_NOWAIT != 0;
    let is_locked = lock_offset(thread, frame, pinned, no_wait);
    let at = is_locked.then(|| kernel::lseek(call.fd, 0, libc::SEEK_CUR))?;
    u64::try_from(at).ok()
}

/// Whether the file reaches so far, for a call that has announced itself: who cuts it off waits for that.
#[inline(always)]
pub fn is_within(fd: i32, pinned: &Pinned, end: u64) -> bool {
    end <= pinned.file.reaches() || is_seen_within(fd, pinned, end)
}

#[inline(never)]
fn is_seen_within(fd: i32, pinned: &Pinned, end: u64) -> bool {
    let file = pinned.file;
    identity::end_through(fd, file).is_some_and(|size| {
        file.was_seen(size, LAST);
        end <= size
    })
}

/// Whether it is so many pages.
#[inline]
fn is_whole(bytes: u64) -> bool {
    bytes & (page() - 1) == 0
}

/// How much the call moves, if that is pages.
pub fn whole_pages(call: &Transfer) -> Option<u64> {
    let len = call.data.bytes()?;
    (len != 0 && is_whole(len)).then_some(len)
}
