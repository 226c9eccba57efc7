//! A word for each descriptor number: unknown, passed through, ours, freshly opened, a description, one that is inherited,
//! or being replaced.

use core::sync::atomic::{AtomicU64, Ordering::*};

use kernel::arena::CAPACITY;

use crate::what::state::state;
use crate::who::lineage;

/// What the low byte of a word says.
pub const UNKNOWN: u64 = 0;
pub const PASS: u64 = 1;
pub const OURS: u64 = 2;
pub const FRESH: u64 = 3;
pub const DESCRIPTION: u64 = 4;
/// See `replacing`.
pub const REPLACED: u64 = 5;
/// An eventfd that tells of completions (see `requests`).
pub const TELLS: u64 = 6;
/// A description that a forked child has from its parent, and that it is not in the lock table for yet (P14): it is at the
/// first use.
pub const INHERITED: u64 = 7;

pub fn word(fd: i32) -> Option<&'static AtomicU64> {
    state().words.get(u32::try_from(fd).ok()?)
}

/// The word of a number that the program may have, made if need be.
pub fn ensure(fd: i32) -> Option<&'static AtomicU64> {
    let number = u32::try_from(fd).ok()?;
    let word = state().words.ensure(number);
    if state().met.load(Acquire) <= number {
        state().met.fetch_max(number.saturating_add(1), AcqRel);
    }
    word
}

/// The same of one that it doesn't have: ours lie high, far above all of its.
pub fn ensure_own(fd: i32) -> Option<&'static AtomicU64> {
    state().words.ensure(u32::try_from(fd).ok()?)
}

/// Those of the numbers that the program may have.
pub fn words() -> impl Iterator<Item = &'static AtomicU64> {
    (0..state().met.load(Acquire)).filter_map(|n| state().words.get(n))
}

/// The word of this number, if it has been met.
pub fn word_at(number: u32) -> Option<&'static AtomicU64> {
    state().words.get(number)
}

/// How many numbers have been met, at most.
pub fn end() -> u32 {
    state().words.end()
}

/// Tag in 8 bits, what it carries in 32, and 24 bits of a sequence that makes every word unlike the last.
pub fn make(tag: u64, carries: u32) -> u64 {
    // 0 is the word of a number that was never met.
    let sequence = 1 + state().changing.sequence.fetch_add(1, Relaxed);
    if sequence & SEQUENCE == 0 {
        // Words that threads remember from before might come again.
        lineage::next_epoch();
    }
    tag | u64::from(carries) << 8 | sequence << 40
}

/// How much of it is in a word.
const SEQUENCE: u64 = (1 << 24) - 1;

/// What makes it unlike the last.
pub fn sequence(word: u64) -> u64 {
    word >> 40
}

pub fn tag(word: u64) -> u64 {
    word & 0xff
}

pub fn carried(word: u64) -> u32 {
    (word >> 8) as u32
}

pub fn description_of(word: u64) -> Option<u32> {
    matches!(tag(word), DESCRIPTION | INHERITED).then(|| carried(word))
}

/// In a forked child: what its numbers stand for it has from its parent.
pub fn are_inherited() {
    change_all(DESCRIPTION, INHERITED);
}

/// It is in the lock table with all of it.
pub fn are_used() {
    change_all(INHERITED, DESCRIPTION);
}

fn change_all(from: u64, to: u64) {
    for w in words() {
        changes_to(w, from, to);
    }
}

/// The same of one, if it says so.
pub fn changes_to(w: &AtomicU64, from: u64, to: u64) {
    let seen = w.load(Acquire);
    if tag(seen) == from {
        let _ = w.compare_exchange(seen, make(to, carried(seen)), AcqRel, Acquire);
    }
}

/// Of a call's fast path: the description's index without pinning it, and the word to compare later.
#[inline]
pub fn peek(fd: i32) -> Peek {
    let seen = match word(fd) {
        Some(w) => w.load(Acquire),
        None => UNKNOWN,
    };
    match tag(seen) {
        DESCRIPTION => Peek::Description {
            seen,
            index: carried(seen),
        },
        PASS => Peek::Pass,
        other => peek_at_other(fd, other),
    }
}

/// Apart: with all of them in one place, the compiler makes a table of jumps of it, which no processor that has just been in
/// the kernel foresees.
#[inline(never)]
fn peek_at_other(fd: i32, tag: u64) -> Peek {
    match tag {
        OURS => Peek::Ours,
        TELLS => Peek::Tells,
        _ if fd < 0 || fd as u32 >= CAPACITY => Peek::Pass,
        _ => Peek::Unknown,
    }
}

pub enum Peek {
    Pass,
    /// For the program it doesn't exist: EBADF.
    Ours,
    /// It isn't fenced, and what it tells of must be there when it is read.
    Tells,
    Unknown,
    Description {
        seen: u64,
        index: u32,
    },
}

/// Whether the number still stands for what [`peek`] saw.
#[inline]
pub fn still(fd: i32, seen: u64) -> bool {
    word(fd).is_some_and(|w| w.load(Acquire) == seen)
}

/// The number is an eventfd that tells of completions.
pub fn tells(fd: i32) {
    let Some(w) = ensure(fd) else { return };
    let seen = w.load(Acquire);
    if matches!(tag(seen), UNKNOWN | PASS | FRESH) {
        let _ = w.compare_exchange(seen, make(TELLS, 0), AcqRel, Acquire);
    }
}

/// Grows with every change of a number.
pub fn changes() -> u64 {
    state().changing.sequence.load(Acquire)
}

/// Numbers in `first..=last` that stand for something known.
pub fn known_in(first: u32, last: u32) -> impl Iterator<Item = i32> {
    (first..state().words.end().min(last.saturating_add(1)))
        .filter(|n| {
            state()
                .words
                .get(*n)
                .is_some_and(|w| w.load(Acquire) & 0xff != UNKNOWN)
        })
        .map(|n| n as i32)
}

/// Whether it is known to stand for a description.
#[inline]
pub fn is_description(fd: i32) -> bool {
    word(fd).is_some_and(|w| tag(w.load(Acquire)) == DESCRIPTION)
}

#[inline]
pub fn is_ours(fd: i32) -> bool {
    word(fd).is_some_and(|w| tag(w.load(Acquire)) == OURS)
}

/// Whether it is being replaced (see `replacing`).
#[inline]
pub fn is_under_way(fd: i32) -> bool {
    word(fd).is_some_and(|w| tag(w.load(Acquire)) == REPLACED)
}
