//! The gate in front of every call of ours, once there is a filter: the copies of the program's filters, what they say,
//! and what was said of those that came with the process.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering::*};

use kernel as raw;
use kernel::{Clock, known};

use crate::life::filter::{self, ARCHITECTURE, Answer, Call, Instruction};

/// A copy of a filter: its instructions stand behind it in the same mapping.
pub struct Filter {
    next: AtomicPtr<Filter>,
    length: usize,
}

/// The newest, and through it all: also one that is about to come into force.
static FILTERS: AtomicPtr<Filter> = AtomicPtr::new(null_mut());
/// The same, of those in force.
static IN_FORCE: AtomicPtr<Filter> = AtomicPtr::new(null_mut());
/// No call of ours may be made any more: strict mode, or nothing is fenced and there is nothing to make calls for.
static NONE: AtomicBool = AtomicBool::new(false);
/// Numbers that all filters in force allow whatever the arguments are: one bit each.
static ALWAYS: [AtomicU64; 8] = [const { AtomicU64::new(u64::MAX) }; 8];

/// In the constructor.
pub fn init() {
    const GET_MODE: usize = 21;
    // SAFETY: prctl with an option that only asks.
    if unsafe { raw::any(libc::SYS_prctl as usize, [GET_MODE, 0, 0, 0, 0, 0]) } > 0 {
        known::filters_came_first();
        kernel::set_gate(may);
    }
    set_clock(is_refused(libc::SYS_clock_gettime as usize));
}

/// Times come from the vDSO, and, where the kernel may not be asked, only such as it gives without.
pub fn set_clock(refused: bool) {
    kernel::set_clock(if refused { Clock::Coarse } else { Clock::Vdso });
    // The vDSO is looked for at the first time: now, while that may be done.
    let _ = kernel::now_ns();
}

/// From now on no call of ours is made.
pub fn refuse_all() {
    NONE.store(true, Release);
    kernel::set_clock(Clock::Coarse);
    kernel::set_gate(may);
}

/// The gate: whether a call of ours may be made.
pub fn may(number: usize, arguments: &[usize; 6]) -> bool {
    if NONE.load(Relaxed) {
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
    let always = ALWAYS
        .get(number / 64)
        .is_some_and(|bits| bits.load(Relaxed) & 1 << (number % 64) != 0);
    always || answer(&IN_FORCE, number, arguments).allows()
}

/// Whether a call of ours may be made when the filter that is coming is in force.
pub fn will_allow(number: usize, arguments: &[usize; 6]) -> bool {
    !NONE.load(Relaxed) && answer(&FILTERS, number, arguments).allows()
}

/// Whether such a call would at worst fail: in a program that is started, which knows of no gate.
pub fn will_not_kill(number: usize, arguments: &[usize; 6]) -> bool {
    let answer = answer(&FILTERS, number, arguments);
    !NONE.load(Relaxed) && (answer.allows() || answer.is_error())
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
        raw::copy_from_program(program, &mut given).ok()?;
        let given = given.first()?;
        let length = usize::from(given.length);
        if length == 0 || length > MOST {
            return None;
        }
        let bytes = size_of::<Filter>() + length * size_of::<Instruction>();
        let Some(at) = raw::map_anonymous(bytes) else {
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
        let copied = raw::copy_from_program(given.instructions, instructions);
        if copied.is_err() || !filter::is_sound(instructions) {
            raw::unmap(at.cast(), bytes);
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
    let mut newest = FILTERS.load(Acquire);
    loop {
        filter.next.store(newest, Release);
        let it = (&raw const *filter).cast_mut();
        match FILTERS.compare_exchange(newest, it, AcqRel, Acquire) {
            Ok(_) => break,
            Err(now) => newest = now,
        }
    }
}

/// From now on the gate asks all filters there are.
pub fn bring_into_force() {
    let newest = FILTERS.load(Acquire);
    IN_FORCE.store(newest, Release);
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
    for (cell, bits) in ALWAYS.iter().zip(all) {
        cell.store(bits, Release);
    }
}

/// The filter that was refused by the kernel after all. One that came in between stays below it, and so does this one:
/// it then forbids us more than it needs to.
pub fn take_back(filter: &'static Filter) {
    let it = (&raw const *filter).cast_mut();
    if FILTERS
        .compare_exchange(it, filter.next.load(Acquire), AcqRel, Acquire)
        .is_ok()
    {
        bring_into_force();
    }
}

/// What was handed on to this program: one bit for each number.
static REFUSED: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];

/// What was handed on to this program. False: not to start at all.
pub fn take(word: &str) -> bool {
    for number in word.split(',') {
        let Ok(number) = number.parse::<usize>() else {
            return false;
        };
        if let Some(bits) = REFUSED.get(number / 64) {
            bits.fetch_or(1 << (number % 64), AcqRel);
        }
    }
    true
}

pub fn is_refused(number: usize) -> bool {
    REFUSED
        .get(number / 64)
        .is_some_and(|bits| bits.load(Relaxed) & 1 << (number % 64) != 0)
}

/// The strict mode that was refused by the kernel after all.
pub fn allow_again() {
    NONE.store(false, Release);
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
        for cell in &REFUSED {
            cell.store(0, Relaxed);
        }
    }
}
