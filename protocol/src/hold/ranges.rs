//! Taking a range of a file in the lock table, and what is told of the wait for it.
//!
//! No destructors: a cancelled thread runs none. What a call holds stands in its frame (see `thread`),
//! so that whoever comes after can give it back.

use lock_table::{Blocker, Claim, Held, Mine, Mode, NotHeld, Slot, Table};

use crate::hold::cancellation::act_on_cancellation;
use crate::hold::slots::{Wait, give_slot_back, slot_at_once, slot_of};
use crate::hold::terms::{END_OF_TIME, Terms};
use crate::tell::counters::{self, Counter};
use crate::tell::events::{self, Event, Kind};
use crate::tell::once;
use crate::who::thread::{Frame, Holds, LEVELS, Thread};
use crate::who::{outlived, process};

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

/// Take the range (P1); `no_wait`: or fail with EAGAIN. Who may cut the file off says so with it, before he does (P12).
#[inline]
pub fn take(thread: &Thread, frame: &Frame, terms: &Terms, claim: &Claim, no_wait: bool) -> Got {
    let got = take_alone(thread, frame, terms, claim, no_wait);
    if got == Got::Go {
        cuts_off(claim);
    }
    got
}

/// The range is held, or the call goes ahead without: whoever believes that the file reaches further than where it begins
/// no longer does (P12).
#[inline]
pub(super) fn cuts_off(claim: &Claim) {
    if claim.mode == Mode::Layout
        && claim.last == END_OF_TIME
        && let Some(table) = process::table()
    {
        table.use_cut_off(claim.file, claim.first);
    }
}

fn take_alone(thread: &Thread, frame: &Frame, terms: &Terms, claim: &Claim, no_wait: bool) -> Got {
    let Some(table) = process::table() else {
        return Got::Go;
    };
    for _ in 0..SLOTS_TRIED {
        let slot = match terms.known.observe() {
            true => slot_at_once(table, thread, frame),
            false => slot_of(table, thread, frame),
        };
        let Some(slot) = slot else {
            break;
        };
        if let Some(got) = take_in(table, slot, thread, frame, terms, claim, no_wait) {
            return got;
        }
        // A handler forked in the middle of it, or jumped out of an earlier call: this slot is of no use to us.
        give_slot_back(frame.slot.replace(0));
    }
    no_slot(terms, claim)
}

/// Whether a call that has not got its range is made all the same.
fn goes_ahead(kind: Kind, terms: &Terms) -> bool {
    let refused = kind == Kind::Uncovered && terms.known.refuses_uncovered();
    terms.known.proceed_on_timeout() && !refused
}

#[cold]
pub(super) fn no_slot(terms: &Terms, claim: &Claim) -> Got {
    let reason = "no lock slot is free: the table is too small";
    tell(Kind::Uncovered, terms, claim, None, reason, None);
    if goes_ahead(Kind::Uncovered, terms) {
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
    if terms.known.observe() {
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
pub(super) fn outer<'a>(
    table: &Table,
    thread: &Thread,
    frame: &Frame,
    slots: &'a mut [Slot],
) -> Mine<'a> {
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

/// Takes it for the library's own sake: nothing is told, and it is waited for so long only. Whether it is held.
#[cold]
#[inline(never)]
pub fn take_within(thread: &Thread, frame: &Frame, claim: &Claim, ns: u64) -> bool {
    let Some(table) = process::table() else {
        return false;
    };
    let Some(slot) = slot_of(table, thread, frame) else {
        return false;
    };
    let mut slots = [slot; LEVELS];
    let mine = outer(table, thread, frame, &mut slots);
    // The thread holds something: it would wait for itself.
    if !mine.slots.is_empty() {
        return false;
    }
    frame.holds.set(Holds::Perhaps);
    let deadline = kernel::now_ns().saturating_add(ns);
    let held = match now(table, slot, claim) {
        Now::Held => true,
        Now::Blocked if ns != 0 => table
            .hold(slot, claim, &mine, Some(deadline), &mut || false)
            .is_ok(),
        Now::Blocked | Now::NotOurs => false,
    };
    frame
        .holds
        .set(if held { Holds::Alone } else { Holds::Nothing });
    held
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
    // Who enforces waits for it: what is met is told when it is let go of (P11).
    frame.holds.set(Holds::Alone);
    let met = table.blocker(slot, claim, mine.slots);
    // Of a call that began while the file was in one mode it isn't known where it is.
    if let Some(blocker) = met.filter(|met| !is_anywhere(&met.claim)) {
        let reason = "would have waited";
        tell(Kind::Collision, terms, claim, Some(&blocker), reason, None);
    }
    if table.is_poisoned() {
        once::damaged(table, false);
    }
}

fn is_anywhere(claim: &Claim) -> bool {
    let is_whole = claim.first == 0 && claim.last >= i64::MAX as u64;
    is_whole && claim.mode != Mode::Layout
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
    let holds = if held.is_ok() {
        Holds::Alone
    } else {
        Holds::Nothing
    };
    frame.holds.set(holds);
    ended(table, terms, claim, &held)
}

/// What came of asking, told. None: the slot can't be used.
pub(super) fn ended(
    table: &Table,
    terms: &Terms,
    claim: &Claim,
    held: &Result<Held, NotHeld>,
) -> Option<Got> {
    match held {
        Ok(held) => {
            tell_reaped(table);
            if held.first_blocker.is_none() {
                return Some(Got::Go);
            }
            counters::count(Counter::WaitNanos, held.waited_ns);
            counters::count_max(Counter::WaitMaxNanos, held.waited_ns);
            let blocker = held.first_blocker.as_ref();
            tell(Kind::Wait, terms, claim, blocker, "", Some(held.waited_ns));
            Some(Got::Go)
        }
        Err(not_held) => without(table, terms, claim, not_held),
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
            terms.known.proceed_on_timeout(),
        ),
        NotHeld::Deadlock(b) => (
            Kind::Deadlock,
            Some(b),
            "each waits for the other",
            terms.known.proceed_on_timeout(),
        ),
        NotHeld::Nested(b) => (
            Kind::Nested,
            Some(b),
            "this thread holds the range itself",
            true,
        ),
        NotHeld::GaveUp => return Some(Got::Refused(libc::EINTR)),
        NotHeld::Poisoned => {
            once::damaged(table, terms.known.refuse_on_table_error());
            return Some(match terms.known.refuse_on_table_error() {
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

/// As it is told.
pub(super) fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::BufferedRead => "buffered_read",
        Mode::BufferedWrite => "buffered_write",
        Mode::DirectRead => "direct_read",
        Mode::DirectWrite => "direct_write",
        Mode::Layout => "layout",
    }
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
        mode: mode_name(claim.mode),
        other: blocker.map(|b| b.owner),
        other_mode: blocker.map_or("", |b| mode_name(b.claim.mode)),
        reason,
        done: match kind {
            Kind::Nested => "passed through",
            Kind::LockTimeout | Kind::Deadlock | Kind::Uncovered if goes_ahead(kind, terms) => {
                "went ahead"
            }
            Kind::LockTimeout | Kind::Deadlock | Kind::Uncovered => "EDEADLK",
            _ => "",
        },
        hint: "",
        nanoseconds,
    });
}
