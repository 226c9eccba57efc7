//! Room for what needs more stack than the caller may have: a handler on an alternate stack, a thread with
//! the smallest stack, a coroutine. A hook leaves most of a small stack to the program (3 KiB are its own);
//! what needs more (telling, finding out about a file, the registry's changes) runs as a job on a stack of ours.
//!
//! No handler comes while a job runs (see `handlers`), so nothing comes in between and nothing jumps or is cancelled out
//! of it: what it takes it gives back. A job may keep large buffers on its stack, up to [`ROOM`] in all, and
//! may call [`roomy`] again. It may not wait for a range, nor make the program's own call, nor fork.
//!
//! The stacks are mapped at first need and kept. When all are taken, one is mapped for the one job.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::Ordering::*;

use crate::who::handlers;
use crate::who::registry::Registry;
use crate::who::state::{Stack, state};
use crate::who::thread;
use crate::who::thread::{SCRATCH_ROOM as ROOM, Thread};

/// Below each stack lies as much that can't be touched: a multiple of every page size.
const GUARD: usize = 64 * 1024;

/// Runs the job where there is room, where no handler comes. Where no memory can be had for that, here.
#[inline]
pub fn roomy<R>(job: impl FnOnce() -> R) -> R {
    let handlers = handlers::keep_away();
    let result = run(job, true);
    handlers::let_come(handlers);
    surely(result)
}

/// The same, for work that can be left undone where there is no room.
#[inline]
pub fn roomy_or_not_at_all<R>(job: impl FnOnce() -> R) -> Option<R> {
    let handlers = handlers::keep_away();
    let result = run(job, false);
    handlers::let_come(handlers);
    result
}

/// The same as [`roomy`] under the registry lock, for which handlers are kept away already.
#[inline]
pub fn roomy_in<R>(_: &Registry, job: impl FnOnce() -> R) -> R {
    surely(run(job, true))
}

/// The same where something else keeps them blocked.
#[inline]
pub fn roomy_within<R>(_: &kernel::Quiet, job: impl FnOnce() -> R) -> R {
    surely(run(job, true))
}

/// Where the stack isn't deep, in calls that keep handlers away: whether they still must (see `handlers`).
#[inline]
pub fn look_for_handlers() {
    if handlers::is_look_due() {
        roomy(handlers::look);
    }
}

#[inline]
fn surely<R>(result: Option<R>) -> R {
    // `run` has done the job, here or there.
    result.unwrap_or_else(|| std::process::abort())
}

/// When the table is joined: the first stack is there whatever the program forbids itself later.
pub fn init() {
    // In a job that is the one.
    if !thread::current().is_on_scratch()
        && let Some(taken) = take()
    {
        give(taken);
    }
}

/// In a forked child, whose one thread runs no job: its parent's other threads had them.
pub fn reset_in_child() {
    for stack in &state().stacks {
        stack.taken.store(false, Release);
    }
}

/// A child that had this thread's memory is gone: if it was killed in a job, that is over.
pub fn child_is_gone(thread: &Thread) {
    let at = thread.scratch();
    if at == 0 || thread.is_on_scratch() {
        return;
    }
    thread.leave_scratch(0);
    let kept = state().stacks.iter();
    for stack in kept.filter(|stack| stack.at.load(Acquire) as usize == at) {
        stack.taken.store(false, Release);
    }
}

/// A job, and then what came of it: on the caller's stack, and reached from both.
struct Job<F, R> {
    work: Option<F>,
    result: Option<R>,
}

/// Does the job, or not if there is no room and it is not to be done here.
#[inline]
fn run<R, F: FnOnce() -> R>(work: F, or_here: bool) -> Option<R> {
    let mut job = Job {
        work: Some(work),
        result: None,
    };
    let of = (&raw mut job).cast::<c_void>();
    // SAFETY: `perform` gets the job whose types it was made for, which outlives the call.
    unsafe { carry_out(perform::<R, F>, of, or_here) };
    job.result
}

/// Never a part of its caller, whose frame would have room for all that the job needs.
#[inline(never)]
unsafe extern "C" fn perform<R, F: FnOnce() -> R>(job: *mut c_void) {
    // SAFETY: see `run`.
    let job = unsafe { &mut *job.cast::<Job<F, R>>() };
    if let Some(work) = job.work.take() {
        job.result = Some(work());
    }
}

type Work = unsafe extern "C" fn(*mut c_void);

/// # Safety
/// `work` may be called with `of`.
#[inline(never)]
unsafe fn carry_out(work: Work, of: *mut c_void, or_here: bool) {
    let thread = thread::current();
    let taken = match thread.is_on_scratch() {
        true => None,
        false => take(),
    };
    match taken {
        Some(taken) => {
            let before = thread.enter_scratch(taken.at as usize);
            // SAFETY: the top of a stack that is ours alone, aligned; the rest as the caller promises.
            unsafe { call_on(taken.at.wrapping_add(ROOM), work, of) };
            thread.leave_scratch(before);
            give(taken);
        }
        // SAFETY: as the caller promises.
        None if or_here || thread.is_on_scratch() => unsafe { work(of) },
        None => {}
    }
}

struct Taken {
    at: *mut u8,
    /// Its place among those that are kept.
    of: Option<&'static Stack>,
}

fn take() -> Option<Taken> {
    for stack in &state().stacks {
        if stack.taken.load(Relaxed) || stack.taken.swap(true, Acquire) {
            continue;
        }
        let mut at = stack.at.load(Acquire);
        if at.is_null() {
            at = map().unwrap_or(null_mut());
            stack.at.store(at, Release);
        }
        if at.is_null() {
            stack.taken.store(false, Release);
            return None;
        }
        let of = Some(stack);
        return Some(Taken { at, of });
    }
    map().map(|at| Taken { at, of: None })
}

fn give(taken: Taken) {
    match taken.of {
        Some(stack) => stack.taken.store(false, Release),
        None => kernel::unmap(taken.at.wrapping_sub(GUARD), GUARD + ROOM),
    }
}

fn map() -> Option<*mut u8> {
    let at = kernel::map_anonymous(GUARD + ROOM)?;
    kernel::forbid(at, GUARD);
    Some(at.wrapping_add(GUARD))
}

/// Calls `work(of)` on the stack that ends at `top`.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
unsafe extern "C" fn call_on(top: *mut u8, work: Work, of: *mut c_void) {
    core::arch::naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "mov rsp, rdi",
        "mov rdi, rdx",
        "call rsi",
        "mov rsp, rbp",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
    );
}

/// Calls `work(of)` on the stack that ends at `top`.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
unsafe extern "C" fn call_on(top: *mut u8, work: Work, of: *mut c_void) {
    core::arch::naked_asm!(
        ".cfi_startproc",
        "stp x29, x30, [sp, #-16]!",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset x29, -16",
        ".cfi_offset x30, -8",
        "mov x29, sp",
        ".cfi_def_cfa_register x29",
        "mov sp, x0",
        "mov x0, x2",
        "blr x1",
        "mov sp, x29",
        "ldp x29, x30, [sp], #16",
        ".cfi_def_cfa sp, 0",
        "ret",
        ".cfi_endproc",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::who::state::STACKS as KEPT;

    fn here() -> usize {
        let here = 0u8;
        core::hint::black_box(&raw const here) as usize
    }

    #[test]
    fn a_job_runs_elsewhere_and_once() {
        let outside = here();
        let mut runs = 0;
        let (inside, deeper, on_it) = roomy(|| {
            runs += 1;
            let on_it = thread::current().is_on_scratch();
            (here(), roomy(here), on_it)
        });
        assert_eq!(runs, 1);
        assert!(on_it && !thread::current().is_on_scratch());
        assert!(inside.abs_diff(outside) > ROOM, "the caller's stack");
        assert!(
            inside.abs_diff(deeper) < 4096,
            "a job in a job stays where it is"
        );
    }

    #[test]
    fn a_child_that_was_killed_in_a_job_leaves_nothing() {
        let thread = thread::current();
        let taken = take().unwrap();
        let (at, stack) = (taken.at as usize, taken.of.unwrap());
        thread.enter_scratch(at);
        child_is_gone(thread);
        assert!(thread.scratch() == 0 && !stack.taken.load(Acquire));
        // In the middle of a job of its own it is nobody else's.
        roomy(|| {
            child_is_gone(thread::current());
            assert!(thread::current().is_on_scratch());
        });
    }

    #[test]
    fn there_is_room_for_large_buffers_on_a_small_stack() {
        let small = std::thread::Builder::new().stack_size(32 * 1024);
        let sum = small.spawn(|| {
            roomy(|| {
                let large = core::hint::black_box([1u8; ROOM - 8192]);
                large.iter().map(|b| usize::from(*b)).sum::<usize>()
            })
        });
        assert_eq!(sum.unwrap().join().unwrap(), ROOM - 8192);
    }

    #[test]
    fn more_jobs_than_stacks_at_once() {
        let all = std::sync::Barrier::new(2 * KEPT);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..2 * KEPT)
                .map(|_| scope.spawn(|| roomy(|| (all.wait(), here()).1 / ROOM)))
                .collect();
            let mut places: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
            places.sort_unstable();
            places.dedup();
            assert_eq!(places.len(), 2 * KEPT, "no two had one stack");
        });
    }

    #[test]
    fn signals_are_blocked_in_a_job_and_open_after_it() {
        let blocked = || {
            // SAFETY: asks only; an all-zero set is a value.
            unsafe {
                let mut set: libc::sigset_t = core::mem::zeroed();
                libc::pthread_sigmask(libc::SIG_BLOCK, core::ptr::null(), &mut set);
                libc::sigismember(&set, libc::SIGUSR1) == 1
            }
        };
        assert!(!blocked());
        assert!(roomy(blocked));
        assert!(!blocked());
    }
}
