//! The lane of a thread: the way that its last call in one mode went (P10), kept for the next one on the same number, and
//! what tells whether it is still right. One that goes by it looks up nothing.
//!
//! One lane is for calls through the page cache, or for such as go past it: each of them has its own things to look at.
//!
//! A lane is read and written by its thread's only call that is under way: one in a signal handler goes another way, so none
//! finds half of it.

use core::cell::Cell;
use core::num::NonZeroU32;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

use lock_table::{Again, FileId, UseWord, Word};
use trace::Text;

use crate::who::lineage;

/// Where calls on a file are recorded: the mark of the process's own ring, and what that calls the file.
#[derive(Clone, Copy)]
pub struct Recorded {
    pub file: FileId,
    pub ring: NonZeroU32,
    pub path: Text,
}

/// Calls that may go by one lane.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Calls(u64);

impl Calls {
    const NONE: Calls = Calls(u64::MAX);

    /// Those on this number.
    #[inline(always)]
    pub fn on(number: i32, direct: bool) -> Calls {
        Calls(u64::from(number as u32) | u64::from(direct) << 32)
    }

    /// The same, where they are recorded.
    #[inline(always)]
    pub fn recorded(self) -> Calls {
        Calls(self.0 | 1 << 33)
    }
}

/// All zeros: there is none.
#[derive(Default)]
pub struct Lane {
    /// Which calls it is for, or would be for if the next one is of the same.
    pub calls: Cell<Calls>,
    /// How the slot's word was left.
    pub ended: Cell<Word>,
    /// The number's word, and what that must say.
    word: Cell<Option<&'static AtomicU64>>,
    says: Cell<u64>,
    /// In which epoch it is right.
    process: Cell<Option<&'static AtomicU32>>,
    epoch: Cell<u32>,
    uses: Cell<Option<UseWord<'static>>>,
    again: Cell<Option<Again<'static>>>,
    /// Of a lane of calls that are recorded.
    pub recorded: Cell<Option<Recorded>>,
}

/// What a call found out.
pub struct Way {
    pub word: &'static AtomicU64,
    pub says: u64,
    pub uses: UseWord<'static>,
    pub again: Again<'static>,
    pub ended: Word,
    pub recorded: Option<Recorded>,
}

impl Lane {
    /// For the next one. `is_fenced`: asked after the epoch, which goes on when that ends.
    pub fn keep(&self, way: &Way, is_fenced: impl Fn() -> bool) {
        if let Some((process, epoch)) = lineage::epoch().filter(|_| is_fenced()) {
            self.process.set(Some(process));
            self.epoch.set(epoch);
            self.says.set(way.says);
            self.uses.set(Some(way.uses));
            self.again.set(Some(way.again));
            self.ended.set(way.ended);
            self.recorded.set(way.recorded);
            self.word.set(Some(way.word));
        }
    }

    pub fn forget(&self) {
        self.process.set(None);
    }

    /// What it says in the slot, if it is for these calls, and this is still the process that it was made in.
    #[inline(always)]
    pub fn again(&self, calls: Calls) -> Option<Again<'static>> {
        let again = self.again.get()?;
        let epoch = self.process.get()?.load(Relaxed);
        let is_right = calls == self.calls.get() && epoch == self.epoch.get();
        is_right.then_some(again)
    }

    /// The next one of these calls looks everything up, and so does the one after it.
    pub fn leave(&self) {
        self.forget();
        self.calls.set(Calls::NONE);
    }

    /// What the number's word must say.
    #[inline(always)]
    pub fn says(&self) -> u64 {
        self.says.get()
    }

    /// Whether the number is what it was, and the file in one mode, which is that of the calls. After the announcement (P10).
    #[inline(always)]
    pub fn leads_on(&self, direct: bool) -> bool {
        let (Some(word), Some(uses)) = (self.word.get(), self.uses.get()) else {
            return false;
        };
        let is_in_one_mode = match direct {
            true => uses.direct_alone(),
            false => !uses.locks(),
        };
        is_in_one_mode && word.load(Acquire) == self.says.get()
    }
}
