//! Fork: a child is a process of its own in the lock table before fork returns in it.

use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering::*};
use std::cell::UnsafeCell;

use lock_table::Table;

use crate::events::{self, Event};
use crate::process::{self, active, pid, table};
use crate::registry::{self, Registry};
use crate::text::Text;
use crate::{descriptors, exec, files, needs, raw, routes, scratch, thread};

/// A word that the kernel zeroes in every forked child, also one that was forked behind our back.
static SAME_PROCESS: AtomicPtr<AtomicU32> = AtomicPtr::new(core::ptr::null_mut());

/// Whether this is still the process that last said so. False in a child that was forked past us.
#[inline]
pub fn is_same_process() -> bool {
    let word = SAME_PROCESS.load(Relaxed);
    // SAFETY: null, or a page that is mapped for good.
    unsafe { word.as_ref() }.is_none_or(|w| w.load(Relaxed) != 0)
}

struct Stash(UnsafeCell<Option<Registry>>);
// SAFETY: written and read only between prepare and parent/child, by the thread that forks.
unsafe impl Sync for Stash {}
static FORKING: Stash = Stash(UnsafeCell::new(None));

/// In the constructor.
pub fn watch() {
    if let Some(page) = raw::map_anonymous(4096)
        && raw::wipe_on_fork(page, 4096)
    {
        let word = page.cast::<AtomicU32>();
        // SAFETY: a fresh page of ours.
        unsafe { (*word).store(1, Relaxed) };
        SAME_PROCESS.store(word, Release);
    }
    // SAFETY: the handlers stay loaded.
    unsafe {
        libc::pthread_atfork(
            Some(before_fork),
            Some(after_fork_in_parent),
            Some(after_fork_in_child),
        )
    };
}

extern "C" fn before_fork() {
    if active().is_none() {
        return;
    }
    descriptors::all_shared();
    let registry = registry::lock();
    // SAFETY: we hold the registry lock: no other fork is between prepare and parent.
    unsafe { *FORKING.0.get() = Some(registry) };
}

fn take_stash() -> Option<Registry> {
    // SAFETY: as above; in the child there is no other thread.
    unsafe { (*FORKING.0.get()).take() }
}

extern "C" fn after_fork_in_parent() {
    if registry::is_held() && raw::getpid() == pid() {
        drop(take_stash());
    }
}

extern "C" fn after_fork_in_child() {
    if let Some(registry) = take_stash() {
        become_child(registry);
    }
}

/// Without a trip through `pthread_atfork` (a raw clone): only if nobody was in the registry.
#[cold]
pub fn behind_our_back() {
    if registry::is_held() {
        process::stop_fencing();
        events::emit(&Event::uncovered(
            0,
            "forked past libc while a file was being opened: this child is not fenced",
        ));
        return;
    }
    descriptors::all_shared();
    become_child(registry::lock());
}

fn become_child(registry: Registry) {
    process::become_another();
    let thread = thread::current();
    thread.after_vfork.set(0);
    thread.forget_parent();
    scratch::reset_in_child();
    // SAFETY: null, or a page that is mapped for good.
    if let Some(word) = unsafe { SAME_PROCESS.load(Acquire).as_ref() } {
        word.store(1, Release);
    }
    let joined = scratch::roomy_in(&registry, || join(&registry));
    registry::reset_in_child(registry);
    if joined {
        routes::reregister_in_child();
    }
}

/// The child in the table, with the files that it has from its parent. Whether it could be.
fn join(registry: &Registry) -> bool {
    if !needs::may_join() {
        // Said when the filter came: see `needs`.
        process::stop_fencing();
        return false;
    }
    exec::close_kept_in_child();
    if let Some(Err(error)) = table().map(Table::reattach_in_child) {
        // What it has open already it goes on using, past the fence.
        let done = process::without_table("passed through");
        let reason = Text::<400>::of(format_args!("a forked child can't join: {error}"));
        events::emit(&Event {
            done,
            ..Event::uncovered(0, reason.as_str())
        });
        return false;
    }
    descriptors::recount_in_child();
    routes::recount_in_child(registry);
    files::reregister_in_child();
    true
}

/// A child that shares our open file descriptions is being started (vfork, posix_spawn, `SCM_RIGHTS`).
pub fn sharing() {
    if active().is_some() {
        descriptors::all_shared();
    }
}
