//! The register of mappings: which parts of a file some process may dirty through memory.

use core::sync::atomic::Ordering::{Acquire, Relaxed};

use crate::matrix::{FileId, UNIT};
use crate::register::{self, Entry, Read};
use crate::{Owner, Table};

pub(crate) const WRITABLE: u32 = 1;

/// A registered mapping of this process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MapEntry(pub(crate) u32);

impl MapEntry {
    pub fn index(self) -> u32 {
        self.0
    }
}

impl Table {
    /// Registers a mapping. The caller holds the range as a buffered write while it does so, and maps afterwards:
    /// whoever takes the range later finds the entry. `None`: the register is full, or this process isn't registered.
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
        register::enter(
            self.mem.mappings(),
            &self.mem.header().mappings_used,
            &self.free_mapping,
            &entry,
        )
        .map(MapEntry)
    }

    /// Forgets a mapping. An entry of the parent's does nothing in a forked child.
    pub fn map_forget(&self, e: MapEntry) {
        let (Some(cell), Some(me)) = (self.mem.mappings().get(e.0 as usize), self.me()) else {
            return;
        };
        register::leave(cell, me);
        self.free_mapping.fetch_min(e.0, Relaxed);
    }

    /// Who, if anybody, has a writable mapping that overlaps the range, both rounded out to units? The caller holds
    /// the range: that orders this after the registration of every mapping that could be dirtied meanwhile.
    pub fn mapped_writable(&self, file: FileId, first: u64, last: u64) -> Option<Owner> {
        let unit = UNIT.trailing_zeros();
        let cells = register::used(self.mem.mappings(), &self.mem.header().mappings_used);
        cells.iter().find_map(|cell| {
            // I4: Acquire: the inode is of this generation or a later one. If of a later one, this one was forgotten.
            if !register::is(cell.state.load(Acquire), register::LIVE)
                || cell.ino.load(Relaxed) != file.ino
            {
                return None;
            }
            match register::read(cell) {
                Read::Entry(e)
                    if e.file == file
                        && e.bits & WRITABLE != 0
                        && e.first >> unit <= last >> unit
                        && first >> unit <= e.last >> unit =>
                {
                    Some(self.owner_at(e.owner))
                }
                Read::Entry(_) | Read::Nothing => None,
                // It could be of this file: falling back is always right.
                Read::Restless => Some(self.owner_at(cell.owner.load(Relaxed))),
            }
        })
    }
}
