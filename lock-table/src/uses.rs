//! The register of uses: which process uses which file in which modes. It tells when a file becomes mixed, and it
//! carries, in every process's own entry, the word that says which calls on the file must take ranges and whether its
//! uses are mixed.
//!
//! The word goes up as soon as a use is published, and down again only under the whole file's range
//! ([`Table::use_settle`]), by whoever finds that the uses that made it go up have ended. It carries a version, which every
//! publisher moves: so of one who comes and one who settles at once the one who comes wins (I16).

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};

use crate::cells::EntryCell;
use crate::matrix::FileId;
use crate::primitive::{compiler_fence, fence};
use crate::register::{self, Entry, Read};
use crate::{Owner, Table};

pub const USE_BUFFERED: u32 = 1;
pub const USE_DIRECT: u32 = 2;
/// The process observes the file: it announces and never waits.
pub const USE_OBSERVE: u32 = 4;
/// The process relies on it that everybody's calls take ranges, also while all use is direct: it extends the file, moves
/// its layout, or asks for whole calls at once.
pub const USE_RANGES: u32 = 8;
/// What the process has of the file may have been turned to another mode by one that shares it: nobody knows in which it is
/// used, and it counts as both for as long as the entry lasts.
const TURNED: u32 = 16;
const BOTH: u32 = USE_BUFFERED | USE_DIRECT;

/// The word's flags: somebody uses the file directly, so what isn't direct takes a range.
const LOCKS: u32 = 1;
/// And somebody through the page cache.
const MIXED: u32 = 2;
/// Direct calls take ranges, too: somebody relies on it, or nobody has shown yet that no other call is under way.
const RANGES: u32 = 4;
/// They always do, in this process: membarrier doesn't reach it.
const FORCED: u32 = 8;
const FLAGS: u32 = 15;
/// Above the flags.
const ONE_VERSION: u32 = 16;
/// How many entries are settled with one look at all.
const TOGETHER: usize = 16;

/// What the word must say at least while a file has these uses.
fn flags_of(uses: u32) -> u32 {
    if uses & USE_DIRECT == 0 {
        return 0;
    }
    let when = |bits, flag| if uses & bits != 0 { flag } else { 0 };
    LOCKS | when(USE_BUFFERED, MIXED) | when(USE_RANGES, RANGES)
}

/// What a word says.
#[derive(Clone, Copy)]
pub(crate) struct Says(pub u32);

impl Says {
    #[inline]
    pub fn locks(self) -> bool {
        self.0 & FLAGS != 0
    }

    #[inline]
    pub fn mixed(self) -> bool {
        self.0 & MIXED != 0
    }

    /// All use of the file is direct, and nobody relies on ranges.
    #[inline]
    pub fn direct_alone(self) -> bool {
        self.0 & FLAGS == LOCKS
    }
}

/// The word of one entry: see [`Table::use_word`].
#[derive(Clone, Copy)]
pub struct UseWord<'t>(&'t EntryCell);

impl UseWord<'_> {
    #[inline]
    fn says(self) -> Says {
        // I8: the announcement's stores stand before this load in program order; the other side's membarrier makes that
        // the order that everybody sees.
        compiler_fence(SeqCst);
        Says(self.0.locks.load(Relaxed))
    }

    /// As [`Table::use_locks`].
    #[inline]
    pub fn locks(self) -> bool {
        self.says().locks()
    }

    /// As [`Table::use_direct_alone`].
    #[inline]
    pub fn direct_alone(self) -> bool {
        self.says().direct_alone()
    }
}

/// Flags more, in a new version.
fn raise(cell: &EntryCell, flags: u32) {
    let mut now = cell.locks.load(Relaxed);
    loop {
        let to = (now | flags).wrapping_add(ONE_VERSION);
        match cell.locks.compare_exchange(now, to, AcqRel, Relaxed) {
            Ok(_) => return,
            Err(moved) => now = moved,
        }
    }
}

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
        Some((u, self.publish(u, 0, bits)))
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
    /// the word of every entry says so, and whether somebody uses it buffered, or relies on ranges. Of two that do this at
    /// once, at least one sees the other (I9).
    pub fn use_add(&self, u: UseEntry, bits: u32) -> Others {
        self.publish(u, bits, bits)
    }

    /// `new`: the uses that this entry hasn't had before, which may be written already.
    fn publish(&self, u: UseEntry, bits: u32, new: u32) -> Others {
        let mut others = Others {
            bits: 0,
            first: None,
        };
        let Some(own) = self.mem.uses().cell(u.0) else {
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
        let mut is_settled = false;
        for (cell, e) in self.others(u, file) {
            others.bits |= e.bits;
            is_settled |= Says(cell.locks.load(Acquire)).direct_alone();
            if others.first.is_none() && e.owner != me {
                others.first = Some(self.owner_at(e.owner));
            }
        }
        let flags = flags_of(mine | others.bits);
        if flags != 0 {
            // I16: also where they stand already, for who is about to take them away.
            self.others(u, file)
                .for_each(|(cell, _)| raise(cell, flags));
            // Calls of processes whose use has ended may be under way still, and nobody announces himself to us: until
            // the whole file has been held once. One who has gone without ranges since then stands for that.
            let first = new & USE_DIRECT != 0 && !is_settled;
            raise(own, flags | if first { RANGES } else { 0 });
            // The caller's membarrier comes next.
            fence(SeqCst);
        }
        others
    }

    /// The file's entries but this one. One that moves is being registered, and will look at ours.
    fn others(&self, u: UseEntry, file: FileId) -> impl Iterator<Item = (&EntryCell, Entry)> {
        let of_file = self.mem.uses().of_file(file);
        of_file.filter_map(move |(index, cell, read)| match read {
            Read::Entry(e) if index != u.0 => Some((cell, e)),
            _ => None,
        })
    }

    /// Takes modes away from this process's entry: nothing that it does is of them any more. What the words say then,
    /// `use_settle` finds out.
    pub fn use_remove(&self, u: UseEntry, bits: u32) {
        if let Some(own) = self.mem.uses().cell(u.0) {
            let mut before = own.bits.load(Acquire);
            loop {
                let gone = if before & TURNED != 0 {
                    bits & !BOTH
                } else {
                    bits
                };
                match own
                    .bits
                    .compare_exchange(before, before & !gone, AcqRel, Acquire)
                {
                    Ok(_) => return,
                    Err(now) => before = now,
                }
            }
        }
    }

    /// Everybody who is registered uses the file in both modes from now on, as long as his entry lasts: what he has of it is
    /// about to change in a way that he doesn't see, and the caller doesn't if another one does the same. The caller's
    /// membarrier comes next.
    pub fn use_turns(&self, u: UseEntry) {
        let own = self.mem.uses().cell(u.0).map(register::read);
        let Some(Read::Entry(Entry { file, .. })) = own else {
            return;
        };
        for (cell, _) in self.others(u, file) {
            cell.bits.fetch_or(BOTH | TURNED, AcqRel);
        }
        self.use_add(u, BOTH | TURNED);
    }

    /// Takes from the words what the file's uses don't ask for any more. The caller holds the whole file as a change of
    /// layout: nobody is in the middle of a call that relies on what they say (I16).
    pub fn use_settle(&self, file: FileId) {
        let mut entries = self.mem.uses().of_file(file);
        loop {
            let mut seen = [None; TOGETHER];
            let mut count = 0;
            for (_, cell, _) in entries.by_ref().take(TOGETHER) {
                if let Some(place) = seen.get_mut(count) {
                    *place = Some((cell, cell.locks.load(Relaxed)));
                }
                count = count.saturating_add(1);
            }
            if count == 0 {
                return;
            }
            // I16: who publishes later than this moves the words that I have read.
            fence(SeqCst);
            let Some(uses) = self.uses_of(file, (u32::MAX, 0)) else {
                return;
            };
            let keep = flags_of(uses) | FORCED | !FLAGS;
            for (cell, word) in seen.into_iter().flatten() {
                cell.reaches.store(0, Relaxed); // I15: nobody holds anything
                if word & keep != word {
                    let _ = cell
                        .locks
                        .compare_exchange(word, word & keep, AcqRel, Relaxed);
                }
            }
        }
    }

    /// All uses of the file but these of one's own. None: one is being registered.
    fn uses_of(&self, file: FileId, but: (u32, u32)) -> Option<u32> {
        let mut of_file = self.mem.uses().of_file(file);
        of_file.try_fold(0, |all, (index, _, read)| match read {
            Read::Entry(e) if index == but.0 => Some(all | (e.bits & !but.1)),
            Read::Entry(e) => Some(all | e.bits),
            Read::Nothing => Some(all),
            Read::Restless => None,
        })
    }

    /// Does the word say more than the file's uses ask for, or is one's own among those that aren't needed any more? Then
    /// it is worth to settle it. Not while it stays mixed: nobody would go without ranges.
    pub fn use_says_too_much(&self, u: UseEntry, file: FileId, without: u32) -> bool {
        let needs = Says(self.uses_of(file, (u.0, without)).map_or(FLAGS, flags_of));
        let says = self.says(u);
        !needs.mixed() && (without != 0 || says.0 & FLAGS & !(needs.0 | FORCED) != 0)
    }

    /// Cleans up after those that use the file and don't live: they don't count. A system call for each other process.
    pub fn use_reap(&self, file: FileId) {
        for (_, _, read) in self.mem.uses().of_file(file) {
            if let Read::Entry(e) = read
                && Some(e.owner) != self.me()
                && !self.lives(e.owner)
            {
                self.reap_one(e.owner);
            }
        }
    }

    /// Must calls through the page cache, and such as change the layout, take ranges on this file? Asked after `announce`,
    /// with nothing but this load on the way.
    #[inline]
    pub fn use_locks(&self, u: UseEntry) -> bool {
        self.says(u).locks()
    }

    /// Does somebody use this file directly and somebody, perhaps the same, through the page cache? Asked as
    /// `use_locks` is, and true only if that is.
    #[inline]
    pub fn use_mixed(&self, u: UseEntry) -> bool {
        self.says(u).mixed()
    }

    /// Is all use of the file direct, so that direct calls that move nothing need no range? Asked as `use_locks` is.
    #[inline]
    pub fn use_direct_alone(&self, u: UseEntry) -> bool {
        self.says(u).direct_alone()
    }

    #[inline]
    fn says(&self, u: UseEntry) -> Says {
        self.use_word(u).map_or(Says(FLAGS), UseWord::says)
    }

    /// The entry's word, for who asks it twice.
    #[inline]
    pub fn use_word(&self, u: UseEntry) -> Option<UseWord<'_>> {
        self.mem.uses().cell(u.0).map(UseWord)
    }

    /// What `use_mixed` is told from, to be compared with what it was; 0: it isn't mixed.
    pub fn use_mixture(&self, u: UseEntry) -> u32 {
        match self.says(u) {
            word if word.mixed() => word.0,
            _ => 0,
        }
    }

    /// Makes this process's calls on the file take ranges always: for one that membarrier can't reach.
    pub fn use_force_locks(&self, u: UseEntry) {
        if let Some(cell) = self.mem.uses().cell(u.0) {
            raise(cell, FORCED);
        }
    }

    /// So far the file reaches, at least: read under a range that ends before it, it says that the range is in the file
    /// (I15).
    #[inline]
    pub fn use_reaches(&self, u: UseEntry) -> u64 {
        match self.mem.uses().cell(u.0) {
            // Relaxed: who lowered it has let a range go that excluded the caller's (I3).
            Some(cell) => cell.reaches.load(Relaxed),
            None => 0,
        }
    }

    /// The file has been seen to reach so far. Under a range that a layout to the end of time which begins before that is
    /// excluded by (I15).
    pub fn use_reaches_to(&self, u: UseEntry, end: u64) {
        if let Some(cell) = self.mem.uses().cell(u.0) {
            cell.reaches.fetch_max(end, Relaxed);
        }
    }

    /// The file is about to be cut off, perhaps as early as there: whatever process believes that it reaches further no
    /// longer does. Under the layout's range, before the call that does it (I15).
    pub fn use_cut_off(&self, file: FileId, from: u64) {
        for (_, cell, _) in self.mem.uses().of_file(file) {
            if cell.reaches.load(Relaxed) > from {
                cell.reaches.fetch_min(from, Relaxed);
            }
        }
    }

    /// Forgets a use. An entry of the parent's does nothing in a forked child.
    pub fn use_forget(&self, u: UseEntry) {
        if let Some(me) = self.me() {
            self.mem.uses().leave(u.0, me);
        }
    }
}
