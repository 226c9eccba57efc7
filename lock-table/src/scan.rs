//! Scans: whose claim is in the way of one. Where it may be is the hints' affair.

use core::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};

use crate::Table;
use crate::cells::SlotCell;
use crate::hints::{Buckets, Near, own_stack, place, words_of};
use crate::matrix::{Claim, conflict};
use crate::primitive::fence;
use crate::reading::{Blocker, Found, Position, Reading};
use crate::sizes::unit;
use crate::slots::{Slot, word};

/// The calling thread's other slots in use, of calls that the one that asks has interrupted: they go on when it has let go
/// again, the last one first. It waits for none of them, and passes by who must wait for one of them (I14).
#[derive(Clone, Copy, Debug)]
pub struct Mine<'a> {
    pub slots: &'a [Slot],
    /// So many of them, the first ones, hold what they announce: the call that took it has been told so.
    pub held: usize,
}

impl<'a> Mine<'a> {
    pub const NONE: Mine<'static> = Mine::of(&[]);

    /// Of which nothing more is known.
    pub const fn of(slots: &'a [Slot]) -> Mine<'a> {
        Mine { slots, held: 0 }
    }

    pub const fn held(slots: &'a [Slot]) -> Mine<'a> {
        let held = slots.len();
        Mine { slots, held }
    }
}

/// Who asks: the slots of the call itself, which don't exclude each other, and the thread's others.
#[derive(Clone, Copy)]
pub(crate) struct Own<'a> {
    pub call: &'a [Slot],
    pub mine: &'a Mine<'a>,
}

impl<'a> Own<'a> {
    pub const fn of(call: &'a [Slot], mine: &'a Mine<'a>) -> Own<'a> {
        Own { call, mine }
    }

    /// One slot, by itself.
    pub const ALONE: Own<'static> = Own::of(&[], &Mine::NONE);
}

pub(crate) enum Scan {
    Clear,
    Blocked(Found),
    /// The table holds what no fenced process writes.
    Absurd,
    /// The slot isn't this process's, or isn't free.
    NotOurs,
}

impl Table {
    /// Who is in the way of this claim right now? Looks only.
    pub fn blocker(&self, s: Slot, c: &Claim, mine: &[Slot]) -> Option<Blocker> {
        // Orders the caller's announcement before the scan: of two observers that collide at least one sees the other.
        fence(SeqCst);
        let near = Near::of(c);
        let scan = |own| {
            let mut scan = Scan::Clear;
            self.scan(Position::default(), &near, s, c, u64::MAX, own, &mut scan);
            scan
        };
        match scan(&Own::ALONE) {
            // Somebody else's claim is the better answer: look again without ours.
            Scan::Blocked(own) if mine.iter().any(|m| m.0 == own.at.slot) => {
                match scan(&Own::of(mine, &Mine::NONE)) {
                    Scan::Blocked(other) => Some(self.named(&other)),
                    _ => Some(self.named(&own)),
                }
            }
            Scan::Blocked(found) => Some(self.named(&found)),
            Scan::Clear | Scan::Absurd | Scan::NotOurs => None,
        }
    }

    /// Announces as held, then scans. On `Blocked` the announcement still stands.
    #[inline]
    pub(crate) fn try_claim(&self, s: Slot, c: &Claim) -> Scan {
        if self.is_poisoned() {
            return Scan::Absurd;
        }
        let Some(slot) = self.writable(s) else {
            return Scan::NotOurs;
        };
        let near = self.write(s, slot, c);
        // I1: my hints and my announcement stand before my scan's loads of the others'.
        fence(SeqCst);
        let (mut scan, from) = (Scan::Clear, Position::default());
        self.scan(from, &near, s, c, u64::MAX, &Own::ALONE, &mut scan);
        scan
    }

    /// Looks for a claim in the way, from a position on. A waiting one counts only if its ticket is not higher, and if it
    /// doesn't wait for the calling thread (I14). The caller has announced and fenced (I1).
    ///
    /// What it finds it puts into `scan`, which is clear: handed down, not up, for a copy in every frame is more than a
    /// small stack has room for.
    #[inline]
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn scan(
        &self,
        from: Position,
        near: &Near,
        me: Slot,
        c: &Claim,
        ticket: u64,
        own: &Own,
        scan: &mut Scan,
    ) {
        let mut look =
            |at: Position, cell: &SlotCell| self.look(at, cell, me, c, ticket, own, scan);
        match near {
            Near::Buckets(buckets) => self.scan_buckets(from, me, buckets, &mut look),
            Near::Everywhere => self.scan_all(from, &mut look),
        };
        // I3: relaxed loads that saw a later generation's fields, or a cleared hint, come after the release of the
        // earlier claim.
        fence(Acquire);
    }

    /// As long as `look` says so; whether it always did.
    #[inline]
    fn scan_buckets(
        &self,
        from: Position,
        me: Slot,
        buckets: &Buckets,
        look: &mut impl FnMut(Position, &SlotCell) -> bool,
    ) -> bool {
        let (mine, my_bit) = place(me);
        let my_stack = own_stack(mine);
        let mut at = from;
        while let Some(bucket) = buckets.get(at.bucket) {
            // I12: Relaxed: whose hint isn't seen hasn't fenced yet and will see us, or his claim has ended.
            let stacks = self.mem.hint_stacks(bucket);
            // Mostly there is nobody here but me. (Both loads at once: neither's address needs the other.)
            let beside_me = self.mem.hint_word(bucket, mine) & !my_bit;
            if (stacks & !my_stack != 0 || beside_me != 0)
                && !self.scan_bucket(at, bucket, stacks, me, look)
            {
                return false;
            }
            let bucket = at.bucket.wrapping_add(1);
            at = Position { bucket, slot: 0 };
        }
        true
    }

    #[inline(never)]
    fn scan_bucket(
        &self,
        from: Position,
        bucket: u32,
        stacks: u64,
        me: Slot,
        look: &mut impl FnMut(Position, &SlotCell) -> bool,
    ) -> bool {
        let (first, first_bit) = place(Slot(from.slot));
        for word in words_of(stacks, first, self.mem.used_hint_words()) {
            let mut bits = self.mem.hint_word(bucket, word);
            if word == first {
                bits &= first_bit.wrapping_neg(); // the slots from there on
            }
            while bits != 0 {
                let slot = word.wrapping_mul(u64::BITS) | bits.trailing_zeros();
                bits &= bits.wrapping_sub(1);
                if slot == me.0 {
                    continue;
                }
                // A bit beyond the last slot was set by no fenced process.
                let Some(cell) = self.mem.slot(slot) else {
                    break;
                };
                let bucket = from.bucket;
                if !look(Position { bucket, slot }, cell) {
                    return false;
                }
            }
        }
        true
    }

    fn scan_all(&self, from: Position, look: &mut impl FnMut(Position, &SlotCell) -> bool) -> bool {
        for (base, cells) in self.mem.used_slots() {
            let skip = from.slot.saturating_sub(base);
            let rest = cells.get(skip as usize..).unwrap_or(&[]);
            for (slot, cell) in (base.saturating_add(skip)..).zip(rest) {
                if !look(Position { bucket: 0, slot }, cell) {
                    return false;
                }
            }
        }
        true
    }

    /// Is what this slot announces in the way? Whether the scan goes on; if not, what has ended it.
    #[inline]
    #[allow(clippy::too_many_arguments)]
    fn look(
        &self,
        at: Position,
        cell: &SlotCell,
        me: Slot,
        c: &Claim,
        ticket: u64,
        own: &Own,
        end: &mut Scan,
    ) -> bool {
        // Acquire: the fields that follow are of this generation or a later one (I4).
        if cell.state.load(Acquire) & word::STATE <= word::WRITING {
            return true; // free, or being written: its owner has not fenced yet and will see us (I1, I5)
        }
        // Another file's inode may also be that of a later generation, which will see us (I5).
        if cell.ino.load(Relaxed) != c.file.ino || at.slot == me.0 {
            return true;
        }
        // Nothing is excluded further off than a unit. If one of the two is a later generation's, skipping is right as
        // well (I5).
        let shift = unit().trailing_zeros();
        if cell.first.load(Relaxed) >> shift > c.last >> shift
            || cell.last.load(Relaxed) >> shift < c.first >> shift
        {
            return true;
        }
        self.goes_by(at, cell, c, ticket, own, end)
    }

    fn goes_by(
        &self,
        at: Position,
        cell: &SlotCell,
        c: &Claim,
        ticket: u64,
        own: &Own,
        end: &mut Scan,
    ) -> bool {
        match self.read_slot(at.slot, cell) {
            Reading::Nothing => true,
            Reading::Absurd => {
                self.poison();
                *end = Scan::Absurd;
                false
            }
            Reading::Claim {
                mut found,
                ticket: its,
            } => {
                found.at = at;
                let waits = found.word & word::STATE == word::WAITING;
                if waits && its > ticket
                    || !conflict(c, &found.claim)
                    || own.call.iter().any(|i| i.0 == at.slot)
                    || waits
                        && !own.mine.slots.is_empty()
                        && self.waits_for_one_of(own.mine, &found.claim, its)
                {
                    return true;
                }
                *end = Scan::Blocked(found);
                false
            }
        }
    }

    /// Is one who waits for this claim, with this ticket, kept out by what the calling thread holds, or waits for in front
    /// of him (I14)? If not from this claim, then from another of his call: he comes to hold all of them, or none.
    #[cold]
    #[inline(never)]
    fn waits_for_one_of(&self, mine: &Mine, theirs: &Claim, their_ticket: u64) -> bool {
        self.is_kept_out(mine, theirs, their_ticket) || self.others_wait(mine, their_ticket)
    }

    /// The same of all claims that wait, or are about to wait, with this ticket, which is one call's.
    #[cold]
    #[inline(never)]
    fn others_wait(&self, mine: &Mine, ticket: u64) -> bool {
        let is_one = |(i, cell): (u32, &SlotCell)| {
            // Most are free, or another's.
            if cell.ticket.load(Relaxed) != ticket {
                return false;
            }
            match self.read_slot(i, cell) {
                Reading::Claim { found, ticket: its } => {
                    its == ticket
                        && found.word & word::STATE != word::HELD
                        && self.is_kept_out(mine, &found.claim, ticket)
                }
                Reading::Nothing | Reading::Absurd => false,
            }
        };
        let used = self.mem.used_slots();
        used.into_iter()
            .any(|(base, cells)| (base..).zip(cells).any(is_one))
    }

    #[inline(never)]
    fn is_kept_out(&self, mine: &Mine, theirs: &Claim, their_ticket: u64) -> bool {
        let keeps_out = |(i, m): (usize, &Slot)| {
            // Nobody else moves them, so they needn't be read in one piece: that takes more of a small stack.
            self.own(*m).is_some_and(|cell| {
                let first = match cell.state.load(Relaxed) & word::STATE {
                    word::HELD => i < mine.held,
                    word::WAITING => cell.ticket.load(Relaxed) < their_ticket,
                    _ => false,
                };
                first && cell.claim().is_some_and(|own| conflict(theirs, &own))
            })
        };
        mine.slots.iter().enumerate().any(keeps_out)
    }
}
