//! The gate in front of every call of ours, once there is a filter: the copies of the program's filters, what they say,
//! and what was said of those that came with the process.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering::*};

use kernel::{Clock, known, supervised};

use crate::life::filter::{self, ARCHITECTURE, Answer, Call, Instruction};
use crate::life::state::{Filter, state};

/// In the constructor: the library's first system call. `ours_alone`: a filter that came with the process is ours, which
/// leaves our calls alone. False: a supervisor makes this process's file calls, and no call of ours is made any more.
pub fn init(ours_alone: bool) -> bool {
    let mode = supervised::mode();
    if mode == supervised::ANSWERED {
        refuse_all();
        return false;
    }
    if mode > 0 && !ours_alone {
        known::filters_came_first();
        kernel::set_gate(may);
    }
    set_clock(is_refused(libc::SYS_clock_gettime as usize));
    true
}

/// Times come from the vDSO, and, where the kernel may not be asked, only such as it gives without.
pub fn set_clock(refused: bool) {
    kernel::set_clock(if refused { Clock::Coarse } else { Clock::Vdso });
    // The vDSO is looked for at the first time: now, while that may be done.
    let _ = kernel::now_ns();
}

/// From now on no call of ours is made.
pub fn refuse_all() {
    state().no_calls.store(true, Release);
    kernel::set_clock(Clock::Coarse);
    kernel::set_gate(may);
}

/// The gate: whether a call of ours may be made.
pub fn may(number: usize, arguments: &[usize; 6]) -> bool {
    if state().no_calls.load(Relaxed) {
        // But another thread that is in the middle of a call gets its signals back.
        let restores = arguments.first() == Some(&(libc::SIG_SETMASK as usize));
        return restores && number == libc::SYS_rt_sigprocmask as usize;
    }
    // Service managers' and containers' usual lists leave it out, and we have a substitute.
    let copies = [libc::SYS_process_vm_readv, libc::SYS_process_vm_writev].map(|n| n as usize);
    let left_out = copies.contains(&number) || is_refused(number);
    if known::is_filtered() && left_out {
        return false;
    }
    let always = state()
        .always
        .get(number / 64)
        .is_some_and(|bits| bits.load(Relaxed) & 1 << (number % 64) != 0);
    always || answer(&state().in_force, number, arguments).allows()
}

/// Whether a call of ours may be made when the filter that is coming is in force.
pub fn will_allow(number: usize, arguments: &[usize; 6]) -> bool {
    !state().no_calls.load(Relaxed) && answer(&state().filters, number, arguments).allows()
}

/// Whether such a call would at worst fail: in a program that is started, which knows of no gate.
pub fn will_not_kill(number: usize, arguments: &[usize; 6]) -> bool {
    let answer = answer(&state().filters, number, arguments);
    !state().no_calls.load(Relaxed) && (answer.allows() || answer.is_error())
}

/// What all filters together say of a call of ours.
fn answer(newest: &AtomicPtr<Filter>, number: usize, arguments: &[usize; 6]) -> Answer {
    let call = Call {
        number: number as u32,
        architecture: ARCHITECTURE,
        from: kernel::syscall6 as *const () as u64,
        arguments: arguments.map(|a| a as u64),
    };
    let mut strictest = filter::ALLOWED;
    let mut at = newest.load(Acquire);
    // SAFETY: null, or a filter that is never unmapped once it has been in the list.
    while let Some(f) = unsafe { at.as_ref() } {
        strictest = strictest.stricter(filter::ask(f.instructions(), &call));
        at = f.next.load(Acquire);
    }
    strictest
}

impl Filter {
    fn instructions(&self) -> &[Instruction] {
        // SAFETY: `copy` has filled so many instructions behind the head, in a mapping that stays.
        unsafe { core::slice::from_raw_parts((&raw const *self).add(1).cast(), self.length) }
    }

    /// A copy of the program's. None: the kernel won't take it either.
    pub fn copy(program: *const Program) -> Option<Copied> {
        const MOST: usize = 4096;
        let mut given = [Program::default()];
        kernel::copy_from_program(program, &mut given).ok()?;
        let given = given.first()?;
        let length = usize::from(given.length);
        if length == 0 || length > MOST {
            return None;
        }
        let bytes = size_of::<Filter>() + length * size_of::<Instruction>();
        let Some(at) = kernel::map_anonymous(bytes) else {
            return Some(Copied::Unknown);
        };
        let at = at.cast::<Filter>();
        // SAFETY: a fresh mapping of ours with room for the head and the instructions, which all-zero bytes are.
        let (head, instructions) = unsafe {
            at.write(Filter {
                next: AtomicPtr::new(null_mut()),
                length,
            });
            (
                &*at,
                core::slice::from_raw_parts_mut(at.add(1).cast::<Instruction>(), length),
            )
        };
        let copied = kernel::copy_from_program(given.instructions, instructions);
        if copied.is_err() || !filter::is_sound(instructions) {
            kernel::unmap(at.cast(), bytes);
            return None;
        }
        Some(Copied::Filter(head))
    }
}

pub enum Copied {
    Filter(&'static Filter),
    /// There is no room for it: it may refuse anything.
    Unknown,
}

/// The kernel's `struct sock_fprog`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Program {
    length: u16,
    instructions: *const Instruction,
}

impl Default for Program {
    fn default() -> Program {
        Program {
            length: 0,
            instructions: core::ptr::null(),
        }
    }
}

pub fn add(filter: &'static Filter) {
    let mut newest = state().filters.load(Acquire);
    loop {
        filter.next.store(newest, Release);
        let it = (&raw const *filter).cast_mut();
        match state()
            .filters
            .compare_exchange(newest, it, AcqRel, Acquire)
        {
            Ok(_) => break,
            Err(now) => newest = now,
        }
    }
}

/// From now on the gate asks all filters there are.
pub fn bring_into_force() {
    let newest = state().filters.load(Acquire);
    state().in_force.store(newest, Release);
    let mut at = newest;
    let mut all = [u64::MAX; 8];
    // SAFETY: as in `answer`.
    while let Some(f) = unsafe { at.as_ref() } {
        for (word, bits) in all.iter_mut().enumerate() {
            for bit in 0..64 {
                let call = Call {
                    number: word as u32 * 64 + bit,
                    architecture: ARCHITECTURE,
                    from: 0,
                    arguments: [0; 6],
                };
                let answer = filter::ask(f.instructions(), &call);
                if answer.depends || !answer.allows() {
                    *bits &= !(1 << bit);
                }
            }
        }
        at = f.next.load(Acquire);
    }
    for (cell, bits) in state().always.iter().zip(all) {
        cell.store(bits, Release);
    }
}

/// The filter that was refused by the kernel after all. One that came in between stays below it, and so does this one:
/// it then forbids us more than it needs to.
pub fn take_back(filter: &'static Filter) {
    let it = (&raw const *filter).cast_mut();
    if state()
        .filters
        .compare_exchange(it, filter.next.load(Acquire), AcqRel, Acquire)
        .is_ok()
    {
        bring_into_force();
    }
}

/// What was handed on to this program. False: not to start at all.
pub fn take(word: &str) -> bool {
    for number in word.split(',') {
        let Ok(number) = number.parse::<usize>() else {
            return false;
        };
        if let Some(bits) = state().refused.get(number / 64) {
            bits.fetch_or(1 << (number % 64), AcqRel);
        }
    }
    true
}

pub fn is_refused(number: usize) -> bool {
    state()
        .refused
        .get(number / 64)
        .is_some_and(|bits| bits.load(Relaxed) & 1 << (number % 64) != 0)
}

/// The strict mode that was refused by the kernel after all.
pub fn allow_again() {
    state().no_calls.store(false, Release);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_and_anything_else_means_all() {
        assert!(take("277,332"));
        assert!(is_refused(277) && is_refused(332) && !is_refused(278));
        assert!(!take("all") && !take("") && !take("1,x"));
        assert!(take("99999999") && !is_refused(99_999_999));
        for cell in &state().refused {
            cell.store(0, Relaxed);
        }
    }
}
