//! A call past the page cache on a file that everybody uses so (P10): it announces itself, and waits for nobody. There is
//! nothing in the cache that it could miss, and what overlaps what is the kernel's affair, as it is without us.
//!
//! Not so a write that may extend the file, or that isn't made of whole pages: the kernel may do a part of those through
//! the cache. Such a one takes its range.

use core::sync::atomic::{Ordering::*, compiler_fence, fence};

use lock_table::{Claim, Slot, Table, page};

use crate::hold::cancellation::UNTOUCHED;
use crate::hold::extents::mode_of;
use crate::hold::give_back;
use crate::hold::slots::{release, slot_of};
use crate::hold::view::lock_offset;
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
    let done = pinned.and_then(|pinned| announced(call, (thread, frame), &pinned, real));
    let errno = kernel::errno();
    release(frame);
    give_back::of(frame);
    thread.leave(frame);
    kernel::set_errno(errno);
    done
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
    if !call.write {
        counters::count(Counter::DirectReadsDirect, 1);
        places::pin_buffers(frame, &call.data);
        return Some(real());
    }
    if !writes_in_place(call, (thread, frame), pinned) {
        return None;
    }
    counters::count(Counter::DirectWritesDirect, 1);
    Some(real())
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
    let claim = Claim {
        file: file.id(),
        first: 0,
        last: LAST,
        mode: mode_of(call.write, true),
        atomic: false,
    };
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
fn writes_in_place(call: &Transfer, (thread, frame): (&Thread, &Frame), pinned: &Pinned) -> bool {
    let Some(len) = whole_pages(call) else {
        return false;
    };
    let start = match call.at {
        Position::At(at) => u64::try_from(at).ok(),
        Position::Offset if pinned.description.is_shared() => None,
        Position::Offset => {
            let no_wait = call.flags & libc::RWF_NOWAIT != 0;
            lock_offset(thread, frame, pinned, no_wait)
                .then(|| u64::try_from(kernel::lseek(call.fd, 0, libc::SEEK_CUR)).ok())
                .flatten()
        }
    };
    start.is_some_and(|start| {
        start.is_multiple_of(page()) && is_within(call.fd, pinned, start.saturating_add(len))
    })
}

/// Whether the file reaches so far, for a call that has announced itself: who cuts it off waits for that.
pub fn is_within(fd: i32, pinned: &Pinned, end: u64) -> bool {
    let file = pinned.file;
    end <= file.reaches()
        || identity::end_through(fd, file).is_some_and(|size| {
            file.was_seen(size, LAST);
            end <= size
        })
}

/// How much the call moves, if that is pages.
pub fn whole_pages(call: &Transfer) -> Option<u64> {
    let len = call.data.bytes()?;
    (len != 0 && len.is_multiple_of(page())).then_some(len)
}
