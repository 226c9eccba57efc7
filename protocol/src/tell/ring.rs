//! Where this process's ring is, and its parent's (see `trace`).

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering::*};
use std::ffi::CString;

use kernel::Ticks;
use once_cell::race::{OnceBox, OnceRef};
use trace::{Ring, Shape};

use crate::who::registry::Registry;

/// What a ring is made by (see `what::own`): under the registry lock nobody puts something else at its numbers.
pub struct Numbers {
    pub settle: fn(i32, &Registry) -> Option<i32>,
    pub give_up: fn(i32, &Registry),
}

/// All of it; the folder is known if there is a trace.
pub struct Trace {
    pub(super) folder: OnceBox<CString>,
    pub(super) numbers: OnceRef<'static, Numbers>,
    pub(super) stage: AtomicU32,
    /// Where the ring lies that is written to: ours or, until there is one, our parent's. 0: neither.
    pub(super) ring: AtomicUsize,
    /// Where our parent's does, if we have one of our own.
    pub(super) of_parent: AtomicUsize,
    /// When it is tried again to make one.
    pub(super) again_at: AtomicU64,
    /// What calls move is recorded: rings have more room.
    pub(super) is_roomy: AtomicBool,
    /// Records that were lost and stand in no ring.
    pub(super) lost: AtomicU64,
    pub(super) why: AtomicI32,
    /// For who reads the time at every call.
    pub(super) clock: Ticks,
}

/// There is no ring of our own.
pub(super) const NONE: u32 = 0;
/// Somebody makes it.
pub(super) const MAKING: u32 = 1;
pub(super) const OWN: u32 = 2;

impl Trace {
    pub(super) const fn new() -> Trace {
        Trace {
            folder: OnceBox::new(),
            numbers: OnceRef::new(),
            stage: AtomicU32::new(NONE),
            ring: AtomicUsize::new(0),
            of_parent: AtomicUsize::new(0),
            again_at: AtomicU64::new(0),
            is_roomy: AtomicBool::new(false),
            lost: AtomicU64::new(0),
            why: AtomicI32::new(0),
            clock: Ticks::new(),
        }
    }

    /// The one that is written to.
    pub(super) fn at_hand(&self) -> Option<Ring> {
        let at = self.ring.load(Acquire);
        // SAFETY: only addresses of rings of this shape are stored there, which it has from the constructor on.
        (at != 0).then(|| unsafe { Ring::at(at, self.shape()) })
    }

    /// Of every ring of this process and of those that it was forked from.
    pub(super) fn shape(&self) -> Shape {
        match self.is_roomy.load(Relaxed) {
            true => Shape::ROOMY,
            false => Shape::STANDARD,
        }
    }
}
