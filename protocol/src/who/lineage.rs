//! Whether this is the process that it was: a page that the kernel empties in every forked child says so, also where the
//! fork was made past us; and whose memory this is, while a child has it (vfork, clone with CLONE_VM).
//!
//! The page's first word is the process's epoch, or zero. What a thread has found out and keeps for its next call (see
//! `lane`) is good in one epoch only. A child has another one than its parent; a process that is to look at everything anew
//! begins the next.

use core::cell::Cell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU32, Ordering::*, fence};

use kernel::high;

use crate::who::state::state;

/// Whether this is still the process that last said so. False in a child that was forked past us.
#[inline]
pub fn is_same_process() -> bool {
    let word = state().same_process.load(Relaxed);
    // SAFETY: null, or a page that is mapped for good.
    unsafe { word.as_ref() }.is_none_or(|w| w.load(Acquire) != 0)
}

/// Whether a child that is forked past us could tell.
pub fn is_watched() -> bool {
    !state().same_process.load(Acquire).is_null()
}

/// The second word of that page: other processes use this memory (a clone with CLONE_VM), perhaps for as long as they
/// live, and so the first is zero: every call asks who it is.
fn guests() -> Option<&'static AtomicU32> {
    let word = state().same_process.load(Acquire);
    // SAFETY: null, or a page that is mapped for good.
    unsafe { word.add(usize::from(!word.is_null())).as_ref() }
}

/// Where the first word is zero: a guest, or the host of guests, whose memory was not wiped.
#[cold]
pub fn is_shared_memory() -> bool {
    // The first word was seen to be zero: the second was stored before.
    fence(Acquire);
    guests().is_some_and(|w| w.load(Relaxed) != 0)
}

/// Other processes use this memory from now on: every call asks who it is.
pub fn share_memory() {
    watch();
    if let Some(guests) = guests() {
        guests.store(1, SeqCst);
        // SAFETY: a page that is mapped for good.
        if let Some(word) = unsafe { state().same_process.load(Acquire).as_ref() } {
            word.store(0, SeqCst);
        }
    }
}

/// Makes the page, if there is none: when the process joins the lock table, forks, or others come to use its memory. Before that
/// nothing is followed that a child would have to tell from its own.
pub fn watch() {
    if !is_watched()
        && let Some(page) = kernel::map_anonymous(4096)
    {
        let word = page.cast::<AtomicU32>();
        // SAFETY: zeroed bytes of ours, aligned. It says who this is before anybody can see it: who finds zero takes himself for
        // a child.
        unsafe { &*word }.store(next(), Relaxed);
        let is_first = kernel::wipe_on_fork(page, 4096)
            && (state().same_process)
                .compare_exchange(null_mut(), word, AcqRel, Acquire)
                .is_ok();
        if !is_first {
            kernel::unmap(page, 4096);
        }
    }
}

/// From now on a child that is forked past us can tell.
pub fn this_is_the_process() {
    // SAFETY: null, or a page that is mapped for good.
    if let Some(word) = unsafe { state().same_process.load(Acquire).as_ref() } {
        word.store(next(), Release);
    }
}

/// One that this process and its forefathers have not had.
fn next() -> u32 {
    1 + state().changing.epochs.fetch_add(1, AcqRel) % (u32::MAX - 1)
}

/// What threads keep for their next calls isn't good any more.
pub fn next_epoch() {
    // SAFETY: null, or a page that is mapped for good.
    if let Some(word) = unsafe { state().same_process.load(Acquire).as_ref() } {
        let (now, next) = (word.load(Acquire), next());
        // Zero, in a child that isn't known yet or where others use this memory: nothing is kept there.
        if now != 0 {
            let _ = word.compare_exchange(now, next, AcqRel, Acquire);
        }
    }
}

/// The word, and the epoch in it. None: nothing may be kept.
pub fn epoch() -> Option<(&'static AtomicU32, u32)> {
    // SAFETY: null, or a page that is mapped for good.
    let word = unsafe { state().same_process.load(Acquire).as_ref() }?;
    let epoch = word.load(Acquire);
    (epoch != 0).then_some((word, epoch))
}

/// What `after_vfork` says: a child has our memory, and also that it is being made.
const USED: u32 = 1;
const USED_AND_MADE: u32 = 2;

/// A thread is about to make a child that has our memory, until its next call of ours: what it knows of that is changed. `is_made_apart`: for as long
/// no limit of ours is raised, which it would keep.
pub fn lend(after_vfork: &Cell<u32>, is_made_apart: bool) {
    if after_vfork.get() != 0 {
        return; // a child of such a child
    }
    let says = if is_made_apart { USED_AND_MADE } else { USED };
    after_vfork.set(says);
    if is_made_apart {
        high::process_is_made();
    }
}

/// The child is gone, or another program.
pub fn lent(after_vfork: &Cell<u32>) {
    if after_vfork.replace(0) == USED_AND_MADE {
        high::process_was_made();
    }
}
