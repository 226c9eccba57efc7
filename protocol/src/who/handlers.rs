//! Keeping signal handlers away from what they may not come in the middle of: a lock that this thread holds, a job on a
//! stack of ours. That takes two system calls, which change the thread's mask. A process in which no handler can come needs
//! none of them: most programs install none.
//!
//! So every door by which a handler is installed says so, before it is (`installed::may_come`), and from then on masks are
//! changed. What began without that goes on meanwhile in other threads: it is counted, and who installs the handler waits
//! until it has ended. (A handler for what a thread does to itself, SIGSEGV and its like, is none: nobody's mask keeps it
//! out.) A thread that may be cancelled at any instruction is the same danger, and comes by the same door.
//!
//! A process begins with masks. After 32 times that it would have done without, the kernel is asked whether a handler
//! was installed past every door; and now and then again.

use core::sync::atomic::{AtomicU32, Ordering::*};

use crate::who::state::state;

/// Nothing is known: the doors haven't been asked, and the kernel neither.
const UNKNOWN: u32 = 0;
const NONE: u32 = 1;
const SOME: u32 = 2;

/// How often handlers are kept away before the kernel is asked once more, at the cost of a system call a signal.
const AGAIN: u32 = 4096;

/// How handlers are kept away, until it is ended by [`let_come`].
pub enum Away {
    Masked(kernel::Blocked),
    /// There are none, and this is counted.
    Counted,
}

/// Apart, as what ends it is: who keeps them away goes deep.
#[inline(never)]
pub fn keep_away() -> Away {
    if state().changing.handlers.load(Relaxed) == NONE && counted() {
        return Away::Counted;
    }
    Away::Masked(kernel::block_signals())
}

/// In this order: who installs one says so first, and looks then who is counted.
#[inline(always)]
fn counted() -> bool {
    let changing = &state().changing;
    changing.without_masks.fetch_add(1, SeqCst);
    let none = changing.handlers.load(SeqCst) == NONE;
    if !none {
        end_counted();
    }
    none
}

#[inline(never)]
pub fn let_come(away: Away) {
    match away {
        Away::Masked(signals) => kernel::restore_signals(signals),
        Away::Counted => end_counted(),
    }
}

#[inline(always)]
fn end_counted() {
    let changing = &state().changing;
    // Nobody is left where a forked child has forgotten its parent meanwhile.
    let less = |n: u32| n.checked_sub(1);
    let _ = changing.without_masks.fetch_update(SeqCst, SeqCst, less);
    if changing.handlers.load(SeqCst) == SOME {
        kernel::futex_wake_all_private(&changing.without_masks);
    }
}

/// Whether somebody has to be waited for who relies on it that there are no handlers: there may be some from now on.
pub fn are_about_to_come() -> bool {
    let handlers = &state().changing.handlers;
    handlers.load(Acquire) != SOME && handlers.swap(SOME, SeqCst) == NONE
}

/// How many rely on it, and where that is counted.
pub fn relied_on() -> (u32, &'static AtomicU32) {
    let counted = &state().changing.without_masks;
    (counted.load(SeqCst), counted)
}

/// The registry is locked once more.
#[inline]
pub fn count() {
    let changing = &state().changing;
    let count = changing.kept_away.load(Relaxed).wrapping_add(1);
    changing.kept_away.store(count, Relaxed);
}

/// Whether they have been kept away often enough for a [`look`]. Asked at every open, mmap and fork.
#[inline]
pub fn is_look_due() -> bool {
    let changing = &state().changing;
    let (count, due) = (&changing.kept_away, &changing.look_due);
    let count = count.load(Relaxed);
    let is_due = count.wrapping_sub(due.load(Relaxed)) < u32::MAX / 2;
    if is_due {
        due.store(count.wrapping_add(AGAIN), Relaxed);
    }
    is_due
}

/// Whether masks are needed.
#[cold]
#[inline(never)]
pub fn look() {
    let handlers = &state().changing.handlers;
    match kernel::has_handlers() {
        // By a door that we don't watch: nobody waited for who is counted, and nobody does from now on.
        true => handlers.store(SOME, SeqCst),
        false => {
            let _ = handlers.compare_exchange(UNKNOWN, NONE, SeqCst, Relaxed);
        }
    }
}

/// In a forked child, whose one thread holds nothing: whom its parent counted is not there.
pub fn forget_in_child() {
    state().changing.without_masks.store(0, SeqCst);
}
