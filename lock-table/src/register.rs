//! What the registers (mappings, uses, unverified ranges) have in common: an entry is claimed by its owner word,
//! written under its state word, and read in one piece.

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::fence;

use crate::matrix::FileId;
use crate::memory::{EntryCell, W32};

/// The state word: the low two bits, and a generation above.
pub(crate) const FREE: u32 = 0;
pub(crate) const WRITING: u32 = 1;
pub(crate) const LIVE: u32 = 2;
const STATE: u32 = 3;
const GENERATION: u32 = !3;
const READS: u32 = 16;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub owner: u32,
    pub bits: u32,
    pub file: FileId,
    pub first: u64,
    pub last: u64,
}

pub(crate) fn is(word: u32, state: u32) -> bool {
    word & STATE == state
}

pub(crate) fn next(word: u32, state: u32) -> u32 {
    (word & GENERATION).wrapping_add(STATE.wrapping_add(1)) | state
}

/// The entries that may be in use: those below the high-water mark (I7).
pub(crate) fn used<'a>(cells: &'a [EntryCell], mark: &W32) -> &'a [EntryCell] {
    cells
        .get(..cells.len().min(mark.load(Relaxed) as usize))
        .unwrap_or(&[])
}

/// Finds a free entry, from the hint on and round, and fills it. Full: `None`.
pub(crate) fn enter(cells: &[EntryCell], mark: &W32, hint: &W32, e: &Entry) -> Option<u32> {
    let count = u32::try_from(cells.len()).ok()?;
    let start = hint.load(Relaxed).min(count.saturating_sub(1));
    for index in (start..count).chain(0..start) {
        let cell = cells.get(index as usize)?;
        // I2: the owner goes in first, atomically; a reaper finds whatever a kill leaves.
        if cell.owner.load(Relaxed) != 0
            || cell
                .owner
                .compare_exchange(0, e.owner, AcqRel, Relaxed)
                .is_err()
        {
            continue;
        }
        mark.fetch_max(index.saturating_add(1), Relaxed); // I7
        hint.store(index.saturating_add(1), Relaxed);
        write(cell, e);
        return Some(index);
    }
    None
}

/// Fills an entry that the caller owns.
pub(crate) fn write(cell: &EntryCell, e: &Entry) {
    let now = cell.state.load(Relaxed);
    cell.state.store(next(now, WRITING), Relaxed);
    fence(Release); // I4: as for slots
    cell.bits.store(e.bits, Relaxed);
    cell.locks.store(0, Relaxed);
    cell.dev.store(e.file.dev, Relaxed);
    cell.ino.store(e.file.ino, Relaxed);
    cell.first.store(e.first, Relaxed);
    cell.last.store(e.last, Relaxed);
    cell.state.store(next(now, LIVE), Release); // I4
    // I9: the entry stands before whatever its owner looks at next.
    fence(SeqCst);
}

/// Empties an entry if `owner` (still) owns it. Idempotent: a reaper may be killed between the two stores.
pub(crate) fn leave(cell: &EntryCell, owner: u32) {
    if cell.owner.load(Relaxed) != owner {
        return;
    }
    let now = cell.state.load(Relaxed);
    cell.state.store(now & GENERATION | FREE, Release);
    // I2: last, so that an entry in the pool is always empty.
    let _ = cell.owner.compare_exchange(owner, 0, Release, Relaxed);
}

pub(crate) enum Read {
    Nothing,
    Entry(Entry),
    /// It moved every time we looked.
    Restless,
}

pub(crate) fn read(cell: &EntryCell) -> Read {
    for _ in 0..READS {
        let before = cell.state.load(Acquire);
        if !is(before, LIVE) {
            return Read::Nothing;
        }
        let entry = Entry {
            owner: cell.owner.load(Relaxed),
            bits: cell.bits.load(Relaxed),
            file: FileId {
                dev: cell.dev.load(Relaxed),
                ino: cell.ino.load(Relaxed),
            },
            first: cell.first.load(Relaxed),
            last: cell.last.load(Relaxed),
        };
        fence(Acquire); // I4
        if cell.state.load(Relaxed) == before {
            return Read::Entry(entry);
        }
    }
    Read::Restless
}
