//! What was told already. On standard error each kind is told once a file and pair of programs, also when the file is
//! closed and opened again, which ends its record here; the trace has one for each opening.

use core::sync::atomic::{AtomicU64, Ordering::*};

use crate::tell::counters;
use crate::tell::state::state;

/// How far from its own place a mark may lie.
const REACH: usize = 16;

/// Whether this has not been told before; from now on it has. A forked child knows what its parent told. When there is no
/// place left the oldest are forgotten: better twice than not at all.
pub fn first(mark: Mark) -> bool {
    first_in(&state().told, mark)
}

/// The same, for a process and all that are forked from it, until they become other programs: what a child has told its
/// parent knows.
pub fn first_among_children(mark: Mark) -> bool {
    let page = state().told_by_children.load(Acquire);
    match page.is_null() {
        true => first(mark),
        // SAFETY: a shared mapping of so many words, which stays.
        false => first_in(
            unsafe { core::slice::from_raw_parts(page, ON_A_PAGE) },
            mark,
        ),
    }
}

/// The same for all processes of a run, where they share memory.
pub fn first_in_run(mark: Mark) -> bool {
    match counters::told_in_run() {
        Some(told) => first_in(told, mark),
        None => first_among_children(mark),
    }
}

const ON_A_PAGE: usize = 4096 / size_of::<AtomicU64>();

/// Before there are children that may tell.
pub fn share() {
    if state().told_by_children.load(Acquire).is_null()
        && let Some(page) = kernel::map_shared(4096)
    {
        state().told_by_children.store(page.cast(), Release);
    }
}

fn first_in(told: &[AtomicU64], mark: Mark) -> bool {
    let place = |step: usize| told.get((mark.0 as usize).wrapping_add(step) % told.len());
    for cell in (0..REACH).filter_map(place) {
        match cell.compare_exchange(0, mark.0, Relaxed, Relaxed) {
            Ok(_) => return true,
            Err(there) if there == mark.0 => return false,
            Err(_) => {}
        }
    }
    if let Some(cell) = place(state().forgotten.fetch_add(1, Relaxed) % REACH) {
        cell.store(mark.0, Relaxed);
    }
    true
}

/// A few words in one number: FNV-1a. Never zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark(u64);

impl Mark {
    pub const NOTHING: Mark = Mark(0xcbf2_9ce4_8422_2325);

    pub fn and(self, bytes: &[u8]) -> Mark {
        let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        // The end of a word counts as well.
        Mark(bytes.iter().chain(&[0xff]).fold(self.0, mix).max(1))
    }
}

/// One bit for each of our own reasons, in the order in which they are met: so that one reason doesn't silence another.
/// Those that find no place share the last.
pub fn bit_of(reason: &'static str) -> u64 {
    let own = reason.as_ptr().cast_mut();
    for (index, cell) in state().reasons.iter().enumerate() {
        let there = cell.compare_exchange(core::ptr::null_mut(), own, Relaxed, Relaxed);
        if there.is_ok() || there == Err(own) {
            return 1 << index;
        }
    }
    1 << 63
}

/// What is told once a process, whatever file it was met with.
#[derive(Clone, Copy)]
pub enum Once {
    TableRemoved,
    TableDamaged,
    NoMemory,
    UncoveredCall,
    TraceLost,
    UnknownPath,
    OtherHosts,
    NothingBeneath,
    OwnNumbers,
    NamelessMapping,
    Namespace,
}

/// Whether it has not been told; from now on it has.
pub fn first_time(what: Once) -> bool {
    let bit = 1 << what as u32;
    state().once.fetch_or(bit, AcqRel) & bit == 0
}

/// A file that is not fenced has no record that could say so. Of many such files some may be told again.
pub fn first_of_left_out(mark: u32) -> bool {
    let marks = &state().left_out;
    let cell = marks.get(mark as usize / 2 % marks.len());
    cell.is_none_or(|cell| cell.swap(mark, AcqRel) != mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_each_and_never_nothing() {
        let mark = |n: u32| Mark::NOTHING.and(b"uncovered").and(&n.to_ne_bytes());
        assert!(first(mark(1)) && !first(mark(1)) && first(mark(2)) && !first(mark(1)));
        // More than there is room for: all are told, and the last ones are known.
        assert!((10..5000).all(|n| first(mark(n))));
        assert!(!first(mark(4999)));
        assert_ne!(
            Mark::NOTHING.and(b"ab").and(b"c"),
            Mark::NOTHING.and(b"a").and(b"bc")
        );
    }

    #[test]
    fn a_bit_for_each_reason() {
        let (a, b) = (bit_of("one thing"), bit_of("another"));
        assert!(a != b && a.is_power_of_two() && b.is_power_of_two());
    }
}
