//! What each fork writes, in the parent and in the child. It stands beside the registry lock, which a fork takes: for each page
//! that is written after a fork the kernel makes a copy, or finds out that it needs none.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};

use crate::who::registry::Registry;
use crate::who::state::state;

const _: () = assert!(size_of::<Registry>() <= size_of::<[u64; 4]>());
const _: () = assert!(align_of::<Registry>() <= align_of::<u64>());

fn stash() -> *mut Registry {
    state().forking.stash.0.get().cast()
}

/// The registry, while it is held for a fork; and in the child, until it becomes a process of its own.
///
/// # Safety
/// The caller has the registry lock for a fork, or is the only thread of a child that was forked under it.
pub unsafe fn keep(registry: Registry) {
    // SAFETY: it has room for that, and no other fork is between prepare and parent, as the caller promises.
    unsafe { stash().write(registry) };
    state().forking.is_kept.store(true, Relaxed);
}

/// What is kept, to be changed where it is.
///
/// # Safety
/// As [`keep`].
pub unsafe fn kept() -> Option<&'static mut Registry> {
    let is_kept = state().forking.is_kept.load(Relaxed);
    // SAFETY: `keep` has put it there; as the caller promises, nobody else has it meanwhile.
    is_kept.then(|| unsafe { &mut *stash() })
}

/// It is kept no longer.
///
/// # Safety
/// As [`keep`].
pub unsafe fn take() -> Option<Registry> {
    let is_kept = state().forking.is_kept.swap(false, Relaxed);
    // SAFETY: as above, and it is read once.
    is_kept.then(|| unsafe { stash().read() })
}

/// Said before the fork: a child of this process may wait for its first call until it becomes a process of its own.
pub fn child_may_wait() -> &'static AtomicBool {
    &state().forking.child_may_wait
}

/// Whether this is such a child (see `life::fork`).
pub fn becoming() -> &'static AtomicUsize {
    &state().forking.becoming
}

/// Counts the moments at which descriptions may have become shared with another process.
pub fn sharings() -> &'static AtomicU32 {
    &state().forking.sharings
}
