//! Saying once more what a slot has said last: for calls that only announce themselves (I8), one after the other, on one
//! file. Who does that remembers how the slot's word was left. While it is the same nobody has used the slot since, and its
//! claim stands in it (I4): to announce it again is to store the word.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::Table;
use crate::cells::SlotCell;
use crate::hints::is_hinted_wide;
use crate::matrix::{Claim, Mode};
use crate::primitive::fence;
use crate::slots::{Slot, mode_word, word};

/// What a slot has said last: see [`Table::again`].
#[derive(Clone, Copy)]
pub struct Again<'t> {
    cell: &'t SlotCell,
    /// The file's hint, as the slot notes it.
    note: u32,
}

/// The state word that an announcement has left, or that it has.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Word(u32);

impl Table {
    /// For who has announced this claim in this slot, and ended that: what he may announce again, and how its word was left.
    /// `None`: it isn't a wide one, or the slot says something else, or isn't this process's.
    pub fn again(&self, s: Slot, c: &Claim) -> Option<(Again<'_>, Word)> {
        let cell = self.own(s)?;
        let ended = cell.state.load(Acquire);
        let stands = ended & word::STATE == word::FREE
            && cell.ino.load(Relaxed) == c.file.ino
            && cell.dev.load(Relaxed) == c.file.dev
            && cell.first.load(Relaxed) == c.first
            && cell.last.load(Relaxed) == c.last
            && !c.atomic
            && is_hinted_wide(cell, c);
        let [.., note] = &cell.notes;
        let again = Again {
            cell,
            note: note.load(Relaxed),
        };
        stands.then_some((again, Word(ended)))
    }
}

impl Again<'_> {
    /// Announces it, in this mode, if the slot is as it was left, and gives the word that it has then. The calling thread is
    /// the slot's only user, and the process the one that it was: a forked child would speak for its parent.
    #[inline(always)]
    pub fn announce(self, ended: Word, mode: Mode) -> Option<Word> {
        let Word(ended) = ended;
        let [.., note] = &self.cell.notes;
        // A call that was jumped out of may have moved the hint (I12), and not come to the word; nor does a slot's way back
        // to the pool move that, which clears its hints.
        let stands = self.cell.state.load(Relaxed) == ended && note.load(Relaxed) == self.note;
        if !stands {
            return None;
        }
        let says = mode_word(mode, false);
        if self.cell.mode.load(Relaxed) != says {
            self.put_mode(ended, says);
        }
        let held = word::next(ended, word::HELD);
        // I3, I4: Release, as in `write`.
        self.cell.state.store(held, Release);
        Some(Word(held))
    }

    #[inline(never)]
    fn put_mode(self, ended: u32, says: u32) {
        // I3, I4: as in `write`.
        self.cell
            .state
            .store(word::next(ended, word::WRITING), Release);
        fence(Release);
        self.cell.mode.store(says, Relaxed);
    }

    /// Ends what [`announce`](Again::announce) has begun, and gives the word as it is left. `None`: it isn't ended, for
    /// somebody sleeps on it; that takes [`Table::release`].
    #[inline(always)]
    pub fn end(self, held: Word) -> Option<Word> {
        let Word(held) = held;
        let ended = word::with(held, word::FREE);
        let has_ended = self.cell.state.replace(held, ended); // I3
        has_ended.then_some(Word(ended))
    }
}
