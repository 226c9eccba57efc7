//! What the registers have in common: where the entries of a file lie, and how an entry is claimed by its owner word,
//! written under its state word, and read in one piece.

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::cells::{EntryCell, HomeCell};
use crate::geometry::{STRETCH, bitmap_words};
use crate::matrix::FileId;
use crate::primitive::{W64, fence};

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

/// A register. Its entries form a ring, cut into stretches of `STRETCH`. Each stretch is the home of those files whose
/// hash says so: their entries lie in it or, when it is full, behind it, at most as far as the home's `reach` says. So
/// what a look at a file costs follows the file, whatever else is in the register.
#[derive(Clone, Copy)]
pub(crate) struct Register<'a> {
    pub(crate) cells: &'a [EntryCell],
    pub(crate) homes: &'a [HomeCell],
    /// For each process a bitmap of the stretches in which it has, or had, entries (I11).
    pub(crate) bitmaps: &'a [W64],
}

impl<'a> Register<'a> {
    #[inline]
    pub fn cell(&self, index: u32) -> Option<&'a EntryCell> {
        self.cells.get(index as usize)
    }

    /// A file's home, and the index of its first entry.
    fn home(&self, file: FileId) -> Option<(&'a HomeCell, usize)> {
        // Two rounds of multiplying and folding: inode numbers come in rows and in steps.
        let fold = |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32);
        let hash = fold(fold(file.ino) ^ file.dev) & u64::from(u32::MAX);
        let at = hash.wrapping_mul(self.homes.len() as u64) >> 32;
        let home = self.homes.get(at as usize)?;
        Some((home, (at as usize).wrapping_mul(STRETCH as usize)))
    }

    /// The entries of a file, with their indices: each as read, or restless and perhaps of this file.
    pub fn of_file(self, file: FileId) -> impl Iterator<Item = (u32, &'a EntryCell, Read)> {
        let (reach, start) = match self.home(file) {
            // Relaxed: whoever must find an entry comes after it by a fence or a held range, and the mark was raised
            // before the entry was written (I7).
            Some((home, start)) => (home.reach.load(Relaxed) as usize, start),
            None => (0, 0),
        };
        let behind = self.cells.get(start..).unwrap_or(&[]);
        let before = self.cells.get(..start).unwrap_or(&[]);
        (start as u32..)
            .zip(behind)
            .chain((0..).zip(before))
            .take(reach)
            .filter_map(move |(index, cell)| {
                // I4: Acquire: the inode is of this generation or a later one. If of a later one, this one was
                // forgotten.
                if !is(cell.state.load(Acquire), LIVE) || cell.ino.load(Relaxed) != file.ino {
                    return None;
                }
                match read(cell) {
                    Read::Nothing => None,
                    Read::Entry(e) if e.file != file => None,
                    found => Some((index, cell, found)),
                }
            })
    }

    /// Finds a free entry, as near to the file's home as can be, and fills it. Full: `None`.
    pub fn enter(&self, e: &Entry) -> Option<u32> {
        let (home, start) = self.home(e.file)?;
        let count = self.cells.len();
        let stretch = count.min(STRETCH as usize);
        let hint = home.free.load(Relaxed);
        let from = (hint as usize).clamp(stretch, count);
        for position in (0..stretch).chain(from..count).chain(stretch..from) {
            let index = start.wrapping_add(position).checked_rem(count)?;
            let cell = self.cells.get(index)?;
            if cell.owner.load(Relaxed) != 0 {
                continue;
            }
            self.mark_stretch(e.owner, index); // I11
            // I2: the owner goes in first, atomically; a reaper finds whatever a kill leaves.
            let taken = cell.owner.compare_exchange(0, e.owner, AcqRel, Relaxed);
            if taken.is_err() {
                continue;
            }
            let beyond = u32::try_from(position).ok()?.saturating_add(1);
            if home.reach.load(Relaxed) < beyond {
                home.reach.fetch_max(beyond, Relaxed); // I7
            }
            if position >= stretch {
                // Not if somebody has seen a nearer one become free meanwhile.
                let _ = home.free.compare_exchange(hint, beyond, Relaxed, Relaxed);
            }
            write(cell, e);
            return u32::try_from(index).ok();
        }
        None
    }

    /// Empties an entry if `owner` (still) owns it. Idempotent: a reaper may be killed between the two stores.
    pub fn leave(&self, index: u32, owner: u32) {
        let Some(cell) = self.cell(index) else { return };
        if cell.owner.load(Relaxed) != owner {
            return;
        }
        let file = file_of(cell);
        let now = cell.state.load(Relaxed);
        cell.state.store(now & GENERATION | FREE, Release);
        // I2: last, so that an entry in the pool is always empty.
        let _ = cell.owner.compare_exchange(owner, 0, Release, Relaxed);
        if let Some((home, start)) = self.home(file) {
            let index = index as usize;
            let position = match index.checked_sub(start) {
                Some(position) => position,
                None => index.wrapping_add(self.cells.len()).wrapping_sub(start),
            };
            if position >= STRETCH as usize {
                home.free.fetch_min(position as u32, Relaxed);
            }
        }
    }

    /// Empties all that a process owns; how many. The caller has its byte (I10).
    pub fn clean(&self, owner: u32) -> u32 {
        let mut left = 0u32;
        for (word, bitmap) in (0u32..).zip(self.bitmap(owner)) {
            let mut bits = bitmap.load(Acquire);
            while bits != 0 {
                let stretch = word.wrapping_mul(u64::BITS) | bits.trailing_zeros();
                bits &= bits.wrapping_sub(1);
                let first = stretch.wrapping_mul(STRETCH);
                for index in first..first.saturating_add(STRETCH) {
                    let Some(cell) = self.cell(index) else { break };
                    if cell.owner.load(Acquire) == owner {
                        self.leave(index, owner);
                        left = left.saturating_add(1);
                    }
                }
            }
            bitmap.store(0, Relaxed); // I11: after the entries
        }
        left
    }

    fn bitmap(&self, owner: u32) -> &'a [W64] {
        let words = bitmap_words(self.cells.len() as u32) as usize;
        let first = (owner as usize).wrapping_sub(1).saturating_mul(words);
        self.bitmaps
            .get(first..first.saturating_add(words))
            .unwrap_or(&[])
    }

    fn mark_stretch(&self, owner: u32, index: usize) {
        let stretch = index as u32 / STRETCH;
        let bit = 1u64.wrapping_shl(stretch % u64::BITS);
        if let Some(word) = self.bitmap(owner).get((stretch / u64::BITS) as usize)
            && word.load(Relaxed) & bit == 0
        {
            word.fetch_or(bit, Relaxed);
        }
    }
}

fn file_of(cell: &EntryCell) -> FileId {
    FileId {
        dev: cell.dev.load(Relaxed),
        ino: cell.ino.load(Relaxed),
    }
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
    cell.reaches.store(0, Relaxed); // I15: nothing is known yet
    cell.state.store(next(now, LIVE), Release); // I4
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
            file: file_of(cell),
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
