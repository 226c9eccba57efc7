//! The table's bytes: what lies where, and the only place that turns the mapping into words. Every cell consists of
//! atomics alone, so a reference to one is sound whatever another process does to the bytes.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;
pub(crate) use core::sync::atomic::{AtomicU32 as W32, AtomicU64 as W64};

use crate::register::Register;

pub(crate) const MAGIC: u64 = u64::from_ne_bytes(*b"pagefnce");
/// Raised with every change of a cell below: tables of another version are refused, not guessed at.
pub(crate) const VERSION: u32 = 2;
pub(crate) const HEADER_BYTES: u64 = 4096;
/// Ranges of dead direct writers that wait to be repaired.
pub(crate) const UNVERIFIED: u32 = 256;
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
        Geometry {
            processes: 1024,
            slots: 8192,
            requests: 8192,
            mappings: 65_536,
            uses: 65_536,
        }
    }
}

impl Geometry {
    /// Within bounds that keep every index in 24 bits and the file under a gigabyte?
    pub(crate) fn is_sane(&self) -> bool {
        let within = |n: u32, most: u32| n >= 1 && n <= most;
        within(self.processes, 1 << 16)
            && within(self.slots, 1 << 20)
            && within(self.requests, 1 << 20)
            && within(self.mappings, 1 << 20)
            && within(self.uses, 1 << 20)
    }

    pub(crate) fn layout(&self) -> Layout {
        let mut end = HEADER_BYTES;
        let mut part = |count: u32, bytes: usize| {
            let start = end;
            end = end.saturating_add(u64::from(count).saturating_mul(bytes as u64));
            start
        };
        let processes = part(self.processes, size_of::<ProcessCell>());
        let slots = part(
            self.slots.saturating_add(self.requests),
            size_of::<SlotCell>(),
        );
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
            processes,
            slots,
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

/// Where each array starts. Computed from the geometry, never read from the file.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    processes: u64,
    slots: u64,
    mappings: u64,
    uses: u64,
    mapping_homes: u64,
    use_homes: u64,
    mapping_bitmaps: u64,
    use_bitmaps: u64,
    unverified: u64,
    pub(crate) length: u64,
}

/// The first page. What changes often stands on lines of its own.
#[repr(C)]
pub(crate) struct Header {
    pub magic: W64,
    pub version: W32,
    pub processes: W32,
    pub slots: W32,
    pub requests: W32,
    pub mappings: W32,
    pub uses: W32,
    _line0: [W64; 12],
    /// High-water marks: no slot at or above one was ever used. Raised before use, never lowered (I7).
    pub slots_used: W32,
    pub requests_used: W32,
    pub poison: W32,
    pub unverified_next: W32,
    _line1: [W64; 14],
    /// The bakery's next ticket.
    pub ticket: W64,
}

/// One process. Its byte's lock says whether it lives; this says who it is.
#[repr(C)]
pub(crate) struct ProcessCell {
    /// 0 free, 1 in use.
    pub state: W32,
    pub pid: W32,
    pub comm: [W64; 2],
    pub since: W64,
    _pad: [W64; 4],
}

/// One announced claim: see `slots`. Everything that a scan reads lies in the first cache line.
#[repr(C)]
pub(crate) struct SlotCell {
    pub state: W32,
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
    _line1: [W64; 8],
}

/// One entry of a register: a mapping, a use of a file, or a range that waits to be repaired.
#[repr(C)]
pub(crate) struct EntryCell {
    pub state: W32,
    pub owner: W32,
    pub bits: W32,
    pub locks: W32,
    pub dev: W64,
    pub ino: W64,
    pub first: W64,
    pub last: W64,
    _pad: [W64; 2],
}

/// The home of some files in a register: see `register`. A line of its own, for what is looked at with every direct
/// write.
#[repr(C)]
pub(crate) struct HomeCell {
    /// How far from here the entries of these files lie at most: a high-water mark (I7).
    pub reach: W32,
    /// Where to look for a free entry when the stretch here is full. Only a hint.
    pub free: W32,
    _pad: [W64; 7],
}

const _: () = {
    assert!(size_of::<Header>() <= HEADER_BYTES as usize);
    assert!(
        size_of::<ProcessCell>() == 64
            && size_of::<SlotCell>() == 128
            && size_of::<EntryCell>() == 64
            && size_of::<HomeCell>() == 64
    );
};

/// A mapped table.
pub(crate) struct Memory {
    base: NonNull<u8>,
    geometry: Geometry,
    layout: Layout,
}

// SAFETY: the mapping lives as long as the process and is reached through atomics only.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// # Safety
    /// `base` must be a shared, writable, page-aligned mapping of `geometry.layout().length` bytes that is never
    /// unmapped.
    pub(crate) unsafe fn new(base: NonNull<u8>, geometry: Geometry) -> Memory {
        Memory {
            base,
            geometry,
            layout: geometry.layout(),
        }
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    #[inline]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: the mapping starts with a page that holds a header (see `new`).
        unsafe { self.base.cast::<Header>().as_ref() }
    }

    #[inline]
    fn array<T>(&self, start: u64, count: u32) -> &[T] {
        // SAFETY: `layout` put `count` cells of T at `start`, aligned and inside the mapping; cells are atomics.
        unsafe {
            core::slice::from_raw_parts(
                self.base.add(start as usize).cast::<T>().as_ptr(),
                count as usize,
            )
        }
    }

    pub(crate) fn processes(&self) -> &[ProcessCell] {
        self.array(self.layout.processes, self.geometry.processes)
    }

    #[inline]
    pub(crate) fn all_slots(&self) -> &[SlotCell] {
        self.array(
            self.layout.slots,
            self.geometry.slots.saturating_add(self.geometry.requests),
        )
    }

    #[inline]
    pub(crate) fn slot(&self, index: u32) -> Option<&SlotCell> {
        self.all_slots().get(index as usize)
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
        let h = self.header();
        let threads = self.geometry.slots;
        // Relaxed: callers fence before they scan, and a mark is raised before its slot is announced (I7).
        let t = h.slots_used.load(Relaxed).min(threads);
        let r = h.requests_used.load(Relaxed).min(self.geometry.requests);
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
