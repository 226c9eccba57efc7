//! Fork: a child is a process of its own. In the lock table it is at its first use of a fenced file (P14): most children use
//! none before they become another program. Before fork returns in it, if it has a mapping that it could store to.
//!
//! Even what it remembers of its parent stays as it is until its first call that comes to us: it would have to copy some
//! twenty pages to forget it, and most children make no such call. Until then it holds the registry that its parent held
//! for the fork, and every call of ours finds out first that this is another process (`lineage`). Of several threads one
//! forgets the parent, and the others wait until it has. To become another program needs none of it.
//!
//! Other libraries' `pthread_atfork` handlers do I/O too. Ours are registered before all of them, when the first of them
//! is: so they run last before a fork, next to it, and first after it, in the parent as in the child. (One that gets
//! there first all the same finds the registry held by its own thread, and in the child becomes the child there.)

use core::sync::atomic::{AtomicUsize, Ordering::*};

use kernel::errors;
use kernel::high;
use kernel::text::Text;
use lock_table::Table;
use policy::Policy;

use crate::calls::{registering, unseen};
use crate::hold::view::look_again_in_child;
use crate::life::needs::{self, Join};
use crate::life::state::state;
use crate::requests;
use crate::tell::events::{self, Event};
use crate::tell::{later, stderr, told, trace};
use crate::what::descriptions::unpin_in;
use crate::what::{changes, descriptions, entries, files, hands, kept, own, places, words};
use crate::who::process::{self, active, table};
use crate::who::registry::Registry;
use crate::who::thread::Thread;
use crate::who::{buffers, forking, lineage, registry, scratch, thread};

/// A task is about to be made that uses this memory, and not this process's descriptors. Whether it is not to be made.
pub fn cloning(flags: i32) -> bool {
    if flags & libc::CLONE_THREAD != 0 {
        return false;
    }
    sharing();
    let lasts = flags & libc::CLONE_VM != 0 && flags & libc::CLONE_VFORK == 0;
    if !lasts || active().is_none() || lineage::is_shared_memory() {
        return false;
    }
    let refused = process::refuses_uncovered();
    let event = Event::of(None, &errors::SHARED_MEMORY);
    let done = if refused { "EPERM" } else { event.done };
    events::emit(&Event { done, ..event });
    if !refused {
        lineage::share_memory();
    }
    refused
}

/// When the first handler of anybody is registered, or in the constructor.
pub fn watch() {
    if state().forks_watched.swap(true, AcqRel) {
        return;
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
    told::share();
    descriptions::all_shared();
    scratch::look_for_handlers();
    let registry = registry::lock();
    registry::hold_for_fork(&registry);
    lineage::watch();
    forking::child_may_wait().store(may_wait(), Release);
    // SAFETY: we hold the registry lock: no other fork is between prepare and parent.
    unsafe { forking::keep(registry) };
}

/// Whether a child that is forked now may stay what it is until its first call.
fn may_wait() -> bool {
    let thread = thread::current();
    lineage::is_watched()
        && lineage::is_same_process() // else others use this memory
        && !thread.is_in_call()
        && thread.bounce.get() == 0
        // A call on one looks for it before it asks who it is: the child's own, or the parent's, which it shares.
        && !requests::any()
        && !must_join()
}

fn take_stash() -> Option<Registry> {
    // SAFETY: as above; in the child there is no other thread.
    unsafe { forking::take() }
}

extern "C" fn after_fork_in_parent() {
    if registry::is_forking_here() {
        // What was opened since is the child's too.
        descriptions::all_shared();
        registry::end_of_fork();
        drop(take_stash());
    }
}

extern "C" fn after_fork_in_child() {
    if forking::child_may_wait().load(Acquire) && registry::is_forking_here() {
        return wait_for_a_call();
    }
    if let Some(registry) = take_stash() {
        become_child(registry);
    }
}

/// What `becoming` says: nothing; the child has made no call yet; or whose thread makes it a process of its own, the
/// address of its record.
const NOBODY: usize = 0;
const WAITS: usize = 1;

fn wait_for_a_call() {
    // SAFETY: as above.
    if let Some(registry) = unsafe { forking::kept() } {
        registry.let_handlers_come();
        forking::becoming().store(WAITS, Release);
    }
}

/// Whether this is a forked child that has made no call yet that comes to us.
pub fn has_made_no_call() -> bool {
    forking::becoming().load(Acquire) == WAITS
}

/// Such a child's first call; or one that comes while another thread makes its own.
fn first_call(becoming: &AtomicUsize) {
    let own = this_thread();
    let mut rounds = 0;
    match becoming.compare_exchange(WAITS, own, AcqRel, Acquire) {
        Ok(_) => {
            if let Some(registry) = take_stash() {
                registry::hold_for_fork(&registry);
                become_child(registry);
            }
        }
        // In the middle of it.
        Err(now) if now == own => {}
        Err(_) => {
            while becoming.load(Acquire) != NOBODY {
                match rounds {
                    100.. => kernel::sleep_ms(1),
                    _ => kernel::yield_now(),
                }
                rounds += 1;
            }
        }
    }
}

fn this_thread() -> usize {
    &raw const *thread::current() as usize
}

/// Without a trip through `pthread_atfork` (a raw clone): only if nobody was in the registry. Or at the first call of a child
/// that waited for one. Of several threads one does what is to be done.
#[cold]
pub fn behind_our_back() {
    // Not counted: what is counted here is the parent's.
    let signals = kernel::block_signals();
    let becoming = forking::becoming();
    match becoming.compare_exchange(NOBODY, this_thread(), AcqRel, Acquire) {
        Err(_) => first_call(becoming),
        Ok(_) => {
            // Else another one has done it since this one asked.
            if !lineage::is_same_process() {
                forked_past_us();
            }
            becoming.store(NOBODY, Release);
        }
    }
    kernel::restore_signals(signals);
}

fn forked_past_us() {
    if registry::is_forking_here()
        && let Some(registry) = take_stash()
    {
        // Another library's handler came before ours.
        return become_child(registry);
    }
    if registry::is_held() {
        process::stop_fencing();
        events::emit(&Event::uncovered(
            None,
            "forked past libc while a file was being opened: this child is not fenced",
        ));
        return;
    }
    become_child(registry::lock());
}

/// What every child is, whether its parent is in the table or not.
pub fn become_process() {
    descriptions::all_shared();
    process::become_another();
    let thread = thread::current();
    thread.after_vfork.set(0);
    thread.forget_parent();
    high::forget_makers_in_child();
    requests::forget_in_child();
    scratch::reset_in_child();
    buffers::reset_in_child(thread.bounce.get() != 0);
    stderr::forget_telling_in_child();
    later::forget_in_child();
    trace::is_inherited();
}

fn become_child(registry: Registry) {
    // What is done here may ask who this is.
    forking::becoming().store(this_thread(), Release);
    let in_call = thread::current().is_in_call();
    become_process();
    changes::recount_in_child();
    let joined = match table() {
        Some(table) => leave_parent(table, in_call, &registry),
        None => false,
    };
    registry::reset_in_child(registry);
    unseen::reset_in_child();
    if joined {
        registering::reregister_in_child();
    }
    lineage::this_is_the_process();
    forking::becoming().store(NOBODY, Release);
}

/// What the parent holds of the table isn't the child's. Whether the child has joined already, as who can't wait for the
/// first use does (P14): the stores to a mapping need no call, a call of the parent's thread goes on here if a handler
/// forked, and who may not open files without a table is told at once that it has none.
fn leave_parent(table: &Table, in_call: bool, registry: &Registry) -> bool {
    table.forget_parent();
    kept::close_kept_in_child();
    hands::forget_hands_in_child();
    places::recount_in_child(registry);
    files::forget_parent_in_child();
    words::are_inherited();
    (in_call || must_join()) && process::joins(registry)
}

fn must_join() -> bool {
    entries::all().next().is_some()
        || needs::how_to_join() != Join::ByOpening
        || process::policy().is_some_and(Policy::may_refuse)
}

/// The child in the table, with the files that it has from its parent. Whether it could be. (See `join`.)
pub fn enter(table: &Table, registry: &Registry) -> bool {
    let was = table.probe_fd();
    let entered = match needs::how_to_join() {
        Join::ByOpening => table.reattach_in_child(),
        Join::ByProbe => table.reattach_through_probe(),
        Join::Not => {
            // Said when the filter came: see `needs`.
            hands::close_all_in_child();
            process::stop_fencing();
            return false;
        }
    };
    claim_probe(was, table.probe_fd(), registry);
    if let Err(error) = entered {
        // What it has open already it goes on using, past the fence. Nobody hides our numbers from it any more.
        hands::close_all_in_child();
        let done = process::without_table("passed through");
        let reason = Text::<400>::of(format_args!("a forked child can't join: {error}"));
        events::emit(&Event {
            done,
            ..Event::uncovered(None, reason.as_str())
        });
        return false;
    }
    process::ask_for_membarrier();
    files::register_in_child();
    look_again_in_child(registry);
    words::are_used();
    true
}

/// The lock table's probe was at this number in the parent, and may be at another here.
fn claim_probe(was: i32, now: i32, registry: &Registry) {
    if now != was {
        own::disown(was);
        let stale = own::claim_in(registry, now);
        stale
            .into_iter()
            .for_each(|index| unpin_in(index, registry));
    }
}

/// A call that makes a process, which gets this one's limits: none of them is raised meanwhile.
pub fn making<R>(real: impl FnOnce() -> R) -> R {
    if has_made_no_call() || active().is_none() {
        return real();
    }
    high::process_is_made();
    let result = real();
    high::process_was_made();
    result
}

/// This thread is about to make a child that has our memory. If it `waits` for that, until its next call of ours.
pub fn lending(thread: &Thread, waits: bool) {
    lineage::lend(&thread.after_vfork, waits && active().is_some());
}

/// A child that shares our open file descriptions is being started (vfork, posix_spawn, `SCM_RIGHTS`).
pub fn sharing() {
    if active().is_some() {
        descriptions::all_shared();
    }
}
