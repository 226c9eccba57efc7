//! System calls that the program, or a library of its, makes by instructions of its own: with `coverage = "syscalls"` they
//! come to the same hooks as those of `syscall`.
//!
//! They are found in the code of all that is loaded, at the start and when the loader maps more. Whether a call matters is
//! looked up in a list of bytes by the stub, which for all others is as if it weren't there. What makes processes and
//! threads is never made here, but at the site, on the program's stack: what must be done before is done.

use super::code::system_calls;
use super::flow::long_jumps;
use super::image::Image;
use super::patch::{self, Done};
use super::plan::{self, Found, Plan};
use super::stub::{Registers, Site};
use crate::doors::children;
use crate::doors::syscall::{self, has_meaning};
use core::ffi::{c_int, c_long};
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};
use protocol::what::raw;
use protocol::who::thread;

/// By the low half of a call's number: whether it is asked for. Read by the stubs.
pub static WANTED: [AtomicU8; 1 << 16] = [const { AtomicU8::new(0) }; 1 << 16];

/// What the door has put away of the thread's own stack, and puts back.
#[repr(C)]
pub struct Saved {
    shift: usize,
    used: usize,
}

/// The program is about to make a system call. Whether it has been made.
pub unsafe extern "C" fn asked(
    registers: &mut Registers,
    _: &Site,
    stack: *const u8,
    saved: &mut Saved,
) -> usize {
    let thread = thread::current();
    saved.used = thread.own_stack.really_used(stack as usize, saved.used);
    thread.want_destructor();
    // The kernel looks at this much of it.
    let number = c_long::from(registers.rax as u32);
    if let Some(flags) = makes_process(number, &registers.arguments()) {
        if may_make_child(number, flags) {
            return 0;
        }
        registers.rax = (libc::EPERM as usize).wrapping_neg();
        return 1;
    }
    if takes_thread_register(number, &registers.arguments()) {
        no_longer();
        return 0;
    }
    if !has_meaning(number) {
        return 0;
    }
    // SAFETY: what the program was about to ask of the kernel.
    unsafe { registers.by_the_hook(number) };
    1
}

/// The flags of a call that makes a process or a thread.
fn makes_process(number: c_long, arguments: &[usize; 6]) -> Option<c_int> {
    let first = arguments.first().copied().unwrap_or(0);
    match number {
        libc::SYS_fork => Some(0),
        libc::SYS_vfork => Some(libc::CLONE_VM | libc::CLONE_VFORK),
        libc::SYS_clone => Some(first as c_int),
        libc::SYS_clone3 => Some(children::flags_of(first as *const u64)),
        _ => None,
    }
}

/// Whether libc's own data of the thread, and ours, are not found from then on.
fn takes_thread_register(number: c_long, arguments: &[usize; 6]) -> bool {
    const SET_FS: usize = 0x1002;
    number == libc::SYS_arch_prctl && arguments.first() == Some(&SET_FS)
}

/// Threads are no longer those that libc, and so the library, knows.
fn no_longer() {
    let errno = kernel::errno();
    WANTED.iter().for_each(|wanted| wanted.store(0, Relaxed));
    raw::threads_unknown();
    kernel::set_errno(errno);
}

/// What must be done before there is one; false: the policy refuses it.
fn may_make_child(number: c_long, flags: c_int) -> bool {
    let errno = kernel::errno();
    // It may have this thread's record for its own.
    if flags & libc::CLONE_VM != 0 && flags & libc::CLONE_VFORK == 0 {
        no_longer();
    }
    let may = match number {
        libc::SYS_fork => {
            protocol::life::fork::sharing();
            true
        }
        _ => children::before_clone(flags) != children::refused_clone as *const () as usize,
    };
    kernel::set_errno(errno);
    may
}

/// In the constructor: in all that is loaded, if the policy asks for it, and then in what will be.
pub fn at_start() -> bool {
    if !raw::wanted() {
        return false;
    }
    let each = WANTED.iter().enumerate();
    for (number, wanted) in each.take(syscall::MOST) {
        let number = number as c_long;
        let counts = has_meaning(number)
            || makes_process(number, &[0; 6]).is_some()
            || number == libc::SYS_arch_prctl;
        wanted.store(u8::from(counts), Relaxed);
    }
    true
}

fn wants(number: u32) -> bool {
    let low = WANTED.get(number as usize);
    low.is_some_and(|wanted| wanted.load(Relaxed) != 0)
}

/// So many at a time.
const BATCH: usize = 64;

/// `quiet`: nobody runs its code meanwhile.
pub fn look_at(image: &Image, quiet: bool) {
    let mut left = 0;
    let mut batch = [None; BATCH];
    let mut full = 0;
    for (start, bytes) in image.code() {
        for at in system_calls(bytes) {
            match plan::of(image, start + at, wants, quiet) {
                Found::Nothing => {}
                Found::Unproven => left += 1,
                Found::Plan(plan) => {
                    if let Some(place) = batch.get_mut(full) {
                        *place = Some(plan);
                        full += 1;
                    }
                    if full == BATCH {
                        left += replace(image, &mut batch, quiet);
                        full = 0;
                    }
                }
            }
        }
    }
    left += replace(image, &mut batch, quiet);
    if left != 0 {
        raw::left_alone(image.name(), left);
    }
}

/// How many are left alone.
fn replace(image: &Image, batch: &mut [Option<Plan>; BATCH], quiet: bool) -> usize {
    let mut left = 0;
    if batch.iter().flatten().any(|plan| !plan.keeps()) {
        long_jumps(image, |target| {
            let hit = |plan: &Plan| !plan.keeps() && target > plan.start && target < plan.end;
            for place in batch
                .iter_mut()
                .filter(|place| place.as_ref().is_some_and(hit))
            {
                *place = None;
                left += 1;
            }
        });
    }
    for plan in batch.iter_mut().filter_map(Option::take) {
        if patch::planned(image, &plan, quiet) == Done::LeftAlone {
            left += 1;
        }
    }
    left
}
