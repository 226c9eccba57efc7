//! What this crate has been told of the process that it is in. Beside the gate and the clock that is all the state here.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};

static PID: AtomicU32 = AtomicU32::new(0);
static FILTERED: AtomicBool = AtomicBool::new(false);
static NO_MEMORY: AtomicUsize = AtomicUsize::new(0);

/// This process's number, as it was when it was last asked for: in the constructor, and in a forked child.
pub fn pid() -> u32 {
    PID.load(Relaxed)
}

/// In the constructor, and in a forked child.
pub fn set_pid(pid: u32) {
    PID.store(pid, Relaxed);
}

/// A seccomp filter was there before the program (a container's, a service manager's), of which nothing can be asked: what
/// the dynamic linker uses is sure to pass, statx isn't.
pub fn filters_came_first() {
    FILTERED.store(true, Relaxed);
}

pub fn is_filtered() -> bool {
    FILTERED.load(Relaxed)
}

/// Whom to tell that the kernel has no memory left for us.
pub fn when_no_memory(tell: fn()) {
    NO_MEMORY.store(tell as usize, Release);
}

#[cold]
pub(crate) fn no_memory() {
    let tell = NO_MEMORY.load(Acquire);
    if tell != 0 {
        // SAFETY: not null, and only `when_no_memory` stores here: the address of such a function.
        unsafe { core::mem::transmute::<usize, fn()>(tell)() };
    }
}
