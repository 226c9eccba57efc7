//! A stack of ours for each thread that makes system calls by instructions of its own program: a call of that kind needs
//! none of the program's stack, so the program may have next to none (a goroutine's, a coroutine's), and all that a hook does
//! needs some. The door (`shim`, `doors::sites`) maps it at a thread's first such call and changes to it; here is what others
//! must know of that.
//!
//! Where on the program's stack such a call stands is told from our stack: so deep as we are below its end, so deep below
//! the call. Frames are ordered by that, as those of calls by name are by their place ([`OwnStack::stack_here`]).
//!
//! A signal handler runs on our stack, as it would on the program's; one with an alternate stack doesn't, and its own calls
//! get the next [`LEVEL`].

use core::cell::Cell;

/// With room for the handlers of signals; what isn't used costs no memory.
pub const SIZE: usize = 256 * 1024;
/// Below it, and can't be touched: a multiple of every page size.
pub const GUARD: usize = 64 * 1024;
/// What a call may use before the next one that comes from elsewhere.
pub const LEVEL: usize = 64 * 1024;

/// About where the stack stands now: also on one of ours.
#[inline(always)]
pub fn stack_here() -> usize {
    let here = 0u8;
    &raw const here as usize
}

/// The door's own instructions read and write these.
#[repr(C)]
#[derive(Default)]
pub struct OwnStack {
    /// Just above its highest byte; 0: there is none.
    pub end: Cell<usize>,
    /// How much of it calls have that are under way.
    pub used: Cell<usize>,
    /// What makes a place on it one on the program's stack.
    pub shift: Cell<usize>,
}

impl OwnStack {
    fn has(&self, at: usize) -> bool {
        let end = self.end.get();
        end != 0 && end.wrapping_sub(at) <= SIZE
    }

    #[inline(always)]
    pub fn is_none(&self) -> bool {
        self.end.get() == 0
    }

    /// How much of it is in use below a call that came from `site`, where the door found `used`: nothing, if what was under
    /// way has been jumped out of.
    pub fn really_used(&self, site: usize, used: usize) -> usize {
        let goes_on = used == 0 || self.has(site) || kernel::alternate_stack().contains(&site);
        if goes_on { used } else { 0 }
    }

    /// At the end of the thread.
    pub fn give_back(&self) {
        if !self.has(stack_here()) {
            let end = self.end.replace(0);
            self.used.set(0);
            if end != 0 {
                kernel::unmap((end - SIZE - GUARD) as *mut u8, SIZE + GUARD);
            }
        }
    }

    /// About where the program's stack stands now.
    #[inline(always)]
    pub fn stack_here(&self) -> usize {
        let here = stack_here();
        match self.end.get() {
            0 => here,
            _ => self.seen_from(here),
        }
    }

    /// Whether a call that came by an instruction of the program's own is under way.
    #[inline]
    pub fn is_under_way(&self) -> bool {
        self.has(stack_here())
    }

    #[cold]
    #[inline(never)]
    fn seen_from(&self, here: usize) -> usize {
        match self.has(here) {
            true => here.wrapping_add(self.shift.get()),
            false => here,
        }
    }

    /// Whether the program is on its alternate stack; also where that can't be known.
    pub fn is_on_alternate_stack(&self) -> bool {
        match self.has(stack_here()) {
            true => kernel::alternate_stack().contains(&self.stack_here()),
            false => kernel::on_alternate_stack(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This thread's stack taken for one of ours, with the program's far away.
    fn as_ours() -> OwnStack {
        let own = OwnStack::default();
        own.end.set(stack_here() + 4096);
        own.shift.set(1 << 40);
        own
    }

    #[test]
    fn a_place_on_it_is_one_on_the_programs_stack() {
        assert!(OwnStack::default().stack_here().abs_diff(stack_here()) < 1024);
        let (own, here) = (as_ours(), stack_here());
        assert!(own.stack_here().abs_diff(here + (1 << 40)) < 1024);
        assert_eq!(own.seen_from(here + SIZE), here + SIZE);
        assert!(own.is_under_way() && !own.is_on_alternate_stack());
    }

    #[test]
    fn what_was_jumped_out_of_uses_nothing() {
        let (own, here) = (as_ours(), stack_here());
        assert_eq!(own.really_used(here, LEVEL), LEVEL, "a handler on it");
        assert_eq!(own.really_used(here + SIZE, LEVEL), 0);
        assert_eq!(own.really_used(here + SIZE, 0), 0);
        own.give_back();
        assert_ne!(own.end.get(), 0, "it is in use");
    }
}
