//! The register of uses: which process uses which file in which modes. It tells when a file becomes mixed, and it
//! carries, in every process's own entry, the word that says whether calls on the file must take locks.

use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::sync::atomic::{compiler_fence, fence};

use crate::matrix::FileId;
use crate::register::{self, Entry, Read};
use crate::{Owner, Table};

pub const USE_BUFFERED: u32 = 1;
pub const USE_DIRECT: u32 = 2;
/// The process observes the file: it announces and never waits.
pub const USE_OBSERVE: u32 = 4;

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
    /// Registers that this process uses the file: once a process and file. Then as `use_add`, whose answer `use_add`
    /// with no bits gives again. `None`: the register is full, or this process isn't registered.
    pub fn use_register(&self, file: FileId, bits: u32) -> Option<UseEntry> {
        let entry = Entry {
            owner: self.me()?,
            bits,
            file,
            first: 0,
            last: 0,
        };
        let index = register::enter(
            self.mem.uses(),
            &self.mem.header().uses_used,
            &self.free_use,
            &entry,
        )?;
        let u = UseEntry(index);
        self.use_add(u, 0);
        Some(u)
    }

    /// Publishes more modes, then looks at the others' entries. If anybody, oneself included, uses the file directly,
    /// the `locks` word of every entry is set. Of two that do this at once, at least one sees the other (I9).
    pub fn use_add(&self, u: UseEntry, bits: u32) -> Others {
        let mut others = Others {
            bits: 0,
            first: None,
        };
        let cells = self.mem.uses();
        let Some(own) = cells.get(u.0 as usize) else {
            return others;
        };
        let mine = own.bits.fetch_or(bits, Relaxed) | bits;
        // I9: my bits stand before my loads of the others'.
        fence(SeqCst);
        let Read::Entry(Entry {
            file, owner: me, ..
        }) = register::read(own)
        else {
            return others;
        };
        let used = register::used(cells, &self.mem.header().uses_used);
        let of_file = || {
            used.iter()
                .enumerate()
                .filter_map(move |(i, cell)| match register::read(cell) {
                    Read::Entry(e) if e.file == file && i != u.0 as usize => Some((cell, e)),
                    _ => None, // one that moves is being registered, and will look at ours
                })
        };
        for (_, e) in of_file() {
            others.bits |= e.bits;
            if others.first.is_none() && e.owner != me {
                others.first = Some(self.owner_at(e.owner));
            }
        }
        if (mine | others.bits) & USE_DIRECT != 0 {
            own.locks.store(1, Relaxed);
            for (cell, _) in of_file() {
                cell.locks.store(1, Relaxed);
            }
            // The caller's membarrier comes next.
            fence(SeqCst);
        }
        others
    }

    /// Must calls on this file take locks? Asked after `announce`, with nothing but this load on the way.
    #[inline]
    pub fn use_locks(&self, u: UseEntry) -> bool {
        // I8: not before the announcement's stores, which the compiler must not move past this.
        compiler_fence(SeqCst);
        self.mem
            .uses()
            .get(u.0 as usize)
            .is_none_or(|cell| cell.locks.load(Relaxed) != 0)
    }

    /// Makes this process's calls on the file take locks always: for one that membarrier can't reach.
    pub fn use_force_locks(&self, u: UseEntry) {
        if let Some(cell) = self.mem.uses().get(u.0 as usize) {
            cell.locks.store(1, Relaxed);
        }
    }

    /// Forgets a use. An entry of the parent's does nothing in a forked child.
    pub fn use_forget(&self, u: UseEntry) {
        let (Some(cell), Some(me)) = (self.mem.uses().get(u.0 as usize), self.me()) else {
            return;
        };
        register::leave(cell, me);
        self.free_use.fetch_min(u.0, Relaxed);
    }
}
