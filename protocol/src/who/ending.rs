//! The end of a thread: the destructor of a `pthread_key` gives back what its calls have left.

use core::ffi::c_void;
use core::sync::atomic::Ordering;

use crate::who::stacks;
use crate::who::state::state;
use crate::who::thread::{Thread, current, pointer, stack_here};

/// In the constructor, before the program makes keys: the first 32 need no allocation.
pub fn init(at_exit: fn(&Thread)) {
    stacks::begins_here(stack_here(), pointer());
    state().at_exit.store(at_exit as usize, Ordering::Release);
    let mut key: libc::pthread_key_t = 0;
    // SAFETY: a plain call; the destructor stays loaded (the library is never unloaded).
    if unsafe { libc::pthread_key_create(&mut key, Some(ends)) } == 0 {
        state().key.store(key, Ordering::Release);
    }
}

extern "C" fn ends(_: *mut c_void) {
    let (thread, at_exit) = (current(), state().at_exit.load(Ordering::Acquire));
    // SAFETY: `init` has stored the address of such a function before it made the key.
    unsafe { core::mem::transmute::<usize, fn(&Thread)>(at_exit)(thread) };
    thread.has_destructor.set(false);
}

impl Thread {
    /// Have the slots given back when this thread ends.
    pub fn want_destructor(&self) {
        let key = state().key.load(Ordering::Acquire);
        if !self.has_destructor.get() && key != u32::MAX {
            // SAFETY: the key exists; a non-null value is what makes the destructor run.
            unsafe { libc::pthread_setspecific(key, core::ptr::dangling()) };
            self.has_destructor.set(true);
        }
    }
}
