//! The register of mappings: which parts of a file some process may dirty through memory.

use core::sync::atomic::Ordering::Relaxed;

use crate::matrix::FileId;
use crate::primitive::now_ns;
use crate::register::{Entry, Read};
use crate::sizes::unit;
use crate::{Owner, Table};

pub(crate) const WRITABLE: u32 = 1;
/// How long it isn't asked again whether who has mapped something lives, in nanoseconds.
const NOT_AGAIN_FOR: u64 = 10_000_000;

/// A registered mapping of this process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MapEntry(pub(crate) u32);

impl MapEntry {
    pub fn index(self) -> u32 {
        self.0
    }
}

/// Do two ranges meet, both rounded out to units?
pub fn in_one_unit(p: (u64, u64), q: (u64, u64)) -> bool {
    let unit = unit().trailing_zeros();
    p.0 >> unit <= q.1 >> unit && q.0 >> unit <= p.1 >> unit
}

impl Table {
    /// Registers a mapping. The caller holds the range as a buffered write while it does so, and maps afterwards:
    /// whoever takes the range later finds the entry. `None`: the register is full of the living's, or this process
    /// isn't registered.
    pub fn map_register(
        &self,
        file: FileId,
        first: u64,
        last: u64,
        writable: bool,
    ) -> Option<MapEntry> {
        let entry = Entry {
            owner: self.me()?,
            bits: if writable { WRITABLE } else { 0 },
            file,
            first,
            last,
        };
        let index = self.or_reap(|| self.mem.mappings().enter(&entry))?;
        Some(MapEntry(index))
    }

    /// Forgets a mapping. An entry of the parent's does nothing in a forked child.
    pub fn map_forget(&self, e: MapEntry) {
        if let Some(me) = self.me() {
            self.mem.mappings().leave(e.0, me);
        }
    }

    /// Who, if anybody, has a writable mapping that overlaps the range, both rounded out to units? The caller holds
    /// the range: that orders this after the registration of every mapping that could be dirtied meanwhile. Those of the
    /// dead count for nothing, as soon as it is known that they are.
    pub fn mapped_writable(&self, file: FileId, first: u64, last: u64) -> Option<Owner> {
        let mut found = self.mapper(file, (first, last))?;
        while self.is_cleaned_away(found) {
            let next = self.mapper(file, (first, last))?;
            if next == found {
                break;
            }
            found = next;
        }
        Some(self.owner_at(found))
    }

    /// The number of the first.
    fn mapper(&self, file: FileId, range: (u64, u64)) -> Option<u32> {
        let mut mappings = self.mem.mappings().of_file(file);
        mappings.find_map(|(_, cell, read)| match read {
            Read::Entry(e) if e.bits & WRITABLE != 0 && in_one_unit((e.first, e.last), range) => {
                Some(e.owner)
            }
            Read::Entry(_) | Read::Nothing => None,
            // It could be of this file: falling back is always right.
            Read::Restless => Some(cell.owner.load(Relaxed)),
        })
    }

    /// Is that one dead, and cleaned up after? Asked a hundred times a second at most: it takes a system call.
    #[cold]
    #[inline(never)]
    fn is_cleaned_away(&self, owner: u32) -> bool {
        let now = now_ns();
        if Some(owner) == self.me() || now < self.lived_until.load(Relaxed) {
            return false;
        }
        if self.lives(owner) {
            self.lived_until
                .store(now.saturating_add(NOT_AGAIN_FOR), Relaxed);
            return false;
        }
        self.reap_one(owner);
        true
    }
}
