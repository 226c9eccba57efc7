//! Whether a place lies on the thread's own stack, the one that it began with: only of two places on one stack can be said
//! which call began first. A handler's may be elsewhere, and the kernel doesn't always say so (SS_AUTODISARM); coroutines'
//! are anywhere.
//!
//! The own stack ends where the thread's storage stands, or the first thread's, where the constructor was; it reaches down
//! as far as can be read from there: below a stack lies a page that can't.

use core::cell::Cell;
use core::sync::atomic::Ordering::Relaxed;

use crate::who::state::state;

/// No kernel's pages are smaller; in larger ones it looks more often than it must.
const LEAST: usize = 4096;
/// Deeper is none believed to be: half a minute's worth of looking.
const MOST: usize = 64 << 20;
/// So far above the constructor the calls of a program may begin.
const ABOVE: usize = 256 * 1024;

/// In the constructor: here is the first thread's, whose storage stands there.
pub fn begins_here(at: usize, storage: usize) {
    state().first_stack.store(at, Relaxed);
    state().first_storage.store(storage, Relaxed);
}

/// What a thread knows of its own: from the first to below the second all is one stack.
#[derive(Default)]
pub struct Known(Cell<usize>, Cell<usize>);

impl Known {
    /// Whether this place lies on it. None: that can't be known. `storage`: where the thread's stands.
    pub fn has(&self, at: usize, storage: usize) -> Option<bool> {
        if (self.0.get()..self.1.get()).contains(&at) {
            return Some(true);
        }
        // What stands above the constructor isn't all there to be read.
        let (from, above) = match storage == state().first_storage.load(Relaxed) {
            true => (state().first_stack.load(Relaxed), ABOVE),
            false => (storage, 0),
        };
        let end = from.saturating_add(above);
        let Some(far) = end.checked_sub(at).filter(|far| *far < MOST) else {
            return Some(false);
        };
        let pages = far.saturating_sub(above).div_ceil(LEAST);
        let all = kernel::readable_below(from, pages, LEAST)? == pages;
        if all {
            self.0.set(at);
            self.1.set(end);
        }
        Some(all)
    }
}
