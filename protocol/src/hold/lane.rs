//! The way of most calls: as the thread's last ones on the same number went, in one mode (P10), without looking anything up
//! (see `who::lane`).

use lock_table::{Again, Claim, Mode, Table, UseWord, Word};

use crate::hold::extents::mode_of;
use crate::hold::slots::release;
use crate::hold::{cancellation, give_back};
use crate::what::descriptions::{self, Pinned};
use crate::what::words;
use crate::who::lane::{Calls, Lane, Recorded, Way};
use crate::who::process;
use crate::who::thread::{self, Frame, Holds, Thread};

/// A call that has gone in by it.
pub struct InLane<const DIRECT: bool> {
    thread: &'static Thread,
    again: Again<'static>,
    held: Word,
}

/// Whether it is worth to go in.
#[inline(always)]
pub fn is_for(calls: Calls) -> bool {
    thread::current().lane.calls.get() == calls
}

/// Goes in. None: something has changed since, or the last calls weren't of that kind; nothing is announced.
#[inline(always)]
pub fn enter<const DIRECT: bool>(fd: i32, write: bool) -> Option<InLane<DIRECT>> {
    enter_for(Calls::on(fd, DIRECT), write)
}

/// The same for a call through the cache that is recorded, and where. Said now: a handler may come before it is.
#[inline(always)]
pub fn enter_recorded(fd: i32, write: bool) -> Option<(InLane<false>, Recorded)> {
    let in_lane = enter_for::<false>(Calls::on(fd, false).recorded(), write)?;
    match in_lane.thread.lane.recorded.get() {
        Some(recorded) => Some((in_lane, recorded)),
        None => {
            goes_otherwise(in_lane.thread, in_lane.thread.outermost());
            None
        }
    }
}

#[inline(always)]
fn enter_for<const DIRECT: bool>(calls: Calls, write: bool) -> Option<InLane<DIRECT>> {
    let thread = thread::current();
    let lane = &thread.lane;
    if !is_for(calls) || thread.after_vfork.get() != 0 {
        return None;
    }
    let frame = thread.enter_alone()?;
    // Now the lane is this call's. Before, a handler may have come, and left a way of its own.
    let way = lane.again(calls);
    frame.waited.set(0);
    frame.cancel_state.set(cancellation::UNTOUCHED);
    frame.holds.set(Holds::Perhaps);
    let Some((again, held)) = way.and_then(|again| {
        let held = again.announce(lane.ended.get(), mode_of(write, DIRECT))?;
        Some((again, held))
    }) else {
        frame.holds.set(Holds::Nothing);
        match way {
            Some(_) => goes_otherwise(thread, frame),
            None => thread.leave(frame),
        }
        return None;
    };
    // A direct call keeps its description. It is the number's, if that is what it was afterwards.
    let is_kept = !DIRECT || keeps_description(frame, lane);
    // What is looked at after the announcement stays so until its end (P10; see `unmixed`).
    if !is_kept || !lane.leads_on(DIRECT) {
        goes_otherwise(thread, frame);
        return None;
    }
    Some(InLane {
        thread,
        again,
        held,
    })
}

/// Until the call has ended, and with it its use of the file (see `all_direct`).
#[inline(always)]
fn keeps_description(frame: &Frame, lane: &Lane) -> bool {
    let index = words::carried(lane.says());
    let is_kept = descriptions::pin_index(index).is_some();
    if is_kept {
        frame.pinned.set(index);
    }
    is_kept
}

#[cold]
#[inline(never)]
fn goes_otherwise(thread: &Thread, frame: &Frame) {
    thread.lane.leave();
    release(frame);
    give_back::of(frame);
    thread.leave(frame);
}

impl InLane<false> {
    #[inline(always)]
    pub fn thread(&self) -> &'static Thread {
        self.thread
    }
}

impl InLane<true> {
    #[inline(always)]
    pub fn who(&self) -> (&'static Thread, &'static Frame) {
        (self.thread, self.thread.outermost())
    }

    /// The description that the call keeps.
    #[inline(always)]
    pub fn pinned(&self) -> Option<Pinned> {
        descriptions::pinned_at(self.who().1.pinned.get(), self.thread.lane.says())
    }

    /// The call isn't one that may be made so.
    pub fn leave(self) {
        goes_otherwise(self.thread, self.thread.outermost());
    }
}

impl<const DIRECT: bool> InLane<DIRECT> {
    /// The call has been made.
    #[inline(always)]
    pub fn end(self) {
        let frame = self.thread.outermost();
        // Nothing: a handler forked meanwhile, and this is the child.
        if frame.holds.get() != Holds::Nothing {
            match self.again.end(self.held) {
                Some(ended) => {
                    self.thread.lane.ended.set(ended);
                    frame.holds.set(Holds::Nothing);
                }
                None => release(frame),
            }
        }
        if DIRECT {
            lets_go(frame);
        }
        self.thread.leave_outermost();
    }
}

/// What a direct call had beside its announcement: its description, and rarely more.
#[inline(always)]
fn lets_go(frame: &Frame) {
    if frame.offset_locked.get() | frame.buffers.get() == 0 {
        let pinned = frame.pinned.replace(0);
        if descriptions::unpin_if_others_stay(pinned) {
            return;
        }
        frame.pinned.set(pinned);
    }
    lets_all_go(frame);
}

#[cold]
#[inline(never)]
fn lets_all_go(frame: &Frame) {
    let errno = kernel::errno();
    give_back::of(frame);
    kernel::set_errno(errno);
}

/// At the end of a call that looked everything up. The first on a number leaves that, the second one the way: who takes
/// turns with two files keeps none.
#[inline(always)]
pub fn keep(
    thread: &Thread,
    frame: &Frame,
    table: &'static Table,
    claim: &Claim,
    known: (i32, u64, UseWord<'static>),
) {
    let calls = Calls::on(known.0, claim.mode.is_direct());
    keep_for(calls, (thread, frame), table, claim, known, || None);
}

/// The same of a call through the cache that is recorded; None: it isn't known where.
#[inline(never)]
pub fn keep_recorded(
    thread: &Thread,
    frame: &Frame,
    table: &'static Table,
    claim: &Claim,
    (known, recorded): ((i32, u64, UseWord<'static>), Option<Recorded>),
) {
    let calls = Calls::on(known.0, false).recorded();
    match recorded {
        Some(_) => keep_for(calls, (thread, frame), table, claim, known, || recorded),
        None => thread.lane.leave(),
    }
}

#[inline(always)]
fn keep_for(
    calls: Calls,
    (thread, frame): (&Thread, &Frame),
    table: &'static Table,
    claim: &Claim,
    known: (i32, u64, UseWord<'static>),
    recorded: impl Fn() -> Option<Recorded>,
) {
    let is_second = thread.lane.calls.replace(calls) == calls;
    match is_second && core::ptr::eq(frame, thread.outermost()) && thread.own_stack.is_none() {
        true => keep_way(thread, frame, table, claim, (known, recorded())),
        false => thread.lane.forget(),
    }
}

#[inline(never)]
fn keep_way(
    thread: &Thread,
    frame: &Frame,
    table: &'static Table,
    claim: &Claim,
    ((fd, seen, uses), recorded): ((i32, u64, UseWord<'static>), Option<Recorded>),
) {
    let lane = &thread.lane;
    lane.forget();
    let is_transfer = claim.mode != Mode::Layout;
    let slot = frame.slot.get().checked_sub(1).filter(|_| is_transfer);
    if let Some(slot) = slot.and_then(|slot| table.slot_at(slot))
        && let Some((again, ended)) = table.again(slot, claim)
        && let Some(word) = words::word(fd)
    {
        let way = Way {
            word,
            says: seen,
            uses,
            again,
            ended,
            recorded,
        };
        lane.keep(&way, process::fences);
    }
}
