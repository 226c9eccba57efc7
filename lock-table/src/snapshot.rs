//! The table as plain data, for the command that shows it. The only place that allocates.

use core::sync::atomic::Ordering::Relaxed;

use crate::cells::EntryCell;
use crate::mappings::WRITABLE;
use crate::matrix::{Claim, FileId};
use crate::reading::Reading;
use crate::register::{self, Entry, Read, Register};
use crate::slots::word;
use crate::uses::Says;
use crate::{Geometry, Owner, Table};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProcessInfo {
    pub index: u32,
    pub owner: Owner,
    pub alive: bool,
    /// CLOCK_MONOTONIC, when it registered.
    pub since_ns: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlotState {
    /// Drawing a ticket: about to wait.
    Choosing,
    Waiting,
    Held,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotInfo {
    pub index: u32,
    /// `ProcessInfo::index` of its owner.
    pub process: u32,
    pub owner: Owner,
    /// Another one: another claim.
    pub generation: u32,
    /// 0: an asynchronous request.
    pub thread: u32,
    pub state: SlotState,
    pub claim: Claim,
    /// The order of the waiting.
    pub ticket: u64,
    /// The slot that a waiting one waits for.
    pub waiting_on: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MappingInfo {
    pub process: u32,
    pub owner: Owner,
    pub file: FileId,
    pub first: u64,
    pub last: u64,
    pub writable: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UseInfo {
    pub process: u32,
    pub owner: Owner,
    pub file: FileId,
    /// `USE_*`.
    pub bits: u32,
    /// Somebody uses it directly: what isn't direct takes ranges.
    pub locks: bool,
    /// And somebody through the page cache.
    pub mixed: bool,
    /// All its use is direct, and calls that move nothing take none.
    pub direct_alone: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnverifiedInfo {
    pub file: FileId,
    pub first: u64,
    pub last: u64,
}

/// What a slot has announced so far, since the table was made: whoever had it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotCount {
    pub index: u32,
    /// `ProcessInfo::index` of its owner.
    pub process: u32,
    pub thread: u32,
    /// Modulo `COUNTS_TO`. A call that waits announces more than once.
    pub announced: u32,
}

/// A slot's count begins anew there.
pub const COUNTS_TO: u32 = 1 << 28;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    pub geometry: Geometry,
    pub poisoned: bool,
    pub processes: Vec<ProcessInfo>,
    pub slots: Vec<SlotInfo>,
    pub mappings: Vec<MappingInfo>,
    pub uses: Vec<UseInfo>,
    pub unverified: Vec<UnverifiedInfo>,
}

fn entries<'a>(register: Register<'a>) -> impl Iterator<Item = (&'a EntryCell, Entry)> {
    let cells = register.cells.iter();
    cells.filter_map(|cell| match register::read(cell) {
        Read::Entry(e) => Some((cell, e)),
        _ => None,
    })
}

impl Table {
    /// What the table says now. Each line is read in one piece; the whole is not of one instant.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            geometry: *self.mem.geometry(),
            poisoned: self.is_poisoned(),
            processes: self.process_infos(),
            slots: self.slot_infos(),
            mappings: entries(self.mem.mappings())
                .map(|(_, e)| MappingInfo {
                    process: e.owner.saturating_sub(1),
                    owner: self.owner_at(e.owner),
                    file: e.file,
                    first: e.first,
                    last: e.last,
                    writable: e.bits & WRITABLE != 0,
                })
                .collect(),
            uses: entries(self.mem.uses())
                .map(|(cell, e)| {
                    let says = Says(cell.locks.load(Relaxed));
                    UseInfo {
                        process: e.owner.saturating_sub(1),
                        owner: self.owner_at(e.owner),
                        file: e.file,
                        bits: e.bits,
                        locks: says.locks(),
                        mixed: says.mixed(),
                        direct_alone: says.direct_alone(),
                    }
                })
                .collect(),
            unverified: self
                .mem
                .unverified()
                .iter()
                .filter_map(|cell| match register::read(cell) {
                    Read::Entry(e) => Some(UnverifiedInfo {
                        file: e.file,
                        first: e.first,
                        last: e.last,
                    }),
                    _ => None,
                })
                .collect(),
        }
    }

    /// How much each slot that somebody has announced, for rates: the differences between two looks.
    pub fn counts(&self) -> Vec<SlotCount> {
        let mut counts = Vec::new();
        for (base, cells) in self.mem.used_slots() {
            for (index, cell) in (base..).zip(cells) {
                let Some(process) = cell.owner.load(Relaxed).checked_sub(1) else {
                    continue;
                };
                counts.push(SlotCount {
                    index,
                    process,
                    thread: cell.thread.load(Relaxed),
                    announced: word::count(cell.state.load(Relaxed)),
                });
            }
        }
        counts
    }

    /// How much has been announced in all since the table was made. A slot's share begins anew at `COUNTS_TO`.
    pub fn announcements(&self) -> u64 {
        let slots = self.mem.used_slots();
        let cells = slots.iter().flat_map(|(_, cells)| *cells);
        cells.fold(0, |all, cell| {
            all.wrapping_add(word::count(cell.state.load(Relaxed)).into())
        })
    }

    /// How many claims have queued since the table was made.
    pub fn queued(&self) -> u64 {
        self.mem.header().ticket.load(Relaxed)
    }

    fn process_infos(&self) -> Vec<ProcessInfo> {
        let mut infos = Vec::new();
        for (owner, process) in (1u32..).zip(self.mem.processes()) {
            if process.state.load(Relaxed) != 0 {
                infos.push(ProcessInfo {
                    index: owner.saturating_sub(1),
                    owner: self.owner_at(owner),
                    alive: self.lives(owner),
                    since_ns: process.since.load(Relaxed),
                });
            }
        }
        infos
    }

    fn slot_infos(&self) -> Vec<SlotInfo> {
        let mut infos = Vec::new();
        for (base, cells) in self.mem.used_slots() {
            for (index, cell) in (base..).zip(cells) {
                let Reading::Claim { found, ticket } = self.read_slot(index, cell) else {
                    continue;
                };
                let state = match found.word & word::STATE {
                    word::CHOOSING => SlotState::Choosing,
                    word::WAITING => SlotState::Waiting,
                    _ => SlotState::Held,
                };
                let waiting_on = match state {
                    SlotState::Waiting => cell.waiting_on.load(Relaxed).checked_sub(1),
                    _ => None,
                };
                infos.push(SlotInfo {
                    index,
                    process: found.owner.saturating_sub(1),
                    owner: self.owner_at(found.owner),
                    generation: found.word & word::GENERATION,
                    thread: found.thread,
                    state,
                    claim: found.claim,
                    ticket,
                    waiting_on,
                });
            }
        }
        infos
    }
}
