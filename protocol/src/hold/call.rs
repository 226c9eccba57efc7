//! The frame of a call that takes ranges: its begin and its end.

use kernel as raw;

use crate::hold::cancellation::{self, NOT_HERE, hold_cancellation, restore_cancellation};
use crate::hold::give_back;
use crate::hold::ranges::release;
use crate::who::thread::{Frame, Thread};

/// Begin a call that takes ranges. Cancellation waits until [`end`]; where the call is a cancellation
/// point, a pending one acts now, with nothing held. None: calls nest too deep.
pub fn begin(thread: &Thread, cancellation_point: bool) -> Option<&Frame> {
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
    let errno = raw::errno();
    release(frame);
    give_back::of(frame);
    thread.leave();
    restore_cancellation(frame.cancel_state.get());
    raw::set_errno(errno);
}
