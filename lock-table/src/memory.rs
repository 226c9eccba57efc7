//! The table's bytes: what lies where, and the only place that turns the mapping into words. Every cell consists of
//! atomics alone, so a reference to one is sound whatever another process does to the bytes.

use core::sync::atomic::Ordering::Relaxed;

use crate::hints::{BUCKETS, LINE, NOTES};
use crate::primitive::{Bytes, CHECKED, FutexWord, Gap, W32, W64};
use crate::register::Register;

pub(crate) const MAGIC: u64 = u64::from_ne_bytes(*b"pagefnce");
/// Raised with every change of a cell below: tables of another version are refused, not guessed at.
pub(crate) const VERSION: u32 = 5;
pub(crate) const HEADER_BYTES: u64 = 4096;
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
    all_slots: u32,
    hint_lines: u32,
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

/// The first page. What changes often stands on lines of its own.
#[repr(C)]
#[cfg_attr(any(loom, shuttle), derive(Default))]
pub(crate) struct Header {
    pub magic: W64,
    pub version: W32,
    pub processes: W32,
    pub slots: W32,
    pub requests: W32,
    pub mappings: W32,
    pub uses: W32,
    /// `Geometry::check` of the five above.
    pub check: W64,
    _line0: Gap<11>,
    /// High-water marks: no slot at or above one was ever used. Raised before use, never lowered (I7).
    pub slots_used: W32,
    pub requests_used: W32,
    pub poison: W32,
    pub unverified_next: W32,
    _line1: Gap<14>,
    /// The bakery's next ticket.
    pub ticket: W64,
}

/// One process. Its byte's lock says whether it lives; this says who it is.
#[repr(C)]
#[cfg_attr(any(loom, shuttle), derive(Default))]
pub(crate) struct ProcessCell {
    /// 0 free, 1 in use, 2 dead and being cleaned.
    pub state: W32,
    pub pid: W32,
    pub comm: [W64; 2],
    pub since: W64,
    /// Goes up with every ring: see `bell`.
    pub bell: FutexWord,
    _gap: W32,
    _pad: Gap<3>,
}

/// One announced claim: see `slots`. Everything that a scan reads lies in the first cache line.
#[repr(C)]
#[cfg_attr(any(loom, shuttle), derive(Default))]
pub(crate) struct SlotCell {
    pub state: FutexWord,
    /// Process index plus one; 0 while the slot is in the pool.
    pub owner: W32,
    pub thread: W32,
    /// Slot index plus one of what this one waits for.
    pub waiting_on: W32,
    pub dev: W64,
    pub ino: W64,
    pub first: W64,
    pub last: W64,
    /// The mode, and 256 for atomic.
    pub mode: W32,
    _gap: W32,
    pub ticket: W64,
    /// Bucket plus one of each hint that is set for this slot, or perhaps is: see `hints`.
    pub notes: [W32; NOTES],
    _note: W32,
    _line1: Gap<5>,
}

/// Words in a line of a bucket.
const WORDS: u32 = LINE / u64::BITS;

/// Part of a bucket: a bit for each of so many slots. See `hints`.
#[repr(C)]
#[cfg_attr(any(loom, shuttle), derive(Default))]
pub(crate) struct HintLine {
    pub words: [W64; WORDS as usize],
}

/// One entry of a register: a mapping, a use of a file, or a range that waits to be repaired.
#[repr(C)]
#[cfg_attr(any(loom, shuttle), derive(Default))]
pub(crate) struct EntryCell {
    pub state: W32,
    pub owner: W32,
    pub bits: W32,
    pub locks: W32,
    pub dev: W64,
    pub ino: W64,
    pub first: W64,
    pub last: W64,
    _pad: Gap<2>,
}

/// The home of some files in a register: see `register`. A line of its own, for what is looked at with every direct
/// write.
#[repr(C)]
#[cfg_attr(any(loom, shuttle), derive(Default))]
pub(crate) struct HomeCell {
    /// How far from here the entries of these files lie at most: a high-water mark (I7).
    pub reach: W32,
    /// Where to look for a free entry when the stretch here is full. Only a hint.
    pub free: W32,
    _pad: Gap<7>,
}

#[cfg(not(any(loom, shuttle)))]
const _: () = {
    assert!(size_of::<Header>() <= HEADER_BYTES as usize);
    assert!(
        size_of::<ProcessCell>() == 64
            && size_of::<SlotCell>() == 128
            && size_of::<EntryCell>() == 64
            && size_of::<HintLine>() == 64
            && size_of::<HomeCell>() == 64
    );
};

/// A table's bytes, as what they are.
pub(crate) struct Memory {
    bytes: Bytes,
    geometry: Geometry,
    layout: Layout,
}

impl Memory {
    /// The bytes are those of `geometry.layout()`.
    pub(crate) fn new(bytes: Bytes, geometry: Geometry) -> Memory {
        Memory {
            bytes,
            geometry,
            layout: geometry.layout(),
        }
    }

    /// Where the bytes are mapped, and how many.
    #[cfg(not(any(loom, shuttle, miri)))]
    pub(crate) fn mapping(&self) -> (*mut core::ffi::c_void, usize) {
        let start = self.bytes.base().as_ptr().cast();
        (start, self.layout.length as usize)
    }

    #[cfg(any(loom, shuttle, miri))]
    pub(crate) fn lives(&self) -> &[W32] {
        self.array(self.layout.length, self.geometry.processes)
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    #[inline]
    pub(crate) fn header(&self) -> &Header {
        self.bytes.header()
    }

    #[inline]
    fn array<T: 'static>(&self, start: u64, count: u32) -> &[T] {
        // SAFETY: `layout` put `count` cells of T at `start`, aligned and inside the bytes; cells are atomics.
        unsafe { self.bytes.array(start, count) }
    }

    pub(crate) fn processes(&self) -> &[ProcessCell] {
        self.array(self.layout.processes, self.geometry.processes)
    }

    /// The process with this number (index plus one).
    pub(crate) fn process(&self, owner: u32) -> Option<&ProcessCell> {
        self.processes().get(owner.checked_sub(1)? as usize)
    }

    #[inline]
    pub(crate) fn all_slots(&self) -> &[SlotCell] {
        self.array(self.layout.slots, self.layout.all_slots)
    }

    #[inline]
    pub(crate) fn slot(&self, index: u32) -> Option<&SlotCell> {
        self.all_slots().get(index as usize)
    }

    /// Which words of a bucket may have bits set: see `hints`. Bits are set, never cleared.
    #[inline]
    pub(crate) fn hint_stacks(&self, bucket: u32) -> u64 {
        self.hint_stacks_cell(bucket)
            .map_or(0, |word| word.load(Relaxed))
    }

    #[inline]
    pub(crate) fn hint_stacks_cell(&self, bucket: u32) -> Option<&W64> {
        let stacks = self.array::<W64>(self.layout.hint_stacks, BUCKETS);
        stacks.get(bucket as usize)
    }

    /// The bits of a bucket for the slots from `64 * at` on.
    #[inline]
    pub(crate) fn hint_word(&self, bucket: u32, at: u32) -> u64 {
        self.hint_word_cell(bucket, at)
            .map_or(0, |word| word.load(Relaxed))
    }

    /// The lines with the first slots of all buckets lie together, and so on.
    #[inline]
    pub(crate) fn hint_word_cell(&self, bucket: u32, at: u32) -> Option<&W64> {
        let line = (at / WORDS).wrapping_mul(BUCKETS).wrapping_add(bucket);
        let lines = self.array::<HintLine>(self.layout.hints, self.layout.hint_lines);
        let line = lines.get(line as usize)?;
        line.words.get((at % WORDS) as usize)
    }

    /// No word of a bucket from this one on has the slots that may be in use.
    #[inline]
    pub(crate) fn used_hint_words(&self) -> u32 {
        let used = match self.marks() {
            (threads, 0) => threads,
            (_, requests) => self.geometry.slots.saturating_add(requests),
        };
        used.div_ceil(u64::BITS)
    }

    /// How many of the threads' slots and of the requests' may be in use.
    #[inline]
    fn marks(&self) -> (u32, u32) {
        let h = self.header();
        // Relaxed: callers fence before they scan, and a mark is raised before its slot is announced (I7).
        let t = h.slots_used.load(Relaxed).min(self.geometry.slots);
        let r = h.requests_used.load(Relaxed).min(self.geometry.requests);
        (t, r)
    }

    pub(crate) fn mappings(&self) -> Register<'_> {
        let (g, l) = (&self.geometry, &self.layout);
        self.register(g.mappings, l.mappings, l.mapping_homes, l.mapping_bitmaps)
    }

    #[inline]
    pub(crate) fn uses(&self) -> Register<'_> {
        let (g, l) = (&self.geometry, &self.layout);
        self.register(g.uses, l.uses, l.use_homes, l.use_bitmaps)
    }

    #[inline]
    fn register(&self, entries: u32, cells: u64, homes: u64, bitmaps: u64) -> Register<'_> {
        let words = self
            .geometry
            .processes
            .saturating_mul(bitmap_words(entries));
        Register {
            cells: self.array(cells, entries),
            homes: self.array(homes, stretches(entries)),
            bitmaps: self.array(bitmaps, words),
        }
    }

    pub(crate) fn unverified(&self) -> &[EntryCell] {
        self.array(self.layout.unverified, UNVERIFIED)
    }

    /// The two runs of slots that may be in use, each with its first index: the threads' and the requests'.
    #[inline]
    pub(crate) fn used_slots(&self) -> [(u32, &[SlotCell]); 2] {
        let threads = self.geometry.slots;
        let (t, r) = self.marks();
        let all = self.all_slots();
        [
            (0, all.get(..t as usize).unwrap_or(&[])),
            (
                threads,
                all.get(threads as usize..threads.saturating_add(r) as usize)
                    .unwrap_or(&[]),
            ),
        ]
    }
}
