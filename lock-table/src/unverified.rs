//! Ranges of direct writes whose process died holding them: the write may have been done and its pages in the cache
//! not dropped. A ring: when it is full the oldest is forgotten.

use core::sync::atomic::Ordering::{AcqRel, Relaxed, Release};

use crate::Table;
use crate::cells::EntryCell;
use crate::geometry::UNVERIFIED;
use crate::matrix::{Claim, FileId};
use crate::primitive::fence;
use crate::register::{self, Entry, FREE, LIVE, Read, WRITING};

impl Table {
    /// Remembers a dead writer's range. Doing it twice is harmless: reapers may be killed and start again.
    #[inline(never)]
    pub(crate) fn remember_unverified(&self, c: &Claim) {
        let entry = Entry {
            owner: 0,
            bits: 0,
            file: c.file,
            first: c.first,
            last: c.last,
        };
        let ring = self.mem.unverified();
        if ring
            .iter()
            .any(|cell| matches!(register::read(cell), Read::Entry(e) if e == entry))
        {
            return;
        }
        let free = ring
            .iter()
            .find(|cell| register::is(cell.state.load(Relaxed), FREE));
        let next = self
            .mem
            .header()
            .unverified_next
            .fetch_add(1, Relaxed)
            .checked_rem(UNVERIFIED)
            .unwrap_or(0);
        let Some(cell) = free.or_else(|| ring.get(next as usize)) else {
            return;
        };
        let now = cell.state.load(Relaxed);
        let writing = register::next(now, WRITING);
        // Two reapers may want the same entry; one left half-written by a kill is taken over like any other.
        if cell
            .state
            .compare_exchange(now, writing, AcqRel, Relaxed)
            .is_err()
        {
            return self.remember_in(ring, &entry);
        }
        fill(cell, writing, &entry);
    }

    /// The slow way round: any entry that can be had.
    fn remember_in(&self, ring: &[EntryCell], entry: &Entry) {
        for cell in ring {
            let now = cell.state.load(Relaxed);
            let writing = register::next(now, WRITING);
            if register::is(now, FREE)
                && cell
                    .state
                    .compare_exchange(now, writing, AcqRel, Relaxed)
                    .is_ok()
            {
                return fill(cell, writing, entry);
            }
        }
    }

    /// The ranges of a file that wait to be verified.
    pub fn unverified(&self, file: FileId, f: &mut dyn FnMut(u64, u64)) {
        for cell in self.remembered() {
            if let Read::Entry(e) = register::read(cell)
                && e.file == file
                && e.first <= e.last
            {
                f(e.first, e.last);
            }
        }
    }

    /// The ring, or nothing of it as long as nobody has died so: whoever opens a file asks.
    fn remembered(&self) -> &[EntryCell] {
        match self.mem.header().unverified_next.load(Relaxed) {
            0 => &[],
            _ => self.mem.unverified(),
        }
    }

    /// Forgets the ranges of a file that lie within `first..=last`: they were repaired.
    pub fn verified(&self, file: FileId, first: u64, last: u64) {
        for cell in self.remembered() {
            let now = cell.state.load(Relaxed);
            if let Read::Entry(e) = register::read(cell)
                && e.file == file
                && first <= e.first
                && e.last <= last
            {
                // Only this very entry: a newer one in its place has another word.
                let _ =
                    cell.state
                        .compare_exchange(now, register::next(now, FREE), Release, Relaxed);
            }
        }
    }
}

fn fill(cell: &EntryCell, writing: u32, e: &Entry) {
    fence(Release); // I4
    cell.bits.store(0, Relaxed);
    cell.dev.store(e.file.dev, Relaxed);
    cell.ino.store(e.file.ino, Relaxed);
    cell.first.store(e.first, Relaxed);
    cell.last.store(e.last, Relaxed);
    // Not if somebody took it over meanwhile.
    let _ = cell
        .state
        .compare_exchange(writing, register::next(writing, LIVE), Release, Relaxed);
}
