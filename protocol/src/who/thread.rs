//! What the library knows of one thread: a record in initial-exec thread-local storage.
//!
//! Not `thread_local!`: in a preloaded library that calls `__tls_get_addr`, which allocates. The record
//! has no destructor; [`frames`](Thread::enter) left behind by `siglongjmp` or cancellation are
//! reclaimed by the thread's next call or, at its end, by a `pthread_key` destructor.

use core::cell::Cell;
use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::who::lists::Lists;

/// How deep calls nest in one thread: a call, a signal handler's call within it, and one more.
pub const LEVELS: usize = 4;

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
    /// Where the stack stood when the call began.
    stack: Cell<usize>,
    /// This level's lock slot, claimed once and kept; 0: none, else index + 1.
    pub slot: Cell<u32>,
    /// Description whose offset lock is held; 0: none.
    pub offset_locked: Cell<u32>,
    /// Description that is pinned; 0: none.
    pub pinned: Cell<u32>,
    /// What the slot says of a range.
    pub holds: Cell<Holds>,
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

/// What gives back what calls hold that were jumped out of: those that were under way, and all frames from there up.
pub type GiveBack = fn(&[Frame], &[Frame]);

#[repr(C, align(64))]
pub struct Thread {
    /// Set by the `vfork` hook before it jumps (see `process`). Must be the first field.
    pub after_vfork: Cell<u32>,
    level: Cell<u32>,
    pub tid: Cell<u32>,
    /// The fork generation in which this record was last used; another: it is a parent's.
    generation: Cell<u32>,
    has_destructor: Cell<bool>,
    /// The lowest byte of the stack of ours that a job runs on (see `scratch`); 0: none does.
    scratch: Cell<usize>,
    pub frames: [Frame; LEVELS],
    /// Environments for programs that calls of this thread start.
    pub lists: Lists,
    /// It made a child that has its memory for as long as it likes.
    pub shares_memory: Cell<bool>,
    /// It settles completed requests (see `requests`).
    pub settles: Cell<bool>,
}

/// How much a job on a stack of ours may use (see `scratch`), with all that it calls.
pub const SCRATCH_ROOM: usize = 64 * 1024;

const RECORD: usize = 384;
const _: () = assert!(core::mem::size_of::<Thread>() <= RECORD);

core::arch::global_asm!(
    ".pushsection .tbss.pagefence_thread_record,\"awT\",@nobits",
    ".globl pagefence_thread_record",
    ".hidden pagefence_thread_record",
    ".type pagefence_thread_record,@object",
    ".balign 64",
    "pagefence_thread_record:",
    ".zero {size}",
    ".size pagefence_thread_record, {size}",
    ".popsection",
    size = const RECORD,
);

#[inline(always)]
fn address() -> *const Thread {
    let at: *const Thread;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads the thread pointer and a link-time constant (the initial-exec TLS model).
    unsafe {
        core::arch::asm!(
            "mov {0}, qword ptr [rip + pagefence_thread_record@gottpoff]",
            "add {0}, qword ptr fs:[0]",
            out(reg) at, options(nostack, readonly, pure)
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        core::arch::asm!(
            "mrs {0}, tpidr_el0",
            "adrp {1}, :gottprel:pagefence_thread_record",
            "ldr {1}, [{1}, :gottprel_lo12:pagefence_thread_record]",
            "add {0}, {0}, {1}",
            out(reg) at, out(reg) _, options(nostack, readonly, pure)
        );
    }
    at
}

/// Where the calling thread's storage lies: what the record has its place by.
pub fn pointer() -> usize {
    let at: usize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads the thread pointer.
    unsafe {
        core::arch::asm!("mov {0}, qword ptr fs:[0]", out(reg) at, options(nostack, readonly, pure));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        core::arch::asm!("mrs {0}, tpidr_el0", out(reg) at, options(nostack, nomem, pure));
    }
    at
}

/// The calling thread's record.
#[inline(always)]
pub fn current() -> &'static Thread {
    // SAFETY: RECORD zeroed bytes per thread, valid as a `Thread`, used by this thread (and signal
    // handlers on it) only; the reference is not kept beyond the call.
    unsafe { &*address() }
}

static KEY: AtomicU32 = AtomicU32::new(u32::MAX);
/// What gives back what a thread has at its end: a `fn(&Thread)`.
static AT_EXIT: AtomicUsize = AtomicUsize::new(0);

/// In the constructor, before the program makes keys: the first 32 need no allocation.
pub fn init(at_exit: fn(&Thread)) {
    AT_EXIT.store(at_exit as usize, Ordering::Release);
    let mut key: libc::pthread_key_t = 0;
    // SAFETY: a plain call; the destructor stays loaded (the library is never unloaded).
    if unsafe { libc::pthread_key_create(&mut key, Some(ends)) } == 0 {
        KEY.store(key, Ordering::Release);
    }
}

extern "C" fn ends(_: *mut c_void) {
    let (thread, at_exit) = (current(), AT_EXIT.load(Ordering::Acquire));
    // SAFETY: `init` has stored the address of such a function before it made the key.
    unsafe { core::mem::transmute::<usize, fn(&Thread)>(at_exit)(thread) };
    thread.has_destructor.set(false);
}

/// Counts forks: a record of another generation is the parent's.
static GENERATION: AtomicU32 = AtomicU32::new(1);

/// In a forked child.
pub fn next_generation() {
    GENERATION.fetch_add(1, Ordering::AcqRel);
}

fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// About where the stack stands now.
#[inline(always)]
pub fn stack_here() -> usize {
    let here = 0u8;
    &raw const here as usize
}

/// A thread's number where it can't be asked for: above all that the kernel gives.
fn stand_in() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1 << 24);
    NEXT.fetch_add(1, Ordering::Relaxed) & ((1 << 30) - 1)
}

impl Thread {
    /// Begin a call: its nesting level's frame, or None when nesting is too deep.
    #[inline]
    pub fn enter(&self, give_back: GiveBack) -> Option<&Frame> {
        let stack = stack_here();
        if self.generation.get() != generation() {
            self.forget_parent();
        }
        let mut level = self.level.get() as usize;
        if level != 0 {
            level = self.reclaim_abandoned(stack, give_back);
        }
        let frame = self.frames.get(level)?;
        frame.stack.set(stack);
        frame.waited.set(0);
        self.level.set(level as u32 + 1);
        Some(frame)
    }

    /// One frame more for the call that is running: it lives, waits and is reclaimed with that one.
    pub fn enter_within(&self) -> Option<&Frame> {
        let level = self.level.get() as usize;
        let outer = self.frames.get(level.checked_sub(1)?)?;
        let frame = self.frames.get(level)?;
        frame.stack.set(outer.stack.get());
        frame.waited.set(outer.waited.get());
        self.level.set(level as u32 + 1);
        Some(frame)
    }

    #[inline]
    pub fn leave(&self) {
        self.level.set(self.level.get().saturating_sub(1));
    }

    /// Frames of calls that were jumped out of: the stack has been unwound past them.
    #[cold]
    fn reclaim_abandoned(&self, stack: usize, give_back: GiveBack) -> usize {
        let mut level = self.level.get() as usize;
        while let Some(frame) = level.checked_sub(1).and_then(|l| self.frames.get(l)) {
            // A live outer call lies above us on the same stack. On an alternate signal stack
            // addresses say nothing; then nothing is reclaimed before we are off it.
            if frame.stack.get() > stack || kernel::on_alternate_stack() {
                break;
            }
            level -= 1;
        }
        self.end_down_to(level, give_back);
        level
    }

    /// A `longjmp` is about to take the stack back to `target`: the calls below it end here.
    pub fn unwound_to(&self, target: usize, give_back: GiveBack) {
        let level = self.level.get() as usize;
        if level == 0 || self.generation.get() != generation() {
            return;
        }
        let alternate = kernel::alternate_stack();
        let leaves = |frame: &Frame| {
            let at = frame.stack.get();
            match (alternate.contains(&at), alternate.contains(&target)) {
                (true, false) => true,
                // A jump within the handler, whose stack says nothing about the interrupted call's.
                (false, true) => false,
                _ => at < target,
            }
        };
        if let Some(first) = self.frames.iter().take(level).position(leaves) {
            self.end_down_to(first, give_back);
        }
    }

    /// The calls from this level up have ended without coming back.
    pub fn end_down_to(&self, level: usize, give_back: GiveBack) {
        let under_way = self.frames.get(..self.level.get() as usize).unwrap_or(&[]);
        give_back(
            under_way.get(level..).unwrap_or(&[]),
            self.frames.get(level..).unwrap_or(&[]),
        );
        self.level.set(level as u32);
    }

    /// This record was copied by a fork: its slots are the parent's. Its calls are still on the stack if a handler forked.
    #[cold]
    pub fn forget_parent(&self) {
        self.frames.iter().for_each(Frame::forget);
        self.tid.set(kernel::gettid().unwrap_or_else(stand_in));
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

    /// A job begins on this stack: what [`leave_scratch`](Thread::leave_scratch) is to get.
    pub fn enter_scratch(&self, at: usize) -> usize {
        self.scratch.replace(at)
    }

    pub fn leave_scratch(&self, before: usize) {
        self.scratch.set(before);
    }

    /// Have the slots given back when this thread ends.
    pub fn want_destructor(&self) {
        let key = KEY.load(Ordering::Acquire);
        if !self.has_destructor.get() && key != u32::MAX {
            // SAFETY: the key exists; a non-null value is what makes the destructor run.
            unsafe { libc::pthread_setspecific(key, core::ptr::dangling()) };
            self.has_destructor.set(true);
        }
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
mod tests {
    use super::*;

    #[test]
    fn frames_within_a_call_are_frames_of_their_own() {
        let thread = current();
        thread.forget_parent();
        let outer = thread.enter(|_, _| {}).unwrap();
        let (below, above) = (
            thread.enter_within().unwrap(),
            thread.enter_within().unwrap(),
        );
        assert!(!core::ptr::eq(outer, below) && !core::ptr::eq(below, above));
        assert_eq!(thread.level.get(), 3);
        (0..3).for_each(|_| thread.leave());
        assert_eq!(thread.level.get(), 0);
        assert!(thread.enter_within().is_none(), "no call is running");
    }
}
