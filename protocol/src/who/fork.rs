//! Fork: a child is a process of its own in the lock table before fork returns in it.
//!
//! Other libraries' `pthread_atfork` handlers do I/O too. Ours are registered before all of them, when the first of them
//! is: so they run last before a fork, next to it, and first after it, in the parent as in the child. (One that gets
//! there first all the same finds the registry held by its own thread, and in the child becomes the child there.)

use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering::*, fence};
use std::cell::UnsafeCell;

use kernel::high;
use lock_table::Table;

use crate::direct::second;
use crate::raw;
use crate::tell::events::{self, Event};
use crate::text::Text;
use crate::what::{descriptors, files, routes, unseen};
use crate::who::needs::Join;
use crate::who::process::{self, active, pid, table};
use crate::who::registry::{self, Registry};
use crate::who::thread::Thread;
use crate::who::{exec, needs, scratch, thread};

/// A word that the kernel zeroes in every forked child, also one that was forked behind our back.
static SAME_PROCESS: AtomicPtr<AtomicU32> = AtomicPtr::new(core::ptr::null_mut());

/// Whether this is still the process that last said so. False in a child that was forked past us.
#[inline]
pub fn is_same_process() -> bool {
    let word = SAME_PROCESS.load(Relaxed);
    // SAFETY: null, or a page that is mapped for good.
    unsafe { word.as_ref() }.is_none_or(|w| w.load(Relaxed) != 0)
}

/// The second word of that page: other processes use this memory (a clone with CLONE_VM), perhaps for as long as they
/// live, and so the first is zero: every call asks who it is.
fn guests() -> Option<&'static AtomicU32> {
    let word = SAME_PROCESS.load(Acquire);
    // SAFETY: null, or a page that is mapped for good.
    unsafe { word.add(usize::from(!word.is_null())).as_ref() }
}

/// Where the first word is zero: a guest, or the host of guests, whose memory was not wiped.
#[cold]
pub fn is_shared_memory() -> bool {
    // The first word was seen to be zero: the second was stored before.
    fence(Acquire);
    guests().is_some_and(|w| w.load(Relaxed) != 0)
}

/// A task is about to be made that uses this memory, and not this process's descriptors.
pub fn cloning(flags: i32) {
    if flags & libc::CLONE_THREAD != 0 {
        return;
    }
    sharing();
    let lasts = flags & libc::CLONE_VM != 0 && flags & libc::CLONE_VFORK == 0;
    if !lasts || active().is_none() || is_shared_memory() {
        return;
    }
    events::emit(&Event::uncovered(
        0,
        "a child shares this process's memory (clone with CLONE_VM): what it does with files is not fenced",
    ));
    if let Some(guests) = guests() {
        guests.store(1, SeqCst);
        // SAFETY: as above.
        if let Some(word) = unsafe { SAME_PROCESS.load(Acquire).as_ref() } {
            word.store(0, SeqCst);
        }
    }
}

struct Stash(UnsafeCell<Option<Registry>>);
// SAFETY: written and read only between prepare and parent/child, by the thread that forks.
unsafe impl Sync for Stash {}
static FORKING: Stash = Stash(UnsafeCell::new(None));

/// When the first handler of anybody is registered, or in the constructor.
pub fn watch() {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    if WATCHED.swap(true, AcqRel) {
        return;
    }
    if let Some(page) = raw::map_anonymous(4096)
        && raw::wipe_on_fork(page, 4096)
    {
        SAME_PROCESS.store(page.cast::<AtomicU32>(), Release);
        this_is_the_process();
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

/// From now on a child that is forked past us can tell.
pub fn this_is_the_process() {
    // SAFETY: null, or a page that is mapped for good.
    if let Some(word) = unsafe { SAME_PROCESS.load(Acquire).as_ref() } {
        word.store(1, Release);
    }
}

extern "C" fn before_fork() {
    if active().is_none() {
        return;
    }
    descriptors::all_shared();
    let registry = registry::lock();
    registry::hold_for_fork(&registry);
    // SAFETY: we hold the registry lock: no other fork is between prepare and parent.
    unsafe { *FORKING.0.get() = Some(registry) };
}

fn take_stash() -> Option<Registry> {
    // SAFETY: as above; in the child there is no other thread.
    unsafe { (*FORKING.0.get()).take() }
}

extern "C" fn after_fork_in_parent() {
    if registry::is_forking_here() && raw::getpid() == pid() {
        // What was opened since is the child's too.
        descriptors::all_shared();
        registry::end_of_fork();
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
    if registry::is_forking_here()
        && let Some(registry) = take_stash()
    {
        // Another library's handler came before ours.
        return become_child(registry);
    }
    if registry::is_held() {
        process::stop_fencing();
        events::emit(&Event::uncovered(
            0,
            "forked past libc while a file was being opened: this child is not fenced",
        ));
        return;
    }
    become_child(registry::lock());
}

fn become_child(registry: Registry) {
    descriptors::all_shared();
    process::become_another();
    let thread = thread::current();
    thread.after_vfork.set(0);
    thread.forget_parent();
    high::forget_makers_in_child();
    scratch::reset_in_child();
    this_is_the_process();
    let joined = scratch::roomy_in(&registry, || join(&registry));
    registry::reset_in_child(registry);
    unseen::reset_in_child();
    if joined {
        routes::reregister_in_child();
    }
}

/// The child in the table, with the files that it has from its parent. Whether it could be.
fn join(registry: &Registry) -> bool {
    events::forget_telling_in_child();
    let enter = match needs::how_to_join() {
        Join::ByOpening => Table::reattach_in_child,
        Join::ByProbe => Table::reattach_through_probe,
        Join::Not => {
            // Said when the filter came: see `needs`.
            second::close_all_in_child();
            process::stop_fencing();
            return false;
        }
    };
    exec::close_kept_in_child();
    if let Some(Err(error)) = table().map(enter) {
        // What it has open already it goes on using, past the fence. Nobody hides our numbers from it any more.
        second::close_all_in_child();
        let done = process::without_table("passed through");
        let reason = Text::<400>::of(format_args!("a forked child can't join: {error}"));
        events::emit(&Event {
            done,
            ..Event::uncovered(0, reason.as_str())
        });
        return false;
    }
    second::forget_hands_in_child();
    descriptors::recount_in_child();
    routes::recount_in_child(registry);
    files::reregister_in_child();
    true
}

/// A call that makes a process, which gets this one's limits: none of them is raised meanwhile.
pub fn making<R>(real: impl FnOnce() -> R) -> R {
    if active().is_none() {
        return real();
    }
    high::process_is_made();
    let result = real();
    high::process_was_made();
    result
}

/// What `after_vfork` says: a child has our memory, and also that it is being made.
const USED: u32 = 1;
const USED_AND_MADE: u32 = 2;

/// This thread is about to make a child that has our memory. If it `waits` for that, until its next call of ours.
pub fn lending(thread: &Thread, waits: bool) {
    let makes = waits && active().is_some();
    if thread.after_vfork.get() != 0 {
        return; // a child of such a child
    }
    thread
        .after_vfork
        .set(if makes { USED_AND_MADE } else { USED });
    if makes {
        high::process_is_made();
    }
}

/// The child is gone, or another program.
pub fn lent(thread: &Thread) {
    if thread.after_vfork.replace(0) == USED_AND_MADE {
        high::process_was_made();
    }
}

/// A child that shares our open file descriptions is being started (vfork, posix_spawn, `SCM_RIGHTS`).
pub fn sharing() {
    if active().is_some() {
        descriptors::all_shared();
    }
}
