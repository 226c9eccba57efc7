//! Handles as plain numbers, for callers that keep them in words of their own.

use crate::Table;
use crate::mappings::MapEntry;
use crate::slots::Slot;
use crate::uses::UseEntry;

impl Table {
    /// The slot of this index, if the table has one.
    #[inline]
    pub fn slot_at(&self, index: u32) -> Option<Slot> {
        self.mem.slot(index).map(|_| Slot(index))
    }

    /// The register entry of this index, if the table has one.
    #[inline]
    pub fn use_at(&self, index: u32) -> Option<UseEntry> {
        self.mem.uses().cell(index).map(|_| UseEntry(index))
    }

    pub fn map_at(&self, index: u32) -> Option<MapEntry> {
        self.mem.mappings().cell(index).map(|_| MapEntry(index))
    }

    /// Whether the table is mapped at that address.
    pub fn is_at(&self, address: usize) -> bool {
        let (start, length) = self.mem.mapping();
        let behind = address.wrapping_sub(start as usize);
        behind < length || address == self.life.load(core::sync::atomic::Ordering::Relaxed)
    }

    /// Whether slots run out (three quarters of the pool lie below this one): then a thread gives its slot back after each
    /// call instead of keeping it, and what keeps a request's does so, too.
    pub fn slot_is_scarce(&self, slot: Slot) -> bool {
        let (threads, requests) = (self.mem.geometry().slots, self.mem.geometry().requests);
        let last_of = |end: u32, all: u32| end.saturating_sub(all.div_ceil(4))..end;
        last_of(threads, threads).contains(&slot.0)
            || last_of(threads.saturating_add(requests), requests).contains(&slot.0)
    }
}
