//! What lower rooms ask of requests that outlive their call (see `requests`): nothing, at the cost of a load, until the
//! program has made a context for them.

use core::sync::atomic::Ordering::*;

use crate::who::state::state;
use crate::who::thread::{Frame, Thread};

pub struct Answers {
    /// A call is about to wait for a range: perhaps for that of a request of ours which is complete. Whether one was
    /// settled.
    pub settle_complete: fn(&Thread) -> bool,
    /// The program is about to read an eventfd that tells of completions, or has read it.
    pub show_complete: fn(),
    /// What a frame has to do with contexts is over: its call ends, or was jumped out of.
    pub let_go: fn(&Frame),
    /// The process is to have no thread but the program's.
    pub leave: fn(),
}

/// There are contexts from now on.
pub fn who_answers(answers: &'static Answers) {
    state()
        .answers
        .store((&raw const *answers).cast_mut().cast(), Release);
}

#[inline]
fn answers() -> Option<&'static Answers> {
    let answers = state().answers.load(Acquire).cast::<Answers>();
    // SAFETY: null, or what `who_answers` was given, which lives for good.
    unsafe { answers.as_ref() }
}

#[cold]
#[inline(never)]
pub fn settle_complete(thread: &Thread) -> bool {
    answers().is_some_and(|a| (a.settle_complete)(thread))
}

#[cold]
pub fn show_complete() {
    if let Some(answers) = answers() {
        (answers.show_complete)();
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
