//! Slots: taking one from the pool, announcing a claim in it, scanning the others, letting go.

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

use crate::hints::{Buckets, Near, own_stack, place, words_of};
use crate::matrix::{Claim, FileId, Mode, conflict};
use crate::memory::SlotCell;
use crate::primitive::{block_signals, fence, now_ns, restore_signals};
use crate::sizes::unit;
use crate::{NotHeld, Owner, Table};

/// The state word: the low three bits say what the slot is, the fourth that somebody sleeps on it, the rest is the
/// generation: one more with every announcement. It is also the futex word.
pub(crate) mod word {
    pub const FREE: u32 = 0;
    pub const WRITING: u32 = 1;
    pub const CHOOSING: u32 = 2;
    pub const WAITING: u32 = 3;
    pub const HELD: u32 = 4;
    pub const STATE: u32 = 7;
    pub const WAITERS: u32 = 8;
    pub const GENERATION: u32 = !15;
    const ONE_GENERATION: u32 = 16;

    #[inline]
    pub fn next(word: u32, state: u32) -> u32 {
        (word & GENERATION).wrapping_add(ONE_GENERATION) | state
    }

    #[inline]
    pub fn with(word: u32, state: u32) -> u32 {
        word & GENERATION | state
    }
}

const ATOMIC: u32 = 256;
/// How often a slot is read anew while its owner moves it along. Within one generation it moves three times at most.
const READS: u32 = 8;

/// How long it is known that the living have all slots, in nanoseconds.
const VAIN: u64 = 100_000_000;

/// A slot of this process, from `Table::take_slot`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Slot(pub(crate) u32);

impl Slot {
    pub fn index(self) -> u32 {
        self.0
    }
}

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
    bucket: u8,
    pub slot: u32,
}

pub(crate) enum Scan {
    Clear,
    Blocked(Found),
    /// The table holds what no fenced process writes.
    Absurd,
    /// The slot isn't this process's, or isn't free.
    NotOurs,
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
    fn claim(&self) -> Option<Claim> {
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
    /// Takes a slot from the pool for a thread (its number as the program's reports should show it, not 0). `None`
    /// when the living have all of them or this process isn't registered. Whether they live is asked ten times a second at
    /// most: that costs too much to do it for every thread that looks again and again.
    pub fn take_slot(&self, thread: u32) -> Option<Slot> {
        let take = || self.take(0, self.mem.geometry().slots, thread);
        take().or_else(|| {
            if now_ns() < self.vain_until.load(Relaxed) {
                return None;
            }
            let got = self.or_reap(take);
            if got.is_none() {
                let until = now_ns().saturating_add(VAIN);
                self.vain_until.store(until, Relaxed);
            }
            got
        })
    }

    /// The same for an asynchronous request, which belongs to no thread.
    pub fn take_request_slot(&self) -> Option<Slot> {
        let g = self.mem.geometry();
        self.or_reap(|| self.take(g.slots, g.requests, 0))
    }

    fn take(&self, from: u32, count: u32, thread: u32) -> Option<Slot> {
        let me = self.me()?;
        let mark = if from == 0 {
            &self.mem.header().slots_used
        } else {
            &self.mem.header().requests_used
        };
        for index in from..from.saturating_add(count) {
            let slot = self.mem.slot(index)?;
            // I2: the owner goes in with the claim on the slot itself, so that a kill right after it leaves
            // nothing that a reaper can't find. Acquire: what the last owner left is behind us.
            if slot.owner.load(Relaxed) != 0 {
                continue;
            }
            // I7: before the owner, or a reaper would not find what a kill leaves right here; and before the first
            // announcement, whose fence orders it for every scan.
            mark.fetch_max(index.saturating_sub(from).saturating_add(1), Relaxed);
            if slot.owner.compare_exchange(0, me, AcqRel, Relaxed).is_err() {
                continue;
            }
            slot.thread.store(thread, Relaxed);
            slot.waiting_on.store(0, Relaxed);
            return Some(Slot(index));
        }
        None
    }

    /// Gives a slot back to the pool.
    pub fn give_slot(&self, s: Slot) {
        // A handler that forked in the middle would have the child go on with the parent's slot.
        let signals = block_signals();
        self.release(s);
        if let (Some(slot), Some(me)) = (self.own(s), self.me()) {
            self.clear_hints(s, slot); // I2
            let _ = slot.owner.compare_exchange(me, 0, Release, Relaxed);
        }
        restore_signals(signals);
    }

    /// Announces a claim without looking at the others' and without a fence: for calls that take no lock but must be
    /// seen by those who do (observing; a file used in one mode only; I8). Ended by `release`.
    #[inline]
    pub fn announce(&self, s: Slot, c: &Claim) {
        if let Some(slot) = self.own(s) {
            self.write(s, slot, c);
        }
    }

    /// Lets go of whatever the slot announces, and wakes those who sleep on it. A slot of the parent's is left alone
    /// in a forked child.
    #[inline]
    pub fn release(&self, s: Slot) {
        let Some(slot) = self.mem.slot(s.0) else {
            return;
        };
        // Read before asking whose it is: a handler may fork in between, and then this is the parent's claim, and its
        // next one is of another generation.
        let seen = slot.state.load(Acquire);
        if self.own(s).is_none() {
            return;
        }
        let mut now = seen;
        while now & word::STATE != word::FREE && now & word::GENERATION == seen & word::GENERATION {
            let free = word::with(now, word::FREE);
            // I3: Release: whoever reads FREE (or a later generation) comes after all that was done under the claim.
            match slot.state.compare_exchange(now, free, Release, Relaxed) {
                Ok(_) if now & word::WAITERS != 0 => return slot.state.wake(),
                Ok(_) => return,
                Err(moved) => now = moved, // the waiters' flag
            }
        }
    }

    /// Takes the range if nobody is in the way: with a deadline that is over already, a conflict is `TimedOut`. Two that
    /// try at the same instant may both fail. The calling thread's other slots conflict like any other.
    #[inline]
    pub fn hold_now(&self, s: Slot, c: &Claim) -> Result<(), NotHeld> {
        let why = match self.try_claim(s, c) {
            Scan::Clear => return Ok(()),
            Scan::Blocked(found) => NotHeld::TimedOut(self.named(&found)),
            Scan::Absurd => NotHeld::Poisoned,
            Scan::NotOurs => return Err(NotHeld::NotOurs),
        };
        self.release(s);
        Err(why)
    }

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

    /// Announces a claim as held, in a new generation. Says where to look for others.
    #[inline]
    pub(crate) fn write(&self, s: Slot, slot: &SlotCell, c: &Claim) -> Near {
        let near = self.hint(s, slot, c); // I12
        let now = slot.state.load(Relaxed);
        // I3: Release: who passes this slot by because it is being written comes after its earlier claim.
        slot.state.store(word::next(now, word::WRITING), Release);
        // I4: Release: a reader that meets one of the fields below finds at least this generation in the word.
        fence(Release);
        slot.dev.store(c.file.dev, Relaxed);
        slot.ino.store(c.file.ino, Relaxed);
        slot.first.store(c.first, Relaxed);
        // Never backwards, whatever the caller says: readers would take the table for damaged.
        slot.last.store(c.last.max(c.first), Relaxed);
        let atomic = if c.atomic { ATOMIC } else { 0 };
        slot.mode.store(c.mode as u32 | atomic, Relaxed);
        // I4: Release: a reader of this word finds the fields.
        slot.state.store(word::next(now, word::HELD), Release);
        near
    }

    /// A slot of ours that is free.
    #[inline]
    pub(crate) fn writable(&self, s: Slot) -> Option<&SlotCell> {
        self.own(s)
            .filter(|slot| slot.state.load(Relaxed) & word::STATE == word::FREE)
    }

    /// One of the parent's is refused in a forked child.
    #[inline]
    pub(crate) fn own(&self, s: Slot) -> Option<&SlotCell> {
        let slot = self.mem.slot(s.0)?;
        let me = self.me.load(Relaxed);
        (me != 0 && slot.owner.load(Relaxed) == me).then_some(slot)
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
    /// of him (I14)?
    #[cold]
    #[inline(never)]
    fn waits_for_one_of(&self, mine: &Mine, theirs: &Claim, their_ticket: u64) -> bool {
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
