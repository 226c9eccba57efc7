//! Memory for the lists that exec is given: mapped for the one call, however long they are, for a vfork child may exec on
//! 8 KiB of stack.
//!
//! The kernel copies a list, and then it is given back, but by nobody where it served: the process it was mapped in by a
//! vfork child, which then became another program, has it still. So a thread's record knows the lists of its calls. Its next
//! vfork takes back what children left (their parent stood still until they had done with it), its next exec what a jump out
//! of an exec left, its end all.

use crate::who::lists::{CHILD, Mapped, NOBODY, THIS_PROCESS};
use crate::who::process;
use crate::who::thread::{self, Thread};

/// This thread is about to make a child that has its memory until it execs. If the thread `waits` for that, as it
/// did for earlier ones, what they left is free.
pub fn before_child(thread: &Thread, waits: bool) {
    if !waits {
        thread.shares_memory.set(true);
    }
    let left = |list: &&Mapped| list.of.get() == CHILD && !thread.shares_memory.get();
    if thread.lists.iter().any(|l| left(&l)) && kernel::getpid() == process::pid() {
        thread.lists.iter().filter(left).for_each(Mapped::give_back);
    }
}

/// Calls that were jumped out of: the stack has been unwound past them.
fn after_jump(thread: &Thread, stack: usize) {
    let ended =
        |l: &&Mapped| l.of.get() == THIS_PROCESS && thread.was_unwound(l.stack.get(), stack);
    thread
        .lists
        .iter()
        .filter(ended)
        .for_each(Mapped::give_back);
}

/// About where the program's stack stands in a call of exec: asked before a job, which has another.
pub fn stack_here() -> usize {
    thread::current().own_stack.stack_here()
}

/// Memory, zero, and the place in the thread's record that knows it, if there was one.
pub struct Room {
    pub at: *mut u8,
    pub bytes: usize,
    known: Option<&'static Mapped>,
}

impl Room {
    /// For a call that began there.
    pub fn of(bytes: usize, stack: usize) -> Option<Room> {
        let thread = thread::current();
        let of = match kernel::getpid() == process::pid() {
            true => THIS_PROCESS,
            false => CHILD,
        };
        if of == THIS_PROCESS {
            after_jump(thread, stack);
        }
        let at = kernel::map_anonymous(bytes)?;
        let known = thread.lists.iter().find(|l| l.of.get() == NOBODY);
        if let Some(known) = known {
            known.at.set(at as usize);
            known.bytes.set(bytes);
            known.stack.set(stack);
            known.of.set(of);
        }
        Some(Room { at, bytes, known })
    }

    /// The call's result, and errno as it left it.
    pub fn give_back_after<R>(self, call: impl FnOnce() -> R) -> R {
        let result = call();
        let errno = kernel::errno();
        match self.known {
            Some(known) => known.give_back(),
            None => kernel::unmap(self.at, self.bytes),
        }
        kernel::set_errno(errno);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_jump_left_is_free_at_the_next_call() {
        let (thread, here) = (thread::current(), thread::stack_here());
        let left = Room::of(4096, here).unwrap().known.unwrap();
        left.of.set(THIS_PROCESS);
        for (stack, after) in [(here + 4096, THIS_PROCESS), (here - 4096, NOBODY)] {
            left.stack.set(stack);
            after_jump(thread, here);
            assert_eq!(left.of.get(), after);
        }
    }
}
