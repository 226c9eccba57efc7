//! The one lock inside a process. It guards what changes when descriptors, files and mappings come
//! and go, and what is opened for us meanwhile (a ring of the trace is made under it), never an I/O call of the
//! program, and nobody waits for a range while holding it.
//!
//! Signals are blocked while it is held: a handler that opens a file would wait for its own thread.
//! `fork` takes it too (see `process`), so a child never inherits half a change.

use core::sync::atomic::Ordering;

use kernel::Blocked;

use crate::who::state::state;

const FREE: u32 = 0;
const HELD: u32 = 1;
const WAITED_FOR: u32 = 2;

/// Proof that the registry lock is held.
pub struct Registry {
    signals: Blocked,
    /// Within a fork: whoever forks has it already.
    nested: bool,
}

pub fn lock() -> Registry {
    let signals = kernel::block_signals();
    let lock = &state().changing.lock;
    if lock
        .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
        .is_err()
    {
        if is_forking_here() {
            let nested = true;
            return Registry { signals, nested };
        }
        while lock.swap(WAITED_FOR, Ordering::Acquire) != FREE {
            kernel::futex_wait_private(lock, WAITED_FOR);
        }
    }
    let holder = &state().changing.holder;
    holder.store(this_thread(), Ordering::Relaxed);
    Registry {
        signals,
        nested: false,
    }
}

/// The same for who may come from where this thread holds it: something is told in the middle of a change.
pub fn lock_or_go_on() -> Registry {
    if state().changing.holder.load(Ordering::Relaxed) != this_thread() {
        return lock();
    }
    Registry {
        signals: kernel::block_signals(),
        nested: true,
    }
}

fn this_thread() -> usize {
    &raw const *crate::who::thread::current() as usize
}

/// Held from here on for a fork, in which other libraries' handlers may come by in this thread.
pub fn hold_for_fork(held: &Registry) {
    if !held.nested {
        state()
            .changing
            .forker
            .store(this_thread(), Ordering::Relaxed);
    }
}

pub fn end_of_fork() {
    state().changing.forker.store(0, Ordering::Relaxed);
}

/// Whether it is held for a fork by this thread, or was by the one that became this process.
pub fn is_forking_here() -> bool {
    state().changing.forker.load(Ordering::Relaxed) == this_thread()
}

impl Drop for Registry {
    fn drop(&mut self) {
        let changing = &state().changing;
        if !self.nested {
            changing.holder.store(0, Ordering::Relaxed);
            if changing.lock.swap(FREE, Ordering::Release) == WAITED_FOR {
                kernel::futex_wake_private(&changing.lock);
            }
        }
        kernel::restore_signals(self.signals);
    }
}

/// Whether anybody holds it: asked in a child that was forked behind our back.
pub fn is_held() -> bool {
    state().changing.lock.load(Ordering::Acquire) != FREE
}

/// In a forked child whose parent held the lock for the fork: nobody waits here.
pub fn reset_in_child(mut held: Registry) {
    end_of_fork();
    state().changing.holder.store(0, Ordering::Relaxed);
    state().changing.lock.store(FREE, Ordering::Release);
    let signals = core::mem::take(&mut held.signals);
    core::mem::forget(held);
    kernel::restore_signals(signals);
}
