//! What is known everywhere of this process, and how it stands to the fence.

use core::sync::atomic::Ordering::*;

pub use kernel::known::pid;
use lock_table::Table;
use policy::Policy;

use crate::who::registry::{self, Registry};
use crate::who::state::{Orders, state};
use crate::who::thread::Thread;
use crate::who::{lineage, scratch, thread};

/// Nothing is known yet, or the process is not fenced: every call passes through.
const PASSING: u32 = 0;
const FENCED: u32 = 1;
/// There is no table, and the policy says that files are not to be opened then.
const REFUSING: u32 = 2;

/// Asked for once: in the constructor where the policy speaks of programs, else when the process joins.
pub fn know_program() {
    if state().program.get().is_none() {
        let mut room = [0; kernel::NAME];
        let name = kernel::executable(&mut room).to_vec();
        let _ = state().program.set(Box::new(name));
    }
}

/// In the constructor of a process that makes calls for another program: that one's name.
pub fn stand_for(program: &[u8]) {
    let _ = state().program.set(Box::new(program.to_vec()));
}

/// In the constructor.
pub fn know_policy(policy: Policy) {
    state().other_ways.store(policy.has_other_ways(), Relaxed);
    state().records.store(policy.records_calls(), Relaxed);
    let _ = state().policy.set(Box::new(policy));
}

/// Whether requests of any file go another way than they ask for: asked before each of them is looked at.
#[inline(always)]
pub fn has_other_ways() -> bool {
    state().other_ways.load(Relaxed)
}

/// Whether all calls on some file are to be recorded, if there is a trace.
#[inline(always)]
pub fn may_record() -> bool {
    state().records.load(Relaxed)
}

/// It is in the table.
pub fn has_joined(table: Table) {
    ask_for_membarrier();
    let _ = state().table.set(Box::new(table));
}

/// Whether it is in the table. Until the first file that is fenced it isn't.
#[inline]
pub fn is_joined() -> bool {
    table().is_some_and(Table::is_registered)
}

/// Before anything is done with a file that is fenced: in the table, from now on if need be. False: it can't be, which has
/// been told, and from now on calls pass through.
pub fn joins(registry: &Registry) -> bool {
    is_joined() || fences() && join_by_order(registry)
}

#[cold]
fn join_by_order(registry: &Registry) -> bool {
    let join = state().joins.load(Acquire);
    // SAFETY: not null, and only `who_joins` stores here: the address of such a function.
    join != 0 && unsafe { core::mem::transmute::<usize, fn(&Registry) -> bool>(join)(registry) }
}

/// In the constructor.
pub fn who_joins(join: fn(&Registry) -> bool) {
    state().joins.store(join as usize, Release);
}

/// The same without the registry.
pub fn enters_table() -> bool {
    is_joined() || (active().is_some() && joins(&registry::lock()))
}

/// Calls are fenced from now on.
pub fn start_fencing() {
    state().standing.store(FENCED, Release);
}

pub fn table() -> Option<&'static Table> {
    state().table.get()
}

pub fn policy() -> Option<&'static Policy> {
    state().policy.get()
}

/// Whether what can't be covered, and belongs to no file, is to fail.
pub fn refuses_uncovered() -> bool {
    policy().is_some_and(|policy| policy.defaults().refuses_uncovered())
}

/// The file name of the executable. Known where it matters, and from when the process is in the table.
pub fn program() -> &'static [u8] {
    state().program.get().map_or(&[], Vec::as_slice)
}

/// The same, also before it is known.
pub fn program_in(room: &mut [u8; kernel::NAME]) -> &[u8] {
    match state().program.get() {
        Some(known) => known,
        None => kernel::executable(room),
    }
}

pub fn reached_by_membarrier() -> bool {
    state().membarrier.load(Relaxed)
}

pub fn give_orders(orders: Orders) {
    let _ = state().orders.set(Box::new(orders));
}

/// The calling thread's record, if this process is fenced and this is not a vfork child.
#[inline]
pub fn active() -> Option<&'static Thread> {
    (state().standing.load(Relaxed) == FENCED).then(own_thread)?
}

#[inline]
fn own_thread() -> Option<&'static Thread> {
    let thread = thread::current();
    if thread.after_vfork.get() != 0 && is_vfork_child(thread) {
        return None;
    }
    if !lineage::is_same_process() {
        if lineage::is_shared_memory() {
            return (kernel::getpid() == pid()).then_some(thread);
        }
        if let Some(orders) = state().orders.get() {
            (orders.forked)();
        }
        return (state().standing.load(Relaxed) == FENCED).then_some(thread);
    }
    Some(thread)
}

/// The flag is set in the parent as well, which shares its memory with the child: the parent's next
/// call takes it away.
#[cold]
fn is_vfork_child(thread: &Thread) -> bool {
    if kernel::getpid() != pid() {
        return true;
    }
    lineage::lent(&thread.after_vfork);
    scratch::child_is_gone(thread);
    if let Some(orders) = state().orders.get() {
        (orders.child_is_gone)();
    }
    false
}

/// How this process and the caller stand to the fence.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Passing,
    Fenced,
    Refusing,
    /// It uses the memory of a process that is fenced, and is another.
    VforkChild,
}

pub fn standing() -> Standing {
    match state().standing.load(Relaxed) {
        FENCED if active().is_some() => Standing::Fenced,
        FENCED => Standing::VforkChild,
        REFUSING => Standing::Refusing,
        _ => Standing::Passing,
    }
}

/// Whether the clock can be read without a system call.
pub fn has_vdso() -> bool {
    // SAFETY: a plain call.
    unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) != 0 }
}

/// In a forked child.
pub fn become_another() {
    kernel::known::set_pid(kernel::getpid());
    thread::next_generation();
}

/// When it comes into the table.
pub fn ask_for_membarrier() {
    let reached = kernel::membarrier_register();
    state().membarrier.store(reached, Relaxed);
}

/// From now on every call passes through: that has been told.
pub fn stop_fencing() {
    state().standing.store(PASSING, Release);
    lineage::next_epoch();
}

/// Whether descriptors are followed: not in a vfork child, whose numbers are not the parent's.
#[inline]
pub fn follows_numbers() -> bool {
    match state().standing.load(Relaxed) {
        FENCED => active().is_some(),
        standing => standing == REFUSING,
    }
}

/// The same, or files that would be fenced are not opened any more: as the policy says. What was done, for the report.
pub fn without_table(passing: &'static str) -> &'static str {
    if policy().is_some_and(Policy::may_refuse) {
        state().standing.store(REFUSING, Release);
        lineage::next_epoch();
        "files that may not be used so are not opened"
    } else {
        stop_fencing();
        passing
    }
}

/// Whether calls are fenced, whoever asks.
pub fn fences() -> bool {
    state().standing.load(Relaxed) == FENCED
}

pub fn refuses() -> bool {
    state().standing.load(Relaxed) == REFUSING
}
