//! Hints: which slots may announce something near a range, so that a scan looks at those and not at all that are in use.
//!
//! A file is cut into stripes. Every pair of a file and a stripe has a bucket, perhaps shared with others: a bitmap of
//! all slots. A slot's bit is set before its claim on the stripe is announced (I12), and stays set after the claim has
//! ended, until the slot's owner goes elsewhere: who works on in the same stripe writes no hint at all. A wide claim
//! has its bit in the file's own bucket instead, at which every scan looks.
//!
//! The slot notes in which buckets its bits are, so that they can be cleared by whoever empties it.

use core::sync::atomic::Ordering::{Relaxed, Release};

use crate::Table;
use crate::cells::SlotCell;
use crate::matrix::{Claim, FileId};
use crate::primitive::CHECKED;
use crate::sizes::unit;
use crate::slots::Slot;

/// What is excluded by units shares a unit, and so a stripe.
#[inline]
fn stripe_shift() -> u32 {
    unit().trailing_zeros().wrapping_add(1)
}
/// Claims on more stripes than this are wide. A power of two, so that the stripes of one claim have notes of their own.
const NARROW: usize = 4;
/// Notes in a slot: for stripes, by the stripe's number, and one for the file.
pub(crate) const NOTES: usize = NARROW + 1;
pub(crate) const BUCKETS: u32 = if CHECKED { 2 } else { 4096 };
/// Slots in one line of a bucket. The lines with the first slots of all buckets lie together, and so on.
pub(crate) const LINE: u32 = 512;

/// Where a scan for a claim must look.
#[derive(Clone, Copy)]
pub(crate) enum Near {
    Buckets(Buckets),
    Everywhere,
}

/// The file's own bucket, and those of a claim's stripes.
#[derive(Clone, Copy)]
pub(crate) struct Buckets {
    hash: Hash,
    first: u64,
    last: u64,
}

/// The bucket of a file itself, and those of its stripes: Fibonacci hashing, three odd numbers without a small ratio.
/// (Inodes and stripes come in rows, which it spreads evenly; and it is on the way of every call.)
#[derive(Clone, Copy)]
struct Hash(u64);

/// Leaves as many of the highest bits as a bucket's number has.
const TOP: u32 = BUCKETS
    .leading_zeros()
    .wrapping_add(u32::BITS)
    .wrapping_add(1);

impl Hash {
    #[inline]
    fn of(file: FileId) -> Hash {
        let ino = file.ino.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Hash(ino.wrapping_add(file.dev.wrapping_mul(0xD6E8_FEB8_6659_FD93)))
    }

    #[inline]
    fn file(self) -> u32 {
        (self.0 >> TOP) as u32
    }

    #[inline]
    fn stripe(self, stripe: u64) -> u32 {
        // The file's own bucket is another one than that of stripe 0.
        let stripe = stripe.wrapping_add(1).wrapping_mul(0xA24B_AED4_963E_E407);
        Hash(self.0.wrapping_add(stripe)).file()
    }
}

impl Near {
    /// Where to look for what is in the way of a claim.
    #[inline]
    pub(crate) fn of(c: &Claim) -> Near {
        let (hash, first, last) = (
            Hash::of(c.file),
            c.first >> stripe_shift(),
            c.last >> stripe_shift(),
        );
        if last.wrapping_sub(first) < NARROW as u64 {
            Near::Buckets(Buckets { hash, first, last })
        } else {
            Near::Everywhere
        }
    }
}

impl Buckets {
    /// One after the other: first the file's own.
    #[inline]
    pub(crate) fn get(&self, number: u8) -> Option<u32> {
        let Some(at) = number.checked_sub(1) else {
            return Some(self.hash.file());
        };
        let stripe = self.first.wrapping_add(u64::from(at));
        (stripe <= self.last).then(|| self.hash.stripe(stripe))
    }
}

/// In a note: the bit may be set or not. A signal handler may jump out of the middle of it all, and the slot live on.
const UNSURE: u32 = 1 << 31;

/// The bucket that a note names.
fn noted(note: u32) -> Option<u32> {
    (note & !UNSURE).checked_sub(1)
}

/// Where a slot's bit stands in a bucket: the word, and the bit in it.
#[inline]
pub(crate) fn place(s: Slot) -> (u32, u64) {
    (s.0 / u64::BITS, 1u64.wrapping_shl(s.0))
}

/// A bucket's stacks say which of its words were ever used: the first `ALONE` have a bit each, the others share the rest.
const ALONE: u32 = u64::BITS / 2;

/// The bit of a word that shares it with no other; none for the others.
#[inline]
pub(crate) fn own_stack(word: u32) -> u64 {
    u64::from(word < ALONE).wrapping_shl(word)
}

fn stack(word: u32) -> u32 {
    if word < ALONE {
        word
    } else {
        ALONE.wrapping_add(word % ALONE)
    }
}

/// The words below `end` that the stacks stand for, stack after stack: from the word `from` on, if that is one of them.
pub(crate) fn words_of(stacks: u64, from: u32, end: u32) -> Words {
    Words {
        stacks,
        from,
        end,
        word: 0,
        limit: 0,
    }
}

/// Written out: chained iterators take three times the room, at the deepest place of a wait on a small stack.
pub(crate) struct Words {
    /// Those still to come.
    stacks: u64,
    from: u32,
    end: u32,
    /// The next word of the present one, if that is below the limit.
    word: u32,
    limit: u32,
}

impl Iterator for Words {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        loop {
            while self.word < self.limit {
                let word = self.word;
                self.word = word.saturating_add(ALONE);
                if (stack(word), word) >= (stack(self.from), self.from) {
                    return Some(word);
                }
            }
            let number = self.stacks.trailing_zeros();
            if number >= u64::BITS {
                return None;
            }
            self.stacks &= self.stacks.wrapping_sub(1);
            self.word = number;
            self.limit = match number < ALONE {
                true => self.end.min(number.wrapping_add(1)),
                false => self.end,
            };
        }
    }
}

/// Whether this is a wide claim, and the slot's hint for it stands.
#[inline]
pub(crate) fn is_hinted_wide(slot: &SlotCell, c: &Claim) -> bool {
    let [.., note] = &slot.notes;
    matches!(Near::of(c), Near::Everywhere)
        && note.load(Relaxed) == Hash::of(c.file).file().wrapping_add(1)
}

impl Table {
    /// Sets the hints of a claim that the slot is about to announce. Says where to look for others.
    #[inline]
    pub(crate) fn hint(&self, s: Slot, slot: &SlotCell, c: &Claim) -> Near {
        let near = Near::of(c);
        match &near {
            Near::Buckets(b) => {
                let mut stripe = b.first;
                while stripe <= b.last {
                    self.note(s, slot, stripe as usize % NARROW, b.hash.stripe(stripe));
                    stripe = stripe.wrapping_add(1);
                }
            }
            Near::Everywhere => self.note(s, slot, NARROW, Hash::of(c.file).file()),
        }
        near
    }

    #[inline]
    fn note(&self, s: Slot, slot: &SlotCell, at: usize, bucket: u32) {
        if let Some(note) = slot.notes.get(at)
            && note.load(Relaxed) != bucket.wrapping_add(1)
        {
            self.move_hint(s, slot, at, bucket);
        }
    }

    #[inline(never)]
    fn move_hint(&self, s: Slot, slot: &SlotCell, at: usize, bucket: u32) {
        let Some(note) = slot.notes.get(at) else {
            return;
        };
        let (old, new) = (note.load(Relaxed), bucket.wrapping_add(1));
        if old != 0 {
            note.store(old | UNSURE, Relaxed);
            self.clear_hint(s, slot, at, old);
        }
        note.store(new | UNSURE, Relaxed);
        let (word, bit) = place(s);
        if let (Some(cell), Some(stacks)) = (
            self.mem.hint_word_cell(bucket, word),
            self.mem.hint_stacks_cell(bucket),
        ) {
            // I12: Release: noted before it is set, so that a reaper finds it. And it is set before the announcement,
            // whose fence orders it for every scan.
            cell.fetch_or(bit, Release);
            let stack = 1u64.wrapping_shl(stack(word));
            if stacks.load(Relaxed) & stack == 0 {
                stacks.fetch_or(stack, Relaxed);
            }
            note.store(new, Release); // sure only now
        }
    }

    /// Clears one hint. The claim that it stood for has ended.
    fn clear_hint(&self, s: Slot, slot: &SlotCell, at: usize, old: u32) {
        let Some(bucket) = noted(old) else { return };
        // Two stripes of this slot's may share a bucket, and the bit.
        let shared = slot.notes.iter().enumerate().any(|(i, note)| {
            let other = noted(note.load(Relaxed));
            i != at && other == Some(bucket)
        });
        let (word, bit) = place(s);
        if let Some(word) = self.mem.hint_word_cell(bucket, word)
            && !shared
        {
            // I3: Release: whoever finds the bit cleared comes after the claim's end.
            word.fetch_and(!bit, Release);
        }
    }

    /// Clears the hints of a slot that is empty. May be done twice, or half and then again.
    #[inline(never)]
    pub(crate) fn clear_hints(&self, s: Slot, slot: &SlotCell) {
        // First of all: notes may share a bit, and a handler may jump out when it is cleared and the slot live on.
        for note in &slot.notes {
            let old = note.load(Relaxed);
            if old != 0 {
                note.store(old | UNSURE, Relaxed);
            }
        }
        for note in &slot.notes {
            if let Some(bucket) = noted(note.load(Relaxed)) {
                let (word, bit) = place(s);
                if let Some(word) = self.mem.hint_word_cell(bucket, word) {
                    word.fetch_and(!bit, Release); // I3
                }
                // After the bit: a reaper that is killed in between is followed by another.
                note.store(0, Relaxed);
            }
        }
    }
}
