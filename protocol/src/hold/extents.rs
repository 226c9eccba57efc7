//! Which bytes a call touches, as ranges: its own, those of whatever may extend the file, and what lies in one folio with
//! them. Numbers only: the model relies on the same functions.

use lock_table::{Mode, page, unit};

use crate::hold::terms::END_OF_TIME;

#[inline(always)]
pub(crate) fn mode_of(write: bool, direct: bool) -> Mode {
    match (direct, write) {
        (false, false) => Mode::BufferedRead,
        (false, true) => Mode::BufferedWrite,
        (true, false) => Mode::DirectRead,
        (true, true) => Mode::DirectWrite,
    }
}

/// First and last byte that the call may touch in a file of this size. Whatever may extend the file
/// begins at the last unit of the old end, because the kernel zeroes the old last block through the cache (P3).
pub(crate) fn range_of(
    write: bool,
    append: bool,
    start: Option<u64>,
    len: u64,
    size: u64,
) -> (u64, u64) {
    let end_unit = size / unit() * unit();
    if append {
        return (end_unit, END_OF_TIME);
    }
    let Some(start) = start else {
        return (0, END_OF_TIME);
    };
    let last = start.saturating_add(len - 1);
    if write && last >= size {
        (start.min(end_unit), END_OF_TIME)
    } else {
        (start, last)
    }
}

/// What a request through the cache may dirty: the folios that it touches (P6).
pub(crate) fn in_units(first: u64, last: u64) -> (u64, u64) {
    (first / unit() * unit(), last | (unit() - 1))
}

/// The rest of the units that the pages of a range lie in, below and above it.
pub(crate) fn beside(first: u64, last: u64) -> [Option<(u64, u64)>; 2] {
    let (first, last) = (first / page() * page(), last | (page() - 1));
    let below = (first / unit() * unit(), first.wrapping_sub(1));
    let above = (last.wrapping_add(1), last | (unit() - 1));
    [below, above].map(|(from, to)| (from < to && to != u64::MAX).then_some((from, to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn range(write: bool, start: Option<u64>, append: bool, len: u64, size: u64) -> (u64, u64) {
        range_of(write, append, start, len, size)
    }

    #[test]
    fn a_call_inside_the_file_touches_its_own_bytes() {
        assert_eq!(range(true, Some(10), false, 5, MIB), (10, 14));
        assert_eq!(range(false, Some(10), false, 5, MIB), (10, 14));
        assert_eq!(range(false, Some(MIB), false, 5, MIB), (MIB, MIB + 4));
    }

    #[test]
    fn a_write_that_may_extend_begins_at_the_last_unit_of_the_old_end() {
        assert_eq!(
            range(true, Some(90 * MIB), false, 1, 5 * MIB),
            (4 * MIB, END_OF_TIME)
        );
        assert_eq!(
            range(true, Some(3 * MIB), false, 4 * MIB, 5 * MIB),
            (3 * MIB, END_OF_TIME)
        );
        assert_eq!(range(true, None, true, 1, 5 * MIB), (4 * MIB, END_OF_TIME));
    }

    #[test]
    fn an_unknown_place_is_any_place() {
        assert_eq!(range(true, None, false, 1, 5 * MIB), (0, END_OF_TIME));
    }

    #[test]
    fn the_end_of_time_does_not_overflow() {
        assert_eq!(
            range(false, Some(u64::MAX - 1), false, 100, 0),
            (u64::MAX - 1, END_OF_TIME)
        );
        assert_eq!(
            range(true, Some(7), false, MOST_OF_ALL, u64::MAX),
            (7, MOST_OF_ALL + 6)
        );
    }

    const MOST_OF_ALL: u64 = 0x7fff_f000;
}
