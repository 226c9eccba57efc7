//! A call's slot in the lock table: claimed at first need and kept by its frame; and how long a call waits, for that or
//! anything else.

use lock_table::{Slot, Table};

use crate::who::process;
use crate::who::thread::{Frame, Holds, Thread};

/// The frame's slot, claimed at first need and kept.
#[inline(always)]
pub fn slot_of(table: &Table, thread: &Thread, frame: &Frame) -> Option<Slot> {
    match frame.slot.get().checked_sub(1) {
        Some(index) => table.slot_at(index),
        None => claim_slot(thread, frame),
    }
}

/// The same for who waits for nothing.
#[inline]
pub fn slot_at_once(table: &Table, thread: &Thread, frame: &Frame) -> Option<Slot> {
    if let Some(index) = frame.slot.get().checked_sub(1) {
        return table.slot_at(index);
    }
    if !process::enters_table() {
        return None;
    }
    thread.want_destructor();
    let slot = table.take_slot(thread.tid.get())?;
    keep(table, slot, frame);
    Some(slot)
}

#[cold]
#[inline(never)]
fn claim_slot(thread: &Thread, frame: &Frame) -> Option<Slot> {
    let table = process::table().filter(|_| process::enters_table())?;
    thread.want_destructor();
    // A table that is full for a moment: others give theirs back after each call.
    let mut wait = None;
    loop {
        if let Some(slot) = table.take_slot(thread.tid.get()) {
            keep(table, slot, frame);
            return Some(slot);
        }
        let wait = wait.get_or_insert_with(|| Wait::begin(frame, SLOT_WAIT_NS));
        if wait.is_over() {
            wait.end(frame);
            return None;
        }
        kernel::sleep_ms(1);
    }
}

/// The slot is the frame's from now on.
pub fn keep(table: &Table, slot: Slot, frame: &Frame) {
    frame.is_scarce.set(table.slot_is_scarce(slot));
    frame.slot.set(slot.index() + 1);
}

/// How long a call waits for a slot.
const SLOT_WAIT_NS: u64 = 1_000_000_000;

/// One of a call's waits: for ranges, for the file offset, for a slot. Whatever number of them it takes, they last no
/// longer together than the policy's `lock_timeout`.
pub struct Wait {
    since: u64,
    pub deadline: u64,
}

impl Wait {
    pub fn begin(frame: &Frame, limit_ns: u64) -> Wait {
        let since = kernel::now_ns();
        let left = limit_ns.saturating_sub(frame.waited.get());
        Wait {
            since,
            deadline: since.saturating_add(left),
        }
    }

    fn is_over(&self) -> bool {
        kernel::now_ns() >= self.deadline
    }

    pub fn end(&self, frame: &Frame) {
        let waited = kernel::now_ns().saturating_sub(self.since);
        frame.waited.set(frame.waited.get().saturating_add(waited));
    }
}

/// The slot that a frame keeps: its index plus one.
#[inline]
fn kept(stored: u32) -> Option<(&'static Table, Slot)> {
    let table = process::table()?;
    Some((table, table.slot_at(stored.checked_sub(1)?)?))
}

#[cold]
#[inline(never)]
pub fn give_slot_back(stored: u32) {
    if let Some((table, slot)) = kept(stored) {
        table.give_slot(slot);
    }
}

/// Give the range back.
#[inline]
pub fn release(frame: &Frame) {
    if frame.holds.get() == Holds::Nothing {
        return;
    }
    match kept(frame.slot.get()) {
        Some((table, slot)) => {
            table.release(slot);
            has_let_go(frame);
        }
        None => frame.holds.set(Holds::Nothing),
    }
}

/// Its slot announces nothing any more.
#[inline(always)]
pub fn has_let_go(frame: &Frame) {
    frame.holds.set(Holds::Nothing);
    if frame.is_scarce.get() {
        // Forgotten first: a handler that jumps out in between costs a slot, and not another's claim.
        give_slot_back(frame.slot.replace(0));
    }
}
