//! All that this room remembers of the process.

use core::sync::atomic::{AtomicBool, AtomicU64};

use crate::who::owned::owned;

pub struct State {
    /// What is mapped from now on is locked, and so read in at once (mlockall).
    pub(super) locks_mappings: AtomicBool,
    /// Somebody looks at the process's mappings; when the last look ended, and how long it took (see `unseen`).
    pub(super) looking: AtomicBool,
    pub(super) look_ended: AtomicU64,
    pub(super) look_took: AtomicU64,
}

impl State {
    const fn new() -> State {
        State {
            locks_mappings: AtomicBool::new(false),
            looking: AtomicBool::new(false),
            look_ended: AtomicU64::new(0),
            look_took: AtomicU64::new(0),
        }
    }
}

owned!(State);
