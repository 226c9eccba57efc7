//! How much room a table has, and what lies where for that.

use crate::cells::{EntryCell, HEADER_BYTES, HintLine, HomeCell, MAGIC, ProcessCell, SlotCell};
use crate::hints::{BUCKETS, LINE};
use crate::primitive::{CHECKED, W64};

/// Ranges of dead direct writers that wait to be repaired.
pub(crate) const UNVERIFIED: u32 = if CHECKED { 2 } else { 256 };
/// How many of a register's entries lie together: see `register`.
pub(crate) const STRETCH: u32 = 64;

/// How many stretches a register of so many entries has, the last perhaps a short one.
pub(crate) fn stretches(entries: u32) -> u32 {
    entries.div_ceil(STRETCH)
}

/// The words of a bitmap with a bit for each stretch.
pub(crate) fn bitmap_words(entries: u32) -> u32 {
    stretches(entries).div_ceil(u64::BITS)
}

/// How many of each thing a table has room for. Fixed when the table is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    pub processes: u32,
    /// One a thread and nesting level.
    pub slots: u32,
    /// One an asynchronous request. They stand behind the threads' slots in the same array.
    pub requests: u32,
    pub mappings: u32,
    pub uses: u32,
}

impl Default for Geometry {
    fn default() -> Self {
        Geometry::DEFAULT
    }
}

impl Geometry {
    pub const DEFAULT: Geometry = Geometry {
        processes: 1024,
        slots: 8192,
        requests: 8192,
        mappings: 65_536,
        uses: 65_536,
    };
    /// The most of each: every index fits in 24 bits, and the file has less than a gigabyte.
    pub const MOST: Geometry = Geometry {
        processes: 1 << 16,
        slots: 1 << 18,
        requests: 1 << 18,
        mappings: 1 << 20,
        uses: 1 << 20,
    };

    fn sizes(&self) -> [u32; 5] {
        let Geometry {
            processes,
            slots,
            requests,
            mappings,
            uses,
        } = *self;
        [processes, slots, requests, mappings, uses]
    }

    /// At least one of each, and no more than may be?
    pub(crate) fn is_sane(&self) -> bool {
        let mut sizes = self.sizes().into_iter().zip(Geometry::MOST.sizes());
        sizes.all(|(n, most)| (1..=most).contains(&n))
    }

    /// Five sizes folded into one word: a table whose header says others has been damaged, though they may be possible.
    pub(crate) fn check(&self) -> u64 {
        self.sizes().into_iter().fold(MAGIC, |check, size| {
            let mixed = (check ^ u64::from(size)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            mixed ^ mixed >> 32
        })
    }

    pub(crate) fn layout(&self) -> Layout {
        let mut end = HEADER_BYTES;
        let mut part = |count: u32, bytes: usize| {
            let start = end;
            end = end.saturating_add(u64::from(count).saturating_mul(bytes as u64));
            start
        };
        let all_slots = self.slots.saturating_add(self.requests);
        let hint_lines = all_slots.div_ceil(LINE).saturating_mul(BUCKETS);
        let processes = part(self.processes, size_of::<ProcessCell>());
        let slots = part(all_slots, size_of::<SlotCell>());
        let hints = part(hint_lines, size_of::<HintLine>());
        let hint_stacks = part(BUCKETS, size_of::<W64>());
        let mappings = part(self.mappings, size_of::<EntryCell>());
        let uses = part(self.uses, size_of::<EntryCell>());
        let mapping_homes = part(stretches(self.mappings), size_of::<HomeCell>());
        let use_homes = part(stretches(self.uses), size_of::<HomeCell>());
        let mut bitmaps = |entries: u32| {
            let words = self.processes.saturating_mul(bitmap_words(entries));
            part(words, size_of::<W64>())
        };
        let mapping_bitmaps = bitmaps(self.mappings);
        let use_bitmaps = bitmaps(self.uses);
        let unverified = part(UNVERIFIED, size_of::<EntryCell>());
        Layout {
            all_slots,
            hint_lines,
            processes,
            slots,
            hints,
            hint_stacks,
            mappings,
            uses,
            mapping_homes,
            use_homes,
            mapping_bitmaps,
            use_bitmaps,
            unverified,
            length: end.next_multiple_of(4096),
        }
    }
}

/// Where each array starts, and how long those are that every call looks at. Computed from the geometry, never read from
/// the file.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) all_slots: u32,
    pub(crate) hint_lines: u32,
    pub(crate) processes: u64,
    pub(crate) slots: u64,
    pub(crate) hints: u64,
    pub(crate) hint_stacks: u64,
    pub(crate) mappings: u64,
    pub(crate) uses: u64,
    pub(crate) mapping_homes: u64,
    pub(crate) use_homes: u64,
    pub(crate) mapping_bitmaps: u64,
    pub(crate) use_bitmaps: u64,
    pub(crate) unverified: u64,
    pub(crate) length: u64,
}
