//! What lower rooms ask of requests that outlive their call (see `requests`): nothing, at the cost of a load, until the
//! program has made a context for them.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering::*};

use crate::who::thread::{Frame, Thread};

pub struct Answers {
    /// A call is about to wait for a range: perhaps for that of a request of ours which is complete. Whether one was
    /// settled.
    pub settle_complete: fn(&Thread) -> bool,
    /// The program is about to read an eventfd that tells of completions.
    pub before_reading: fn(),
    /// What a frame has to do with contexts is over: its call ends, or was jumped out of.
    pub let_go: fn(&Frame),
    /// The process is to have no thread but the program's.
    pub leave: fn(),
}

static ANSWERS: AtomicPtr<Answers> = AtomicPtr::new(null_mut());

/// There are contexts from now on.
pub fn who_answers(answers: &'static Answers) {
    ANSWERS.store((&raw const *answers).cast_mut(), Release);
}

#[inline]
fn answers() -> Option<&'static Answers> {
    let answers = ANSWERS.load(Acquire);
    // SAFETY: null, or what `who_answers` was given, which lives for good.
    unsafe { answers.as_ref() }
}

#[cold]
#[inline(never)]
pub fn settle_complete(thread: &Thread) -> bool {
    answers().is_some_and(|a| (a.settle_complete)(thread))
}

#[cold]
pub fn before_reading() {
    if let Some(answers) = answers() {
        (answers.before_reading)();
    }
}

#[inline]
pub fn let_go(frame: &Frame) {
    if frame.context.get() != 0
        && let Some(answers) = answers()
    {
        (answers.let_go)(frame);
    }
}

pub fn leave() {
    if let Some(answers) = answers() {
        (answers.leave)();
    }
}
