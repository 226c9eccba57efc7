//! Slots: taking one from the pool, announcing a claim in it, letting go, giving it back.

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::Table;
use crate::cells::SlotCell;
use crate::hints::{Near, is_hinted_wide};
use crate::matrix::{Claim, Mode};
use crate::primitive::{block_signals, fence, now_ns, restore_signals};

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

    /// How many announcements there have been, modulo `COUNTS_TO`.
    pub fn count(word: u32) -> u32 {
        (word & GENERATION) / ONE_GENERATION
    }

    #[inline]
    pub fn with(word: u32, state: u32) -> u32 {
        word & GENERATION | state
    }
}

/// In the word of a claim's mode: it is atomic.
pub(crate) const ATOMIC: u32 = 256;

#[inline]
pub(crate) fn mode_word(mode: Mode, atomic: bool) -> u32 {
    mode as u32 | if atomic { ATOMIC } else { 0 }
}

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
    pub fn announce(&self, s: Slot, c: &Claim) {
        self.announced(s, c);
    }

    /// The same, for whoever lets go of it without looking for the slot again: the way of most calls. `None`: the slot isn't
    /// this process's.
    #[inline(always)]
    pub fn announced(&self, s: Slot, c: &Claim) -> Option<Announced<'_>> {
        let cell = self.own(s)?;
        if !self.write_again(cell, c) {
            self.write_first(s, cell, *c);
        }
        Some(Announced {
            table: self,
            cell,
            slot: s,
        })
    }

    #[cold]
    #[inline(never)]
    fn write_first(&self, s: Slot, cell: &SlotCell, c: Claim) {
        self.write(s, cell, &c);
    }

    /// Says it again where the slot's last claim was this one, and a wide one: its fields and its hint stand as they are.
    #[inline(always)]
    fn write_again(&self, slot: &SlotCell, c: &Claim) -> bool {
        let stands = slot.ino.load(Relaxed) == c.file.ino
            && slot.dev.load(Relaxed) == c.file.dev
            && slot.mode.load(Relaxed) == mode_word(c.mode, c.atomic)
            && slot.first.load(Relaxed) == c.first
            && slot.last.load(Relaxed) == c.last
            && is_hinted_wide(slot, c);
        if stands {
            let now = slot.state.load(Relaxed);
            // I3, I4: Release, as below.
            slot.state.store(word::next(now, word::HELD), Release);
        }
        stands
    }

    /// Lets go of whatever the slot announces, and wakes those who sleep on it. A slot of the parent's is left alone
    /// in a forked child.
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
        slot.mode.store(mode_word(c.mode, c.atomic), Relaxed);
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
        self.mem
            .slot(s.0)
            .filter(|slot| self.is_of_this_process(slot))
    }

    #[inline(always)]
    fn is_of_this_process(&self, slot: &SlotCell) -> bool {
        let me = self.me.load(Relaxed);
        me != 0 && slot.owner.load(Relaxed) == me
    }
}

/// What a slot announces: see [`Table::announced`].
pub struct Announced<'t> {
    table: &'t Table,
    cell: &'t SlotCell,
    slot: Slot,
}

impl Announced<'_> {
    /// Lets go of it, as `release` does.
    #[inline(always)]
    pub fn end(self) {
        let seen = self.cell.state.load(Acquire);
        // I3: Release, as in `release`, which does all that isn't usual.
        let has_ended = seen & (word::STATE | word::WAITERS) == word::HELD
            && self.table.is_of_this_process(self.cell)
            && self.cell.state.replace(seen, word::with(seen, word::FREE));
        if !has_ended {
            self.table.release(self.slot);
        }
    }
}
