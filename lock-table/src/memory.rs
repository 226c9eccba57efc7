//! The table's bytes: the only place that turns the mapping into cells.

use core::sync::atomic::Ordering::Relaxed;

use crate::cells::{EntryCell, Header, HintLine, ProcessCell, SlotCell, WORDS};
use crate::geometry::{Geometry, Layout, UNVERIFIED, bitmap_words, stretches};
use crate::hints::BUCKETS;
#[cfg(any(loom, shuttle, miri))]
use crate::primitive::W32;
use crate::primitive::{Bytes, W64};
use crate::register::Register;

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
