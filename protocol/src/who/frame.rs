//! What one call in progress holds: its thread's record has a frame for each.

use core::cell::Cell;

/// Whether a call's range is in the lock table.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Holds {
    #[default]
    Nothing,
    /// It is announced, or being taken: others may be in it.
    Perhaps,
    /// It is taken: nobody whom it excludes comes in before it is given back.
    Alone,
}

/// What one call in progress holds.
#[repr(C)]
#[derive(Default)]
pub struct Frame {
    /// Where the stack stood when the call began; of the last one the thread knows it.
    pub(super) stack: Cell<usize>,
    /// This level's lock slot, claimed once and kept; 0: none, else index + 1.
    pub slot: Cell<u32>,
    /// Description whose offset lock is held; 0: none.
    pub offset_locked: Cell<u32>,
    /// Description that is pinned; 0: none.
    pub pinned: Cell<u32>,
    /// What the slot says of a range.
    pub holds: Cell<Holds>,
    /// 1: its call has ended, and one above it, of another of the program's contexts, has not. Who makes it 0 has the frame.
    pub(super) has_ended: Cell<usize>,
    /// There are few slots left like its own: it keeps none.
    pub is_scarce: Cell<bool>,
    /// Where it has a second descriptor in hand (see `second`); 0: it has none.
    pub second: Cell<u8>,
    /// The thread's cancel state before the call; `cancellation::UNTOUCHED` if the call left it alone.
    pub cancel_state: Cell<i32>,
    /// How long the call has waited so far, in nanoseconds: all its waits share one limit.
    pub waited: Cell<u64>,
    /// The number that it replaces, plus one, and the description that stood there (see `replace`); 0: none.
    pub replacing: Cell<i32>,
    pub replaced: Cell<u32>,
    /// Entries in the register of mappings that may not go before it ends (see `routes`); 0: none.
    pub buffers: Cell<u32>,
    /// The context of asynchronous requests that it uses (see `requests`); 0: none.
    pub context: Cell<u32>,
}

impl Frame {
    /// In a forked child: what it holds is the parent's.
    pub fn forget(&self) {
        self.slot.set(0);
        self.holds.set(Holds::Nothing);
        self.offset_locked.set(0);
        self.pinned.set(0);
        self.second.set(0);
        self.replacing.set(0);
        self.replaced.set(0);
        self.buffers.set(0);
        self.context.set(0);
    }
}
