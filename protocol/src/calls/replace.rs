//! A number that comes to stand for something else while it is open: dup2, dup3, freopen.
//!
//! The library must know before the kernel does. So the number's word says *being replaced* from before the real
//! call to its end: nobody relies on what it stood for, and who uses it meanwhile waits, or looks at it for
//! this one call. Calls that had looked before are waited for. Several may replace one number at the same time:
//! the word counts them, and the last one leaves it to be looked at anew.
//!
//! Marked under the registry lock, under which also numbers for descriptors of our own are made: so nobody's comes
//! to lie where the program is about to put something.

use core::sync::atomic::Ordering::*;

use crate::direct::surrender;
use crate::hold::call;
use crate::tell::{once, stderr};
use crate::what::changes::{duplicated, forget};
use crate::what::descriptions::description;
use crate::what::descriptors::pin_unused;
use crate::what::files;
use crate::what::replacing::{DISTURBED, ONE, leave};
use crate::what::words::{
    OURS, REPLACED, UNKNOWN, carried, description_of, ensure, make, still, tag, word,
};
use crate::who::thread::{Frame, Thread};
use crate::who::{process, registry};

/// How long calls under way are waited for at least, in nanoseconds: they hold what they need, so they end unless
/// somebody stops their thread or their device.
const LONGEST: u64 = 10_000_000_000;

/// How often dup2 is tried while an open is about to land on the number: one of ours may be that, and is moved away.
const TRIES: u32 = 10_000;

/// A call that puts what is behind `source`, or what isn't known, at `number`; `real` says -1 when it fails.
pub fn number<R>(
    number: i32,
    source: Option<i32>,
    real: impl Fn() -> R,
    failed: impl Fn(&R) -> bool,
    refused: R,
) -> R {
    let begun = process::active().and_then(|thread| Some((thread, call::begin(thread, false)?)));
    let Some((thread, frame)) = begun.filter(|_| ensure(number).is_some()) else {
        if let Some((thread, frame)) = begun {
            call::end(thread, frame);
        }
        return plainly(number, source, real, failed);
    };
    let seen = source.and_then(pin_unused).map(|pinned| {
        frame.pinned.set(pinned.index);
        pinned.seen
    });
    let before = match take_out(frame, number) {
        Ok(before) => before,
        Err(error) => {
            call::end(thread, frame);
            kernel::set_errno(error);
            return refused;
        }
    };
    if let Some(before) = before {
        calls_end(thread, before);
        if number == 2 {
            stderr::end_telling();
        }
    }
    let mut result = real();
    for _ in 0..TRIES {
        if !failed(&result) || kernel::errno() != libc::EBUSY {
            break;
        }
        kernel::yield_now();
        result = real();
    }
    let errno = kernel::errno();
    let after = match failed(&result) {
        true => After::AsBefore(before),
        false => After::Duplicate(source.zip(seen)),
    };
    if let Some(before) = before {
        put_in(frame, number, after, tag(before) == OURS && failed(&result));
    }
    call::end(thread, frame);
    if before.is_some_and(|word| tag(word) == OURS) {
        once::surrendered();
    }
    kernel::set_errno(errno);
    result
}

/// In a process without a table, or too deep in nested calls.
fn plainly<R>(
    number: i32,
    source: Option<i32>,
    real: impl Fn() -> R,
    failed: impl Fn(&R) -> bool,
) -> R {
    let result = real();
    if !failed(&result) {
        match source {
            Some(old) => duplicated(old, number),
            None => forget(number),
        }
    }
    result
}

/// Marks the number; what it stood for so far is kept in the frame. None: it is ours, and the kernel will refuse the
/// call. Err: it is ours, and can't be given up.
fn take_out(frame: &Frame, number: i32) -> Result<Option<u64>, i32> {
    let mut surrendered = None;
    loop {
        let registry = registry::lock();
        let Some(w) = word(number) else {
            return Ok(None);
        };
        let seen = w.load(Acquire);
        if tag(seen) == OURS && surrendered != Some(seen) {
            if kernel::number_limit().is_some_and(|limit| number as u64 >= limit) {
                return Ok(None);
            }
            drop(registry);
            surrender::surrender(number)?;
            surrendered = Some(seen);
            continue;
        }
        let new = match tag(seen) {
            REPLACED => make(REPLACED, (carried(seen) + ONE) | DISTURBED),
            _ => make(REPLACED, ONE),
        };
        if w.compare_exchange(seen, new, AcqRel, Acquire).is_ok() {
            if number == 2 {
                stderr::leaves();
            }
            frame.replaced.set(description_of(seen).unwrap_or(0));
            frame.replacing.set(number + 1);
            return Ok(Some(seen));
        }
    }
}

/// What the number stands for after the call.
enum After {
    /// The call failed: what this word says.
    AsBefore(Option<u64>),
    /// What the other number stood for, if its word still says so; else it must be looked at.
    Duplicate(Option<(i32, u64)>),
}

impl After {
    /// The word, and the description of which it takes a reference.
    fn word(&self, frame: &Frame) -> (u64, Option<u32>) {
        match *self {
            After::AsBefore(Some(before)) if tag(before) == OURS => (make(UNKNOWN, 0), None),
            After::AsBefore(Some(before)) => {
                (make(tag(before), carried(before)), description_of(before))
            }
            After::Duplicate(Some((old, seen))) if still(old, seen) => {
                let index = frame.pinned.get();
                (make(tag(seen), index), Some(index))
            }
            _ => (make(UNKNOWN, 0), None),
        }
    }
}

/// The call is over; `is_left`: what we had there is there still, and nobody's.
fn put_in(frame: &Frame, number: i32, after: After, is_left: bool) {
    let _registry = registry::lock();
    if is_left && word(number).is_some_and(|w| carried(w.load(Acquire)) == ONE) {
        kernel::close(number);
    }
    let (new, takes) = after.word(frame);
    if leave(number, new) {
        // The frame's reference is the word's now; what it had is let go with the frame.
        match takes {
            Some(index) if index == frame.replaced.get() => frame.replaced.set(0),
            Some(index) if index == frame.pinned.get() => frame.pinned.set(0),
            _ => {}
        }
    }
    frame.replacing.set(0);
}

/// Calls of this process that looked at the number before it was marked may still be about to use it: they have
/// announced or hold something of the file. Not from inside another call of this thread, which would wait for itself.
fn calls_end(thread: &Thread, before: u64) {
    let file = description_of(before)
        .and_then(description)
        .and_then(|d| files::get(d.file_index()));
    let (Some(file), Some(table)) = (file, process::table()) else {
        return;
    };
    if thread.outer_slots(0).next().is_some() {
        return;
    }
    // They announce with a plain store.
    if !kernel::membarrier() {
        kernel::sleep_ms(2);
    }
    let deadline = kernel::now_ns().saturating_add(LONGEST.max(file.lock_timeout_ns()));
    table.calls_end(file.id(), deadline);
}
