//! Lists of variables for the next program, as far as a thread's record knows them (see `variables`).

use core::cell::Cell;

/// Who a list was mapped for.
pub const NOBODY: u32 = 0;
pub const THIS_PROCESS: u32 = 1;
pub const CHILD: u32 = 2;

/// A list that a call of this thread uses, or a child has left.
#[derive(Default)]
pub struct Mapped {
    pub of: Cell<u32>,
    /// Where the stack stood when the call began.
    pub stack: Cell<usize>,
    pub at: Cell<usize>,
    pub bytes: Cell<usize>,
}

impl Mapped {
    pub fn give_back(&self) {
        if self.of.replace(NOBODY) != NOBODY {
            kernel::unmap(self.at.get() as *mut u8, self.bytes.get());
        }
    }
}

/// One call's, a handler's within it, and what a child in between has left.
pub type Lists = [Mapped; 3];
