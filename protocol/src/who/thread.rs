//! What the library knows of one thread: a record in thread-local storage (see `record`).
//!
//! It has no destructor; [`frames`](Thread::enter) left behind by `siglongjmp` or cancellation are
//! reclaimed by the thread's next call or at its end (see `ending`).

use core::cell::Cell;
use core::sync::atomic::Ordering;

pub use crate::who::frame::{Frame, Holds};
use crate::who::lane::Lane;
use crate::who::lists::Lists;
use crate::who::own_stack::OwnStack;
pub use crate::who::own_stack::stack_here;
use crate::who::record;
pub use crate::who::record::pointer;
use crate::who::stacks;
use crate::who::state::state;

/// How deep calls nest in one thread: a request's call within `io_submit`, what it settles before it waits, or what else it
/// holds beside its own; a signal handler's call within it, which may hold as much; and one more.
pub const LEVELS: usize = 8;

/// What gives back what calls hold that were jumped out of: those that were under way, and all frames from there up.
pub type GiveBack = fn(&[Frame], &[Frame]);

#[repr(C, align(64))]
#[derive(Default)]
pub struct Thread {
    /// Set by the `vfork` hook before it jumps (see `process`). Must be the first field.
    pub after_vfork: Cell<u32>,
    pub tid: Cell<u32>,
    /// How many calls are under way, and where the stack stood when the last one began: in one word, because a handler
    /// comes between any two. See [`level`](Thread::level).
    top: Cell<usize>,
    /// The fork generation in which this record was last used; another: it is a parent's.
    generation: Cell<u32>,
    pub lane: Lane,
    pub(super) has_destructor: Cell<bool>,
    /// The lowest byte of the stack of ours that a job runs on (see `scratch`); 0: none does.
    scratch: Cell<usize>,
    pub frames: [Frame; LEVELS],
    /// Environments for programs that calls of this thread start.
    pub lists: Lists,
    /// It made a child that has its memory for as long as it likes.
    pub shares_memory: Cell<bool>,
    /// It settles completed requests (see `requests`).
    pub settles: Cell<bool>,
    /// Something is to be told when it holds no range any more (see `later`).
    pub tells_later: Cell<bool>,
    /// Its buffer, and where the stack of the call stands that uses it (see `bounce`); 0: none.
    pub bounce: Cell<usize>,
    pub bounce_user: Cell<usize>,
    /// Its stack for system calls of the program's own instructions.
    pub own_stack: OwnStack,
    /// The one that it began with.
    stack: stacks::Known,
}

/// In `Thread::top`, below the stack's address.
const LEVEL: usize = 0xff;

#[inline(always)]
fn top(level: usize, stack: usize) -> usize {
    stack << LEVEL.count_ones() | level
}

/// How much a job on a stack of ours may use (see `scratch`), with all that it calls.
pub const SCRATCH_ROOM: usize = 64 * 1024;

const _: () = assert!(core::mem::size_of::<Thread>() <= record::RECORD);

/// The calling thread's record.
#[cfg(test)]
pub fn current() -> &'static Thread {
    crate::who::owned::Process::current().record()
}

/// The calling thread's record.
#[cfg(not(test))]
#[inline(always)]
pub fn current() -> &'static Thread {
    // SAFETY: RECORD zeroed bytes per thread, valid as a `Thread`, used by this thread (and signal
    // handlers on it) only; the reference is not kept beyond the call.
    unsafe { &*(record::address() as *const Thread) }
}

/// In a forked child.
pub fn next_generation() {
    state().generation.fetch_add(1, Ordering::AcqRel);
}

fn generation() -> u32 {
    state().generation.load(Ordering::Relaxed)
}

/// A thread's number where it can't be asked for: above all that the kernel gives.
fn stand_in() -> u32 {
    state().changing.stand_in.fetch_add(1, Ordering::Relaxed) & ((1 << 30) - 1)
}

impl Thread {
    /// Begin a call: its nesting level's frame, or None when nesting is too deep.
    #[inline(always)]
    pub fn enter(&self, give_back: GiveBack) -> Option<&Frame> {
        let stack = self.own_stack.stack_here();
        if self.generation.get() != generation() {
            self.forget_parent();
        }
        if self.top.get() == 0
            && let Some(Some(frame)) = self.next_frame(0, stack)
        {
            frame.waited.set(0);
            return Some(frame);
        }
        self.enter_above(stack, give_back)
    }

    /// The same for who has found out already that the record isn't a parent's: where nothing is under way, and the stack
    /// is the program's own. None: that isn't so.
    #[inline(always)]
    pub fn enter_alone(&self) -> Option<&Frame> {
        let is_alone = self.top.get() == 0 && self.own_stack.is_none();
        is_alone.then(|| self.next_frame(0, stack_here()))??
    }

    /// The frame of a call that none surrounds.
    #[inline(always)]
    pub fn outermost(&self) -> &Frame {
        &self.frames[0]
    }

    /// Other calls of the thread's are under way, or were jumped out of.
    #[cold]
    #[inline(never)]
    fn enter_above(&self, stack: usize, give_back: GiveBack) -> Option<&Frame> {
        loop {
            let mut before = self.top.get();
            if before != 0 {
                self.reclaim_abandoned(stack, give_back);
                if let Some(frame) = self.one_that_has_ended(stack) {
                    frame.waited.set(0);
                    return Some(frame);
                }
                before = self.top.get();
            }
            if let Some(frame) = self.next_frame(before, stack)? {
                frame.waited.set(0);
                return Some(frame);
            }
        }
    }

    /// The frame above what is under way. `Some(None)`: that isn't `before` any more. A handler that comes in between ends
    /// all its calls before it returns; one that switches to another of the program's contexts doesn't, and may come back
    /// when that one's call is under way or has ended.
    #[inline(always)]
    fn next_frame(&self, before: usize, stack: usize) -> Option<Option<&Frame>> {
        let level = before & LEVEL;
        let frame = self.frames.get(level)?;
        frame.has_ended.set(0);
        let is_ours = kernel::replace_in_thread(&self.top, before, top(level + 1, stack));
        Some(is_ours.then_some(frame))
    }

    /// One frame more for the call that is running: it lives, waits and is reclaimed with that one.
    pub fn enter_within(&self) -> Option<&Frame> {
        loop {
            let outer = self.frames.get(self.level().checked_sub(1)?)?;
            let stack = self.own_stack.stack_here();
            if let Some(frame) = self.next_frame(self.top.get(), stack)? {
                frame.waited.set(outer.waited.get());
                return Some(frame);
            }
        }
    }

    /// The frame's call has ended.
    #[inline(always)]
    pub fn leave(&self, frame: &Frame) {
        match core::ptr::eq(frame, self.outermost()) {
            true => self.leave_outermost(),
            false => self.leave_one_of_many(frame),
        }
    }

    #[inline(always)]
    pub fn leave_outermost(&self) {
        let now = self.top.get();
        if now & LEVEL != 1 || !kernel::replace_in_thread(&self.top, now, 0) {
            self.leave_one_of_many(self.outermost());
        }
    }

    /// Not always the innermost: a context that was switched to in the middle of a call ends its own in any order.
    #[inline(never)]
    fn leave_one_of_many(&self, frame: &Frame) {
        // No stack begins there: nobody takes it for one that was jumped out of.
        frame.stack.set(usize::MAX);
        frame.has_ended.set(1);
        loop {
            let now = self.top.get();
            let level = now & LEVEL;
            let frame = |above: usize| level.checked_sub(above).and_then(|l| self.frames.get(l));
            let Some(last) = frame(1).filter(|f| kernel::replace_in_thread(&f.has_ended, 1, 0))
            else {
                return;
            };
            let to = frame(2).map_or(0, |below| top(level - 1, below.stack.get()));
            if !kernel::replace_in_thread(&self.top, now, to) {
                last.has_ended.set(1);
            }
        }
    }

    /// A frame below the innermost that nobody has any more: contexts that take turns would need one more with each.
    #[cold]
    fn one_that_has_ended(&self, stack: usize) -> Option<&Frame> {
        let below = self.frames.get(..self.level().checked_sub(1)?)?;
        let ended = |f: &&Frame| kernel::replace_in_thread(&f.has_ended, 1, 0);
        let frame = below.iter().find(ended)?;
        frame.stack.set(stack);
        Some(frame)
    }

    /// So many calls are under way from now on, fewer than before.
    #[inline]
    fn go_down_to(&self, level: usize) {
        let last = level.checked_sub(1).and_then(|last| self.frames.get(last));
        let to = last.map_or(0, |frame| top(level, frame.stack.get()));
        let now = self.top.get();
        // Else others have come or gone meanwhile.
        if now & LEVEL > level {
            kernel::replace_in_thread(&self.top, now, to);
        }
    }

    /// How many calls are under way, each of which has its stack in its frame. (A handler's that comes here meanwhile
    /// puts the same there.)
    fn level(&self) -> usize {
        let top = self.top.get();
        let level = top & LEVEL;
        if let Some(last) = level.checked_sub(1).and_then(|last| self.frames.get(last)) {
            last.stack.set(top >> LEVEL.count_ones());
        }
        level
    }

    /// Frames of calls that were jumped out of: the stack has been unwound past them.
    #[cold]
    fn reclaim_abandoned(&self, stack: usize, give_back: GiveBack) {
        let mut level = self.level();
        while let Some(frame) = level.checked_sub(1).and_then(|l| self.frames.get(l)) {
            // A live outer call lies above us on the same stack; elsewhere nothing is reclaimed before we are back.
            if frame.has_ended.get() == 0 && !self.was_unwound(frame.stack.get(), stack) {
                break;
            }
            level -= 1;
        }
        self.end_down_to(level, give_back);
    }

    /// Whether what began there has been jumped out of: the stack stands above it now, and it is the same stack. Where
    /// nothing is known of stacks, on any but an alternate one.
    pub fn was_unwound(&self, began: usize, now: usize) -> bool {
        if began > now || self.own_stack.is_on_alternate_stack() {
            return false;
        }
        let on_own = |at| self.stack.has(at, pointer());
        matches!(
            (on_own(now), on_own(began)),
            (Some(true), Some(true)) | (None, _) | (_, None)
        )
    }

    /// A `longjmp` is about to take the stack back to `target`: the calls below it end here.
    pub fn unwound_to(&self, target: usize, give_back: GiveBack) {
        let level = self.level();
        if level == 0 || self.generation.get() != generation() {
            return;
        }
        let alternate = kernel::alternate_stack();
        let is_elsewhere =
            |at: usize| alternate.contains(&at) || self.stack.has(at, pointer()) == Some(false);
        let leaves = |at: usize| match (is_elsewhere(at), is_elsewhere(target)) {
            (true, false) => true,
            // A jump within the handler, whose stack says nothing about the interrupted call's.
            (false, true) => false,
            _ => at < target,
        };
        if self.bounce_user.get() != 0 && leaves(self.bounce_user.get()) {
            self.bounce_user.set(0);
        }
        let leaves = |frame: &Frame| frame.has_ended.get() == 0 && leaves(frame.stack.get());
        if let Some(first) = self.frames.iter().take(level).position(leaves) {
            self.end_down_to(first, give_back);
        }
    }

    /// The calls from this level up have ended without coming back.
    pub fn end_down_to(&self, level: usize, give_back: GiveBack) {
        let before = self.level();
        let under_way = self.frames.get(..before).unwrap_or(&[]);
        give_back(
            under_way.get(level..).unwrap_or(&[]),
            self.frames.get(level..).unwrap_or(&[]),
        );
        if level != before {
            self.go_down_to(level);
        }
    }

    /// This record was copied by a fork: its slots are the parent's. Its calls are still on the stack if a handler forked.
    #[cold]
    pub fn forget_parent(&self) {
        self.begins_as(kernel::gettid().unwrap_or_else(stand_in));
    }

    /// Whether a call of ours is under way: a handler in its middle has come here.
    pub fn is_in_call(&self) -> bool {
        self.top.get() != 0
    }

    fn begins_as(&self, tid: u32) {
        self.frames.iter().for_each(Frame::forget);
        self.tid.set(tid);
        self.generation.set(generation());
    }

    /// It is a thread that libc doesn't know: nothing happens at its end.
    pub fn is_ours(&self) {
        self.has_destructor.set(true);
    }

    /// Whether this runs as a job on a stack of ours.
    pub fn is_on_scratch(&self) -> bool {
        let room = stack_here().wrapping_sub(self.scratch.get());
        self.scratch.get() != 0 && room < SCRATCH_ROOM
    }

    /// The stack that a job runs on; 0: none does.
    pub fn scratch(&self) -> usize {
        self.scratch.get()
    }

    /// A job begins on this stack: what [`leave_scratch`](Thread::leave_scratch) is to get.
    pub fn enter_scratch(&self, at: usize) -> usize {
        self.scratch.replace(at)
    }

    pub fn leave_scratch(&self, before: usize) {
        self.scratch.set(before);
    }

    /// The slots of the calls below this one: never wait for oneself.
    pub fn outer_slots(&self, own: u32) -> impl Iterator<Item = u32> + '_ {
        self.outer_slots_where(own, |holds| holds != Holds::Nothing)
    }

    /// Those of which this is true.
    pub fn outer_slots_where(
        &self,
        own: u32,
        is: impl Fn(Holds) -> bool,
    ) -> impl Iterator<Item = u32> {
        self.frames
            .iter()
            .filter(move |f| is(f.holds.get()))
            .map(|f| f.slot.get())
            .filter(move |s| *s != 0 && *s != own)
    }
}

#[cfg(test)]
#[path = "thread_tests.rs"]
mod tests;
