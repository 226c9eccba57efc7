//! Nothing is told while a range is held: to tell takes a look at a path and a write, and somebody may wait for the range.
//! What happens under one is kept here, and told when its thread holds none any more (P11).

use core::sync::atomic::Ordering::*;

use crate::tell::kept::{Kept, Place};
use crate::tell::state::state;
use crate::tell::vocabulary::Event;
use crate::who::thread::{self, Holds, Thread};

/// Whether a call of this thread holds a range, or a request that it settles does.
pub(super) fn is_under_range(thread: &Thread) -> bool {
    thread.settles.get() || thread.frames.iter().any(|f| f.holds.get() == Holds::Alone)
}

fn record(thread: &Thread) -> usize {
    core::ptr::from_ref(thread) as usize
}

/// Whether the event is told later. Signals are blocked.
#[inline(never)]
pub(super) fn keep(event: &Event) -> bool {
    let thread = thread::current();
    if !is_under_range(thread) {
        return false;
    }
    let kept = Kept::of(event);
    if !kept.is_whole(event) {
        return false;
    }
    // Counted first: where nothing was, no place is taken.
    let order = state().kept.fetch_add(1, AcqRel);
    let own = record(thread);
    let take = |place: &&Place| {
        place
            .thread
            .compare_exchange(0, own, AcqRel, Relaxed)
            .is_ok()
    };
    let Some(place) = state().later.iter().find(take) else {
        return false;
    };
    // SAFETY: the place is this thread's since `take`, and no handler comes in between.
    unsafe { place.put(kept) };
    place.order.store(order, Relaxed);
    thread.tells_later.set(true);
    true
}

/// What this thread has kept longest. Signals are blocked.
pub(super) fn next_of(thread: &Thread) -> Option<Kept> {
    let mine = |place: &&Place| place.thread.load(Relaxed) == record(thread);
    let kept = state().later.iter().filter(mine);
    let place = kept.min_by_key(|place| place.order.load(Relaxed))?;
    // SAFETY: the place is this thread's, and no handler comes in between.
    let what = unsafe { place.take() };
    place.thread.store(0, Release);
    what
}

/// In a forked child: what its parent's threads keep, they tell. Mostly nothing: each place lies on a page of its own, which the
/// kernel would make.
pub fn forget_in_child() {
    let kept = state().kept.load(Acquire) != 0;
    for place in state().later.iter().filter(|_| kept) {
        place.thread.store(0, Relaxed);
    }
    thread::current().tells_later.set(false);
}
