//! Taking a range of a file in the lock table, and giving it back.
//!
//! No destructors: a cancelled thread runs none. What a call holds stands in its frame (see `thread`),
//! so that whoever comes after can give it back.

use kernel as raw;
use lock_table::summary::Counter;
use lock_table::{Blocker, Claim, FileId, Mine, Mode, NotHeld, Slot, Table};
use policy::{Isolation, OnLockTimeout, OnTableError, Settings};

use crate::hold::cancellation::act_on_cancellation;
use crate::tell::events::{self, Event, Kind};
use crate::tell::{counters, once};
use crate::what::file::File;
use crate::who::thread::{Frame, Holds, LEVELS, Thread};
use crate::who::{outlived, process};

/// One past the last byte that a file can have, as a range's end: "to the end of time".
pub const END_OF_TIME: u64 = u64::MAX;

/// Whose range it is and what the policy says about it.
#[derive(Clone, Copy)]
pub struct Terms {
    pub id: FileId,
    pub fd: i32,
    pub atomic: bool,
    pub observe: bool,
    pub proceed_on_timeout: bool,
    pub refuse_on_table_error: bool,
    pub timeout_ns: u64,
}

impl Terms {
    pub fn of(file: &File, fd: i32) -> Terms {
        let known = file.settings();
        Terms {
            id: file.id(),
            fd,
            atomic: known.atomic(),
            observe: known.observe(),
            proceed_on_timeout: known.proceed_on_timeout(),
            refuse_on_table_error: known.refuse_on_table_error(),
            timeout_ns: file.lock_timeout_ns(),
        }
    }

    /// For a file that this process has no record of.
    pub fn said(id: FileId, settings: &Settings) -> Terms {
        Terms {
            id,
            fd: -1,
            atomic: settings.isolation == Isolation::Atomic,
            observe: settings.mode == policy::Mode::Observe,
            proceed_on_timeout: settings.on_lock_timeout == OnLockTimeout::Proceed,
            refuse_on_table_error: settings.on_table_error == OnTableError::Refuse,
            timeout_ns: u64::try_from(settings.lock_timeout.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    pub fn claim(&self, mode: Mode, first: u64, last: u64) -> Claim {
        Claim {
            file: self.id,
            first,
            last,
            mode,
            atomic: self.atomic,
        }
    }
}

/// More than can be lost in one call, but in a damaged table.
const SLOTS_TRIED: u32 = 8;

/// What came of asking for a range.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Got {
    /// It is held, or the call goes ahead without (and that has been told).
    Go,
    /// The call fails with this error.
    Refused(i32),
}

fn name(mode: Mode) -> &'static str {
    match mode {
        Mode::BufferedRead => "buffered_read",
        Mode::BufferedWrite => "buffered_write",
        Mode::DirectRead => "direct_read",
        Mode::DirectWrite => "direct_write",
        Mode::Layout => "layout",
    }
}

/// The frame's slot, claimed at first need and kept.
#[inline]
pub fn slot_of(thread: &Thread, frame: &Frame) -> Option<Slot> {
    let table = process::table()?;
    match frame.slot.get().checked_sub(1) {
        Some(index) => table.slot_at(index),
        None => claim_slot(thread, frame),
    }
}

#[cold]
#[inline(never)]
fn claim_slot(thread: &Thread, frame: &Frame) -> Option<Slot> {
    let table = process::table()?;
    thread.want_destructor();
    // A table that is full for a moment: others give theirs back after each call.
    let mut wait = None;
    loop {
        if let Some(slot) = table.take_slot(thread.tid.get()) {
            frame.slot.set(slot.index() + 1);
            return Some(slot);
        }
        let wait = wait.get_or_insert_with(|| Wait::begin(frame, SLOT_WAIT_NS));
        if wait.is_over() {
            wait.end(frame);
            return None;
        }
        raw::sleep_ms(1);
    }
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

pub fn give_slot_back(stored: u32) {
    if let Some((table, slot)) = kept(stored) {
        table.give_slot(slot);
    }
}

/// In a file of one mode: say what this call does, without waiting for anybody.
#[inline]
pub fn announce(slot: Slot, frame: &Frame, claim: &Claim) {
    if let Some(table) = process::table() {
        frame.holds.set(Holds::Perhaps);
        table.announce(slot, claim);
    }
}

/// Take the range (P1); `no_wait`: or fail with EAGAIN.
pub fn take(thread: &Thread, frame: &Frame, terms: &Terms, claim: &Claim, no_wait: bool) -> Got {
    let Some(table) = process::table() else {
        return Got::Go;
    };
    for _ in 0..SLOTS_TRIED {
        let Some(slot) = slot_of(thread, frame) else {
            break;
        };
        if let Some(got) = take_in(table, slot, thread, frame, terms, claim, no_wait) {
            return got;
        }
        // A handler forked in the middle of it, or jumped out of an earlier call: this slot is of no use to us.
        give_slot_back(frame.slot.replace(0));
    }
    let reason = "no lock slot is free: the table is too small";
    tell(Kind::Uncovered, terms, claim, None, reason, None);
    if terms.proceed_on_timeout {
        Got::Go
    } else {
        Got::Refused(libc::EDEADLK)
    }
}

/// None: the slot can't be used.
#[inline]
fn take_in(
    table: &Table,
    slot: Slot,
    thread: &Thread,
    frame: &Frame,
    terms: &Terms,
    claim: &Claim,
    no_wait: bool,
) -> Option<Got> {
    frame.holds.set(Holds::Perhaps);
    if terms.observe {
        look_only(table, slot, thread, frame, terms, claim);
        return Some(Got::Go);
    }
    let mut got = now(table, slot, claim);
    // Perhaps only requests of our own are in the way, which are complete.
    if matches!(got, Now::Blocked) && !no_wait && outlived::settle_complete(thread) {
        got = now(table, slot, claim);
    }
    match got {
        Now::Held => {
            frame.holds.set(Holds::Alone);
            Some(Got::Go)
        }
        Now::NotOurs => {
            frame.holds.set(Holds::Nothing);
            None
        }
        Now::Blocked if no_wait && !table.is_poisoned() => {
            frame.holds.set(Holds::Nothing);
            Some(Got::Refused(libc::EAGAIN))
        }
        Now::Blocked => wait_for(table, slot, thread, frame, terms, claim),
    }
}

/// The slots of the calls that this one has interrupted: first those that hold their ranges, and that end after it.
#[inline(always)]
fn outer<'a>(table: &Table, thread: &Thread, frame: &Frame, slots: &'a mut [Slot]) -> Mine<'a> {
    let (mut count, mut held, own) = (0, 0, frame.slot.get());
    for kind in [Holds::Alone, Holds::Perhaps] {
        let stored = thread.outer_slots_where(own, |holds| holds == kind);
        for slot in stored.filter_map(|stored| table.slot_at(stored.wrapping_sub(1))) {
            if let Some(cell) = slots.get_mut(count) {
                *cell = slot;
                count += 1;
            }
        }
        if kind == Holds::Alone {
            held = count;
        }
    }
    let slots = slots.get(..count).unwrap_or(&[]);
    Mine { slots, held }
}

enum Now {
    Held,
    /// Somebody is in the way, or the table is damaged.
    Blocked,
    NotOurs,
}

/// Apart from its caller, below which a wait goes deep: who is in the way takes room on the stack.
#[inline(never)]
fn now(table: &Table, slot: Slot, claim: &Claim) -> Now {
    match table.hold_now(slot, claim) {
        Ok(()) => Now::Held,
        Err(NotHeld::NotOurs) => Now::NotOurs,
        Err(_) => Now::Blocked,
    }
}

/// Says what the call does, and tells whom it would have waited for.
#[cold]
#[inline(never)]
fn look_only(
    table: &Table,
    slot: Slot,
    thread: &Thread,
    frame: &Frame,
    terms: &Terms,
    claim: &Claim,
) {
    let mut slots = [slot; LEVELS];
    let mine = outer(table, thread, frame, &mut slots);
    table.announce(slot, claim);
    if let Some(blocker) = table.blocker(slot, claim, mine.slots) {
        let reason = "would have waited";
        tell(Kind::Collision, terms, claim, Some(&blocker), reason, None);
    }
    if table.is_poisoned() {
        once::damaged(table, false);
    }
}

/// Somebody is in the way. None: the slot can't be used.
#[cold]
#[inline(never)]
fn wait_for(
    table: &Table,
    slot: Slot,
    thread: &Thread,
    frame: &Frame,
    terms: &Terms,
    claim: &Claim,
) -> Option<Got> {
    let mut outer_slots = [slot; LEVELS];
    let mine = outer(table, thread, frame, &mut outer_slots);
    let wait = Wait::begin(frame, terms.timeout_ns);
    let (slots, claims) = ([slot], core::slice::from_ref(claim));
    let held = table.hold_all(&slots, claims, &mine, Some(wait.deadline), &mut || {
        act_on_cancellation(frame)
    });
    wait.end(frame);
    match &held {
        Ok(held) => {
            frame.holds.set(Holds::Alone);
            tell_reaped(table);
            counters::count(Counter::WaitNanos, held.waited_ns);
            counters::count_max(Counter::WaitMaxNanos, held.waited_ns);
            let blocker = held.first_blocker.as_ref();
            tell(Kind::Wait, terms, claim, blocker, "", Some(held.waited_ns));
            Some(Got::Go)
        }
        Err(not_held) => {
            frame.holds.set(Holds::Nothing);
            without(table, terms, claim, not_held)
        }
    }
}

/// Whoever waits, or joins, cleans up after the dead he meets.
#[cold]
#[inline(never)]
pub fn tell_reaped(table: &Table) {
    for _ in 0..table.take_reaped() {
        events::emit(&Event {
            reason: "a fenced process died in a call; what it held is free",
            ..Event::new(Kind::Reaped)
        });
    }
}

#[cold]
fn without(table: &Table, terms: &Terms, claim: &Claim, not_held: &NotHeld) -> Option<Got> {
    let (kind, blocker, reason, may_proceed) = match not_held {
        NotHeld::TimedOut(b) => (
            Kind::LockTimeout,
            Some(b),
            "lock_timeout has passed",
            terms.proceed_on_timeout,
        ),
        NotHeld::Deadlock(b) => (
            Kind::Deadlock,
            Some(b),
            "each waits for the other",
            terms.proceed_on_timeout,
        ),
        NotHeld::Nested(b) => (
            Kind::Nested,
            Some(b),
            "this thread holds the range itself",
            true,
        ),
        NotHeld::GaveUp => return Some(Got::Refused(libc::EINTR)),
        NotHeld::Poisoned => {
            once::damaged(table, terms.refuse_on_table_error);
            return Some(match terms.refuse_on_table_error {
                true => Got::Refused(libc::ENOLCK),
                false => Got::Go,
            });
        }
        NotHeld::NotOurs => return None,
    };
    tell(kind, terms, claim, blocker, reason, None);
    Some(if may_proceed {
        Got::Go
    } else {
        Got::Refused(libc::EDEADLK)
    })
}

/// Apart from who tells: an event takes room on the stack.
#[cold]
#[inline(never)]
fn tell(
    kind: Kind,
    terms: &Terms,
    claim: &Claim,
    blocker: Option<&Blocker>,
    reason: &str,
    nanoseconds: Option<u64>,
) {
    events::emit(&Event {
        kind,
        file: Some(terms.id),
        fd: terms.fd,
        range: Some((claim.first, claim.last)),
        mode: name(claim.mode),
        other: blocker.map(|b| b.owner),
        reason,
        done: match kind {
            Kind::Nested => "passed through",
            Kind::LockTimeout | Kind::Deadlock | Kind::Uncovered if terms.proceed_on_timeout => {
                "went ahead"
            }
            Kind::LockTimeout | Kind::Deadlock | Kind::Uncovered => "EDEADLK",
            _ => "",
        },
        nanoseconds,
    });
}

/// Give the range back.
#[inline]
pub fn release(frame: &Frame) {
    if frame.holds.get() == Holds::Nothing {
        return;
    }
    if let Some((table, slot)) = kept(frame.slot.get()) {
        table.release(slot);
        frame.holds.set(Holds::Nothing);
        if table.slot_is_scarce(slot) {
            // Forgotten first: a handler that jumps out in between costs a slot, and not another's claim.
            frame.slot.set(0);
            table.give_slot(slot);
        }
    }
    frame.holds.set(Holds::Nothing);
}
