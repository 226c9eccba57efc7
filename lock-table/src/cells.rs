//! The cells that a table is made of. Each consists of atomics alone, so a reference to one is sound whatever another
//! process does to the bytes.

use crate::hints::{LINE, NOTES};
use crate::primitive::{FutexWord, Gap, W32, W64};

pub(crate) const MAGIC: u64 = u64::from_ne_bytes(*b"pagefnce");
/// Raised with every change of a cell below: tables of another version are refused, not guessed at.
pub const VERSION: u32 = 8;
/// What a table's header says as long as nobody has found anything in it that no fenced process writes.
#[cfg(not(any(loom, shuttle, miri)))]
pub(crate) const SOUND: u32 = 0x50d1_7ab1;
/// Models begin with zeros.
#[cfg(any(loom, shuttle, miri))]
pub(crate) const SOUND: u32 = 0;
pub(crate) const HEADER_BYTES: u64 = 4096;

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
    /// [`SOUND`]; anything else: damaged. So one that is emptied, or written over, is.
    pub sound: W32,
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
pub(crate) const WORDS: u32 = LINE / u64::BITS;

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
    /// Of a use: so far the file reaches at least (I15).
    pub reaches: W64,
    _pad: Gap<1>,
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
