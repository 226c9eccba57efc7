//! Frames for calls about contexts, and how long such a call sleeps.

use crate::hold::{call, cancellation, give_back};
use crate::who::thread::{self, Frame, Thread};

/// For a wait that something else ends soon.
pub const SHORT: u64 = 10_000_000;
pub const LONG: u64 = 3_600_000_000_000;

/// A frame for a call about contexts. None: calls nest too deep.
pub fn frame() -> Option<(&'static Thread, &'static Frame)> {
    let thread = thread::current();
    Some((thread, call::begin(thread, false)?))
}

/// Runs a call about contexts in a frame, or in one that isn't reclaimed where calls nest too deep.
#[inline(always)]
pub fn in_frame<R>(mut call: impl FnMut(&Frame) -> R) -> R {
    match frame() {
        Some((thread, frame)) => {
            let result = call(frame);
            call::end(thread, frame);
            result
        }
        None => in_spare(&mut call),
    }
}

#[cold]
#[inline(never)]
fn in_spare<R>(call: &mut dyn FnMut(&Frame) -> R) -> R {
    let spare = Frame::default();
    spare.cancel_state.set(cancellation::UNTOUCHED);
    let result = call(&spare);
    give_back::all_of(&spare);
    result
}
