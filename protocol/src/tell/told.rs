//! What was told already. On standard error each kind is told once a file and pair of programs, also when the file is
//! closed and opened again, which ends its record here; the trace has one for each opening.

use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering::*};

/// Marks of what was told on standard error; a forked child knows what its parent told. When there is no place left the
/// oldest are forgotten: better twice than not at all.
static TOLD: [AtomicU64; 1024] = [const { AtomicU64::new(0) }; 1024];
/// How far from its own place a mark may lie.
const REACH: usize = 16;

/// Whether this has not been told before; from now on it has.
pub fn first(mark: Mark) -> bool {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let place = |step: usize| TOLD.get((mark.0 as usize).wrapping_add(step) % TOLD.len());
    for cell in (0..REACH).filter_map(place) {
        match cell.compare_exchange(0, mark.0, Relaxed, Relaxed) {
            Ok(_) => return true,
            Err(there) if there == mark.0 => return false,
            Err(_) => {}
        }
    }
    if let Some(cell) = place(NEXT.fetch_add(1, Relaxed) % REACH) {
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
    static REASONS: [AtomicPtr<u8>; 63] = [const { AtomicPtr::new(core::ptr::null_mut()) }; 63];
    let own = reason.as_ptr().cast_mut();
    for (index, cell) in REASONS.iter().enumerate() {
        let there = cell.compare_exchange(core::ptr::null_mut(), own, Relaxed, Relaxed);
        if there.is_ok() || there == Err(own) {
            return 1 << index;
        }
    }
    1 << 63
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
