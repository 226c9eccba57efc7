//! A number that is being replaced, as its word says it: see `replace`, whose calls mark it.
//!
//! Nobody relies on what it stood for, and who uses it meanwhile waits, or looks at it for this one call. Several may
//! replace one number at the same time: the word counts them, and the last one leaves it to be looked at anew.

use core::sync::atomic::Ordering::*;

use crate::tell::stderr;
use crate::what::words::{self, REPLACED, UNKNOWN, carried, is_under_way, make, tag, word};
use crate::who::process;

/// What a word of this kind carries: how many, and whether it has been disturbed.
pub const ONE: u32 = 1;
pub const DISTURBED: u32 = 1 << 31;

/// How long who uses the number waits for the replacement to be over, in nanoseconds: longer than that takes (see
/// `replace`), but for a kernel that has put the new description in and can't close the old one.
const PATIENCE: u64 = 30_000_000_000;

/// Waits until the number isn't being replaced any more. False: it still is; or this very thread does it (a signal
/// handler's call, during which the kernel replaces nothing), or holds something that the replacer may wait for.
pub fn is_over(fd: i32) -> bool {
    if !is_under_way(fd) {
        return true;
    }
    let waits = process::active().is_none_or(|thread| {
        let own = thread.frames.iter().any(|f| f.replacing.get() == fd + 1);
        !own && thread.outer_slots(0).next().is_none()
    });
    let deadline = kernel::now_ns().saturating_add(PATIENCE);
    let mut rounds = 0;
    while waits && kernel::now_ns() < deadline {
        if rounds < 100 {
            rounds += 1;
            kernel::yield_now();
        } else {
            kernel::sleep_ms(1);
        }
        if !is_under_way(fd) {
            return true;
        }
    }
    false
}

/// The word, with a note that somebody else changed what the number stands for.
pub fn disturbed(seen: u64) -> u64 {
    make(REPLACED, carried(seen) | DISTURBED)
}

/// One who replaces the number less; the last one, if nobody disturbed him, leaves this word. Whether he did.
pub fn leave(number: i32, new: u64) -> bool {
    let Some(w) = word(number) else { return false };
    loop {
        let seen = w.load(Acquire);
        if tag(seen) != REPLACED {
            return false;
        }
        let others = (carried(seen) & !DISTURBED).saturating_sub(ONE);
        let quiet = others == 0 && carried(seen) & DISTURBED == 0;
        let next = match others {
            0 if quiet => new,
            0 => make(UNKNOWN, 0),
            _ => make(REPLACED, others | DISTURBED),
        };
        if w.compare_exchange(seen, next, AcqRel, Acquire).is_ok() {
            if number == 2 {
                stderr::has_left();
            }
            return quiet;
        }
    }
}

/// A fork copied the word in the middle: the child has no thread that will end it. Under the registry lock.
pub fn recount_in_child() {
    for w in words::words() {
        if tag(w.load(Relaxed)) == REPLACED {
            w.store(make(UNKNOWN, 0), Relaxed);
        }
    }
}
