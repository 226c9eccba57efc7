//! What a slot says: read in one piece while its owner may move it, and told to people.

use core::sync::atomic::Ordering::{Acquire, Relaxed};

use crate::cells::SlotCell;
use crate::matrix::{Claim, FileId, Mode};
use crate::primitive::fence;
use crate::slots::{ATOMIC, Slot, word};
use crate::{Owner, Table};

/// How often a slot is read anew while its owner moves it along. Within one generation it moves three times at most.
const READS: u32 = 8;

/// Whose claim is in the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Blocker {
    pub owner: Owner,
    /// The thread that the slot was taken for; 0 for an asynchronous request.
    pub thread: u32,
    pub claim: Claim,
    pub slot: Slot,
}

/// A claim in the way, as the scan met it.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    /// Where: a scan goes on from there.
    pub at: Position,
    /// The state word without the waiters' flag.
    pub word: u32,
    pub owner: u32,
    pub thread: u32,
    pub claim: Claim,
}

/// How far a scan has come: the bucket by its place in the list, and the slot.
#[derive(Clone, Copy, Default)]
pub(crate) struct Position {
    pub bucket: u8,
    pub slot: u32,
}

/// What a slot says when it is read in one piece.
pub(crate) enum Reading {
    Nothing,
    Claim { found: Found, ticket: u64 },
    Absurd,
}

impl SlotCell {
    /// What its fields say. None: no mode that there is.
    #[inline(always)]
    pub(crate) fn claim(&self) -> Option<Claim> {
        let file = FileId {
            dev: self.dev.load(Relaxed),
            ino: self.ino.load(Relaxed),
        };
        let (first, last) = (self.first.load(Relaxed), self.last.load(Relaxed));
        let mode = self.mode.load(Relaxed);
        Some(Claim {
            file,
            first,
            last,
            mode: Mode::from_u8(u8::try_from(mode & !ATOMIC).ok()?)?,
            atomic: mode & ATOMIC != 0,
        })
    }
}

impl Table {
    /// Reads a slot in one piece.
    pub(crate) fn read_slot(&self, at: u32, cell: &SlotCell) -> Reading {
        for _ in 0..READS {
            let before = cell.state.load(Acquire) & !word::WAITERS;
            if before & word::STATE <= word::WRITING {
                return Reading::Nothing;
            }
            let (claim, ticket) = (cell.claim(), cell.ticket.load(Relaxed));
            let (owner, thread) = (cell.owner.load(Relaxed), cell.thread.load(Relaxed));
            // I4: Acquire: if a field was of a later generation, so is the word read next.
            fence(Acquire);
            let after = cell.state.load(Relaxed) & !word::WAITERS;
            if after & word::GENERATION != before & word::GENERATION {
                return Reading::Nothing; // a later generation fenced after us, or will, and sees us (I5)
            }
            if after != before {
                continue;
            }
            return match claim {
                Some(claim)
                    if claim.first <= claim.last
                        && before & word::STATE <= word::HELD
                        && (1..=self.mem.geometry().processes).contains(&owner) =>
                {
                    Reading::Claim {
                        found: Found {
                            at: Position {
                                bucket: 0,
                                slot: at,
                            },
                            word: before,
                            owner,
                            thread,
                            claim,
                        },
                        ticket,
                    }
                }
                _ => Reading::Absurd,
            };
        }
        Reading::Absurd // no owner moves that often within a generation
    }

    #[cold]
    pub(crate) fn named(&self, found: &Found) -> Blocker {
        let owner = self.owner_at(found.owner);
        Blocker {
            owner,
            thread: found.thread,
            claim: found.claim,
            slot: Slot(found.at.slot),
        }
    }
}
