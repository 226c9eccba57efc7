//! Cancellation waits while a call holds something: a cancelled thread runs no destructors.

use crate::who::thread::Frame;

const ENABLED: i32 = 0;
/// A frame's cancel state in a call that didn't touch it.
pub const UNTOUCHED: i32 = -1;
/// Set in a frame's cancel state where POSIX names no cancellation point.
pub const NOT_HERE: i32 = 1 << 8;

/// Where the call is a cancellation point, a pending one acts now, with nothing held.
pub fn point() {
    // SAFETY: nothing is held: if this thread ends here, nothing of ours is left behind.
    unsafe { pthread_testcancel() };
}

/// Asked now and then during a wait, with nothing held: a cancelled thread ends here, and its frame is
/// cleared by the destructor of its record.
pub fn act_on_cancellation(frame: &Frame) -> bool {
    if frame.cancel_state.get() == ENABLED {
        restore_cancellation(ENABLED);
        // SAFETY: nothing is held (the slot is withdrawn).
        unsafe { pthread_testcancel() };
        hold_cancellation();
    }
    false
}

/// For a sleep in which the thread may be cancelled as the program has it; until [`close`].
pub fn open(frame: &Frame) {
    restore_cancellation(frame.cancel_state.get());
}

pub fn close(frame: &Frame) {
    if frame.cancel_state.get() != UNTOUCHED {
        hold_cancellation();
    }
}

#[inline]
pub fn hold_cancellation() -> i32 {
    let mut old = 0;
    // SAFETY: a plain call.
    unsafe { pthread_setcancelstate(1, &mut old) };
    old
}

#[inline]
pub fn restore_cancellation(old: i32) {
    if old != UNTOUCHED {
        let mut ignored = 0;
        // SAFETY: a plain call.
        unsafe { pthread_setcancelstate(old & !NOT_HERE, &mut ignored) };
    }
}

unsafe extern "C" {
    fn pthread_testcancel();
    fn pthread_setcancelstate(state: i32, old: *mut i32) -> i32;
}
