//! The frame of a call that takes ranges: its begin, its end, and the description that is pinned between them.

use crate::hold::cancellation::{self, NOT_HERE, hold_cancellation, restore_cancellation};
use crate::hold::give_back;
use crate::hold::slots::release;
use crate::tell::events;
use crate::what::changes::forget_seen;
use crate::what::descriptions::Pinned;
use crate::what::descriptors::{TURNS, pin, pin_unused};
use crate::what::words::{self, Peek};
use crate::who::process;
use crate::who::thread::{Frame, Thread};

/// The frame around every call that takes a range: the description pinned, cancellation held off.
/// `body` says None when the number turned out to stand for something else; then all begins anew.
pub fn under_frame(
    fd: i32,
    cancellation_point: bool,
    real: &dyn Fn() -> isize,
    body: impl Fn(&Thread, &Frame, &Pinned) -> Option<isize>,
) -> isize {
    match process::active() {
        Some(thread) => under_frame_of(thread, fd, cancellation_point, real, body),
        None => real(),
    }
}

/// The same where it is known whose call it is.
#[inline]
pub fn under_frame_of(
    thread: &Thread,
    fd: i32,
    cancellation_point: bool,
    real: &dyn Fn() -> isize,
    body: impl Fn(&Thread, &Frame, &Pinned) -> Option<isize>,
) -> isize {
    let mut waited = 0;
    for _ in 0..TURNS {
        let Some(frame) = begin(thread, cancellation_point) else {
            return unframed(fd, "calls nest too deep", real);
        };
        frame.waited.set(waited);
        let pinned = pin(fd);
        let done = match &pinned {
            Some(pinned) => {
                frame.pinned.set(pinned.index);
                body(thread, frame, pinned)
            }
            None => Some(real()),
        };
        waited = frame.waited.get();
        end(thread, frame);
        match (done, pinned) {
            (Some(result), _) => return result,
            (None, Some(pinned)) => forget_seen(fd, pinned.seen),
            (None, None) => {}
        }
    }
    unframed(fd, "the number stands for another file each time", real)
}

/// A call of which it can't be known what it is about.
#[cold]
#[inline(never)]
fn unframed(fd: i32, reason: &str, real: &dyn Fn() -> isize) -> isize {
    let refused = process::refuses_uncovered();
    let failed = events::emit_uncovered_call(None, fd, reason, refused);
    failed.unwrap_or_else(real)
}

/// A look at what the number stands for, which holds nothing when it is over. None: it isn't fenced.
pub fn look_at<R>(fd: i32, look: impl FnOnce(&Thread, &Frame, &Pinned) -> R) -> Option<R> {
    look_through(pin, fd, look)
}

/// The same for a call that uses nothing of it (see `pin_unused`).
pub fn look_at_unused<R>(fd: i32, look: impl FnOnce(&Thread, &Frame, &Pinned) -> R) -> Option<R> {
    look_through(pin_unused, fd, look)
}

fn look_through<R>(
    pin: fn(i32) -> Option<Pinned>,
    fd: i32,
    look: impl FnOnce(&Thread, &Frame, &Pinned) -> R,
) -> Option<R> {
    let thread = process::active()?;
    if let Peek::Pass | Peek::Ours | Peek::Tells = words::peek(fd) {
        return None;
    }
    let frame = begin(thread, false)?;
    let result = pin(fd).map(|pinned| {
        frame.pinned.set(pinned.index);
        look(thread, frame, &pinned)
    });
    end(thread, frame);
    result
}

/// point, a pending one acts now, with nothing held. None: calls nest too deep.
pub fn begin(thread: &Thread, cancellation_point: bool) -> Option<&Frame> {
    // An instruction of the program's own is none.
    let cancellation_point = cancellation_point && !thread.own_stack.is_under_way();
    if cancellation_point {
        cancellation::point();
    }
    let old = hold_cancellation();
    match thread.enter(give_back::abandoned) {
        Some(frame) => {
            frame.cancel_state.set(if cancellation_point {
                old
            } else {
                old | NOT_HERE
            });
            Some(frame)
        }
        None => {
            restore_cancellation(old);
            None
        }
    }
}

/// A range more for the call that is running; ended like any other, before that one.
pub fn begin_within(thread: &Thread) -> Option<&Frame> {
    let frame = thread.enter_within()?;
    frame.cancel_state.set(hold_cancellation() | NOT_HERE);
    Some(frame)
}

/// End it: whatever is still held is given back. errno stays.
#[inline(never)]
pub fn end(thread: &Thread, frame: &Frame) {
    let errno = kernel::errno();
    release(frame);
    give_back::of(frame);
    thread.leave(frame);
    events::tell_what_is_due(thread);
    restore_cancellation(frame.cancel_state.get());
    kernel::set_errno(errno);
}
