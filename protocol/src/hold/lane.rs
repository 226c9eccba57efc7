//! The way of most calls: as the thread's last ones on the same number went, in one mode (P10), without looking anything up
//! (see `who::lane`).

use lock_table::{Again, Claim, Mode, Table, UseWord, Word};

use crate::hold::cancellation;
use crate::hold::slots::release;
use crate::what::words;
use crate::who::lane::Way;
use crate::who::process;
use crate::who::thread::{self, Frame, Holds, Thread};

/// A call that has gone in by it.
pub struct InLane {
    thread: &'static Thread,
    again: Again<'static>,
    held: Word,
}

/// Goes in. None: something has changed since, or the last calls weren't of that kind; nothing is announced.
#[inline(always)]
pub fn enter(fd: i32, mode: Mode) -> Option<InLane> {
    let thread = thread::current();
    let lane = &thread.lane;
    if lane.number.get() != fd || thread.after_vfork.get() != 0 {
        return None;
    }
    let frame = thread.enter_alone()?;
    // Now the lane is this call's. Before, a handler may have come, and left a way of its own.
    let way = lane.again(fd);
    frame.waited.set(0);
    frame.cancel_state.set(cancellation::UNTOUCHED);
    frame.holds.set(Holds::Perhaps);
    let Some((again, held)) = way.and_then(|again| {
        let held = again.announce(lane.ended.get(), mode)?;
        Some((again, held))
    }) else {
        frame.holds.set(Holds::Nothing);
        match way {
            Some(_) => goes_otherwise(thread, frame),
            None => thread.leave(frame),
        }
        return None;
    };
    // What is looked at after the announcement stays so until its end (P10; see `unmixed`).
    if !lane.leads_on() {
        goes_otherwise(thread, frame);
        return None;
    }
    Some(InLane {
        thread,
        again,
        held,
    })
}

#[cold]
#[inline(never)]
fn goes_otherwise(thread: &Thread, frame: &Frame) {
    thread.lane.leave();
    release(frame);
    thread.leave(frame);
}

impl InLane {
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
        self.thread.leave_outermost();
    }
}

/// At the end of a call that looked everything up. The first on a number leaves that, the second one the way: who takes
/// turns with two files keeps none.
#[inline(always)]
pub fn keep(
    thread: &Thread,
    frame: &Frame,
    table: &'static Table,
    claim: &Claim,
    (fd, seen, uses): (i32, u64, UseWord<'static>),
) {
    let is_second = thread.lane.number.replace(fd) == fd;
    match is_second && core::ptr::eq(frame, thread.outermost()) && thread.own_stack.is_none() {
        true => keep_way(thread, frame, table, claim, (fd, seen, uses)),
        false => thread.lane.forget(),
    }
}

#[inline(never)]
fn keep_way(
    thread: &Thread,
    frame: &Frame,
    table: &'static Table,
    claim: &Claim,
    (fd, seen, uses): (i32, u64, UseWord<'static>),
) {
    let lane = &thread.lane;
    lane.forget();
    let is_transfer = matches!(claim.mode, Mode::BufferedRead | Mode::BufferedWrite);
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
        };
        lane.keep(&way, process::fences);
    }
}
