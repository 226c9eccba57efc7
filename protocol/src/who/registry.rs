//! The one lock inside a process. It guards what changes when descriptors, files and mappings come
//! and go, and what is opened for us meanwhile (a ring of the trace is made under it), never an I/O call of the
//! program, and nobody waits for a range while holding it.
//!
//! No handler comes while it is held (see `handlers`): one that opens a file would wait for its own thread.
//! `fork` takes it too (see `process`), so a child never inherits half a change.

use core::sync::atomic::Ordering;

use crate::who::handlers::{self, Away};
use crate::who::state::state;

const FREE: u32 = 0;
const HELD: u32 = 1;
const WAITED_FOR: u32 = 2;

/// Proof that the registry lock is held.
pub struct Registry {
    handlers: Option<Away>,
    /// Within a fork: whoever forks has it already.
    nested: bool,
}

pub fn lock() -> Registry {
    let handlers = Some(handlers::keep_away());
    let lock = &state().changing.lock;
    if lock
        .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
        .is_err()
    {
        if is_forking_here() {
            let nested = true;
            return Registry { handlers, nested };
        }
        while lock.swap(WAITED_FOR, Ordering::Acquire) != FREE {
            kernel::futex_wait_private(lock, WAITED_FOR);
        }
    }
    let holder = &state().changing.holder;
    holder.store(this_thread(), Ordering::Relaxed);
    handlers::count();
    Registry {
        handlers,
        nested: false,
    }
}

/// The same for who may come from where this thread holds it: something is told in the middle of a change.
pub fn lock_or_go_on() -> Registry {
    if state().changing.holder.load(Ordering::Relaxed) != this_thread() {
        return lock();
    }
    Registry {
        handlers: Some(handlers::keep_away()),
        nested: true,
    }
}

fn this_thread() -> usize {
    &raw const *crate::who::thread::current() as usize
}

impl Registry {
    /// In a forked child that goes on to hold it: handlers may come again. What the parent counted isn't there.
    pub fn let_handlers_come(&mut self) {
        if let Some(Away::Masked(signals)) = self.handlers.take() {
            kernel::restore_signals(signals);
        }
    }
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
        self.handlers
            .take()
            .into_iter()
            .for_each(handlers::let_come);
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
    handlers::forget_in_child();
    held.let_handlers_come();
    core::mem::forget(held);
}
