//! What a call holds stands in its frame. Here is all that a frame has to give back, when the call ends, is jumped out of
//! (`siglongjmp`), is cancelled, or its thread ends.

use crate::hold::bounce;
use crate::hold::cancellation::{UNTOUCHED, restore_cancellation};
use crate::hold::slots::release;
use crate::tell::events;
use crate::what::words::{UNKNOWN, make};
use crate::what::{descriptions, entries, hands, replacing};
use crate::who::thread::{Frame, Thread};
use crate::who::{outlived, process};

/// Of calls that did not come back.
pub fn abandoned(under_way: &[Frame], frames: &[Frame]) {
    // The outermost that touched it knows how cancellation stood before.
    let mut states = under_way.iter().map(|frame| frame.cancel_state.get());
    if let Some(state) = states.find(|state| *state != UNTOUCHED) {
        restore_cancellation(state);
    }
    // The innermost first, as calls end: it may have passed by who waits for an outer one.
    frames.iter().rev().for_each(all_of);
}

/// All that a call holds, or a request in flight.
pub fn all_of(frame: &Frame) {
    hands::let_go(frame); // by its slot
    release(frame);
    of(frame);
}

/// All but the range.
#[inline]
pub fn of(frame: &Frame) {
    offset(frame);
    replaced(frame);
    entries::let_go(frame);
    outlived::let_go(frame);
    let pinned = frame.pinned.replace(0);
    if pinned != 0 {
        descriptions::unpin_index(pinned);
    }
}

pub fn offset(frame: &Frame) {
    let locked = frame.offset_locked.replace(0);
    if locked != 0 {
        descriptions::unlock_offset_of(locked);
    }
}

/// At a thread's end: whatever its calls have left.
pub fn all(thread: &Thread) {
    thread.end_down_to(0, abandoned);
    bounce::give_back(thread);
    thread.own_stack.give_back();
    events::tell_what_is_due(thread);
}

/// A `longjmp` is about to take this thread's stack back to `target`.
pub fn unwound_to(target: usize) {
    if let Some(thread) = process::active() {
        thread.unwound_to(target, abandoned);
    }
}

/// The number that it was replacing must be looked at.
#[inline]
fn replaced(frame: &Frame) {
    if frame.replacing.get() != 0 || frame.replaced.get() != 0 {
        given_up(frame);
    }
}

#[cold]
fn given_up(frame: &Frame) {
    let number = frame.replacing.replace(0);
    if number != 0 {
        replacing::leave(number - 1, make(UNKNOWN, 0));
    }
    let replaced = frame.replaced.replace(0);
    if replaced != 0 {
        descriptions::unpin_index(replaced);
    }
}
