//! Lists for the next program, of variables and of arguments, as far as a thread's record knows them (see `life::room`).

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

/// Two of one call, and of a handler within it or of a child in between that has left its own. For what comes beyond that the
/// call itself answers.
pub type Lists = [Mapped; 4];
