//! The register of uses: which process uses which file in which modes. It tells when a file becomes mixed, and it
//! carries, in every process's own entry, the word that says whether calls on the file must take locks and whether its
//! uses are mixed.

use core::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::matrix::FileId;
use crate::primitive::{compiler_fence, fence};
use crate::register::{self, Entry, Read};
use crate::{Owner, Table};

pub const USE_BUFFERED: u32 = 1;
pub const USE_DIRECT: u32 = 2;
/// The process observes the file: it announces and never waits.
pub const USE_OBSERVE: u32 = 4;

/// The `locks` word: somebody uses the file directly.
pub(crate) const LOCKS: u32 = 1;
/// And somebody through the page cache.
const MIXED: u32 = 2;

/// This process's entry for one file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct UseEntry(pub(crate) u32);

impl UseEntry {
    pub fn index(self) -> u32 {
        self.0
    }
}

/// What the other entries of a file say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Others {
    /// The union of their bits.
    pub bits: u32,
    /// The first of another process.
    pub first: Option<Owner>,
}

impl Table {
    /// Registers that this process uses the file: once a process and file. Then looks at the others' entries as
    /// `use_add` does. `None`: the register is full of the living's, or this process isn't registered.
    pub fn use_register(&self, file: FileId, bits: u32) -> Option<(UseEntry, Others)> {
        let entry = Entry {
            owner: self.me()?,
            bits,
            file,
            first: 0,
            last: 0,
        };
        let u = UseEntry(self.or_reap(|| self.mem.uses().enter(&entry))?);
        Some((u, self.use_add(u, 0)))
    }

    /// What is registered of the file now, by anybody: a look, which promises nothing.
    pub fn users(&self, file: FileId) -> Others {
        let mut all = Others {
            bits: 0,
            first: None,
        };
        for (_, _, read) in self.mem.uses().of_file(file) {
            if let Read::Entry(e) = read {
                all.bits |= e.bits;
                all.first = all.first.or_else(|| Some(self.owner_at(e.owner)));
            }
        }
        all
    }

    /// Publishes more modes, then looks at the others' entries. If anybody, oneself included, uses the file directly,
    /// the `locks` word of every entry is set, and says whether somebody uses it buffered. Of two that do this at
    /// once, at least one sees the other (I9).
    pub fn use_add(&self, u: UseEntry, bits: u32) -> Others {
        let mut others = Others {
            bits: 0,
            first: None,
        };
        let uses = self.mem.uses();
        let Some(own) = uses.cell(u.0) else {
            return others;
        };
        let mine = own.bits.fetch_or(bits, Relaxed) | bits;
        // I9: my entry and my bits stand before my loads of the reach and of the others'.
        fence(SeqCst);
        let Read::Entry(Entry {
            file, owner: me, ..
        }) = register::read(own)
        else {
            return others;
        };
        let of_file = || {
            uses.of_file(file)
                .filter_map(move |(index, cell, read)| match read {
                    Read::Entry(e) if index != u.0 => Some((cell, e)),
                    _ => None, // one that moves is being registered, and will look at ours
                })
        };
        for (_, e) in of_file() {
            others.bits |= e.bits;
            if others.first.is_none() && e.owner != me {
                others.first = Some(self.owner_at(e.owner));
            }
        }
        let all = mine | others.bits;
        if all & USE_DIRECT != 0 {
            let word = LOCKS | if all & USE_BUFFERED != 0 { MIXED } else { 0 };
            for cell in of_file().map(|(cell, _)| cell).chain([own]) {
                if cell.locks.load(Relaxed) & word != word {
                    cell.locks.fetch_or(word, Relaxed);
                }
            }
            // The caller's membarrier comes next.
            fence(SeqCst);
        }
        others
    }

    /// Must calls on this file take locks? Asked after `announce`, with nothing but this load on the way.
    #[inline]
    pub fn use_locks(&self, u: UseEntry) -> bool {
        self.locks_word(u) & LOCKS != 0
    }

    /// Does somebody use this file directly and somebody, perhaps the same, through the page cache? Asked as
    /// `use_locks` is, and true only if that is.
    #[inline]
    pub fn use_mixed(&self, u: UseEntry) -> bool {
        self.locks_word(u) & MIXED != 0
    }

    #[inline]
    fn locks_word(&self, u: UseEntry) -> u32 {
        // I8: the announcement's stores stand before this load in program order; the other side's membarrier makes that
        // the order that everybody sees.
        compiler_fence(SeqCst);
        match self.mem.uses().cell(u.0) {
            Some(cell) => cell.locks.load(Relaxed),
            None => LOCKS | MIXED,
        }
    }

    /// Makes this process's calls on the file take locks always: for one that membarrier can't reach.
    pub fn use_force_locks(&self, u: UseEntry) {
        if let Some(cell) = self.mem.uses().cell(u.0) {
            cell.locks.fetch_or(LOCKS, Relaxed);
        }
    }

    /// Forgets a use. An entry of the parent's does nothing in a forked child.
    pub fn use_forget(&self, u: UseEntry) {
        if let Some(me) = self.me() {
            self.mem.uses().leave(u.0, me);
        }
    }
}
