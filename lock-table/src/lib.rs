//! The lock table: a file in shared memory in which processes announce what they do to which range of which file, and
//! wait for each other. Nothing here intercepts anything; it can be used, tested and inspected alone.
//!
//! # Interface
//!
//! [`Table::attach`] makes or opens the table and registers the process. A thread takes a [`Slot`] once
//! ([`Table::take_slot`]; one more for each level of nesting) and then, for every call on a file, [`Table::hold`]s a
//! [`Claim`] in it and [`Table::release`]s it. [`Table::hold_now`] never waits; [`Table::hold_all`] takes several
//! ranges; [`Table::announce`] takes none but is seen. Beside the slots stand two registers: mappings
//! ([`Table::map_register`]) and uses ([`Table::use_register`]), in which the entries of a file lie together. What excludes what is [`conflict`]'s affair.
//!
//! # Rules
//!
//! Any process may be killed at any instruction, and any byte may be overwritten by whoever may write the file. So: the
//! slots are the only truth about who holds what, there are no counts of holders, every cell is made of atomics, every
//! index is checked, every loop is bounded, and contents that no fenced process writes *poison* the table, which then
//! excludes nobody and says so. Nothing allocates (but [`Table::snapshot`]), nothing panics, no libc function is
//! called: this runs in strangers' programs, in their signal handlers and in their forked children.
//! Two things are the caller's: no thread may fork while another is in `attach` (see *Death*), and a forked child calls
//! [`Table::reattach_in_child`] before anything else. A call that a signal handler interrupts to fork goes on in the
//! child as [`NotHeld::NotOurs`]: only within the few instructions that write a claim, or queue it, could both take one
//! slot for theirs.
//!
//! # The common case
//!
//! Nobody is in the way. The claim is written into the slot, announced as held, then a full fence, then a look at those
//! who may be near. Two that announce at once both see each other, or one sees the other: never neither (I1). Letting go
//! is one swap. That makes two locked instructions, and two more when the thread goes to another stripe of the file.
//! What it costs, beside other locks: `scripts/bench lock-table`.
//!
//! # Hints
//!
//! Who may be near is told by hints: see `hints`. They contain every slot with a claim near by, and may contain others,
//! which cost a look each: those that were last used there, and those of other stripes that share a bucket. So what a
//! pair costs follows the ranges that are near, not all that are held. A wide claim (over more than four stripes of
//! 4 MiB) looks at every slot in use.
//!
//! # Overlaps
//!
//! Who finds somebody in the way withdraws and queues as in Lamport's bakery: he announces that he is *choosing*, draws
//! a ticket, announces that he *waits*, fences, and looks again: he waits for those who hold, who choose, and who wait
//! with a lower ticket, one after the other. Those who merely try give way to those who wait. So it is first come, first
//! served, in both directions: neither readers nor writers starve. All ranges of one call wait with one ticket, and so
//! calls can't deadlock with each other; threads that hold one call's range while they make another (signal handlers)
//! can, and are found out by following who waits for whom.
//!
//! A call within another one of its thread (a signal handler's) passes by who waits for the outer one, which holds what he
//! wants, or another range of his call, or waits for it in front of him (I14): else it would wait behind him, and he for the
//! thread. He gives up his turn only to such calls, which end before the outer one goes on. (Who waits behind him, and not for the thread himself, is
//! waited for: should he give up, they may come in.)
//!
//! # Waiting
//!
//! After a short spin, on the futex in the blocker's state word, marked so that its owner knows to wake. A wake is a hint
//! to look again, and so is the end of the time: no sleep is longer than 50 ms, and each that runs out asks whether the
//! blocker lives.
//!
//! A thread lets go when its call is over. A slot that was taken for an asynchronous request ([`Table::take_request_slot`])
//! belongs to no thread: whichever comes to know that the request is complete lets go, which may be none for long. So
//! every process has a *bell* ([`Table::bell`]), on which a thread of it may sleep, and who waits for a request that is
//! under way rings its owner's bell before each of its sleeps, and goes on waiting. While nobody waits nobody rings, and
//! what a thread holds is waited for without. A request waits for nothing, so it is in no circle; also one of the waiting
//! thread's own process is waited for, unless the caller says that it is his.
//!
//! # Death
//!
//! A process's life is a lock on a byte of the file that a mapping keeps and the kernel drops, or, in a forked child that
//! may not open the table again, one that is the process's own: see `death`. Whoever
//! attaches, and whoever waits for a dead one, locks the dead's byte and then frees its slots and entries. Ranges that it
//! was writing directly are remembered as unverified.
//!
//! # Invariants
//!
//! Atomics cite these by number.
//!
//! * **I1** An announcement, then a full fence, then the scan. Of two with overlapping claims at least one finds the
//!   other's.
//! * **I2** The owner word is the first thing to be written when a slot or entry leaves its pool and the last when it
//!   returns: what is in the pool is empty and has no hints, and what is not has an owner that can be asked for.
//! * **I3** A claim ends with a release store (or what follows it, the clearing of its hints too); a scan that finds
//!   nothing ends with an acquire fence. So what was done under the old claim happens before what is done under the new.
//! * **I4** A claim's fields are written between two stores of the state word, and the generation in it grows with each
//!   announcement: a reader that finds the same word before and after has read one claim.
//! * **I5** Every stale read is safe for one reason: a slot that a scan finds being written, or whose generation moves
//!   under it, is announced by an owner whose fence comes after the scanner's own; that owner's scan sees the scanner. Its
//!   earlier claim has ended. So the scanner may pass it by, whichever of the two its fields were read from.
//! * **I6** Choosing is announced, and fenced, before the ticket is drawn. So whoever isn't seen choosing or waiting by
//!   the time that I look draws a higher ticket than mine and waits for me: a slot that was found not to be in my way
//!   stays so, and the scan goes on from there.
//! * **I7** No slot at or above the high-water mark is in use, and no entry of a file at or beyond the reach of the
//!   file's home: marks are raised before use (an entry's after it is claimed, before it is written) and never lowered.
//! * **I8** `announce` doesn't fence. Its stores and the load in [`Table::use_locks`] or [`Table::use_direct_alone`] stand
//!   in program order, and the one who raises the `locks` words makes that order seen by a membarrier: either the caller
//!   sees that it must lock, or the other's later scan sees the announcement. Nor does its end lock the bus: of two
//!   processors in the same few cycles, one that ends it and one that marks it as slept on, the mark may be lost, and the
//!   sleeper finds out when he looks again, 50 ms later at the latest.
//! * **I9** Of two that register a use of one file at least one sees the other: each raises the reach and publishes,
//!   fences, looks at the reach and as far as it says.
//! * **I10** Whatever a process left is touched only by one who has its byte locked: the process itself, at its
//!   registration, or one reaper.
//! * **I11** A process's bitmap has a bit for every stretch of a register in which the process owns an entry: set before
//!   the owner word, cleared by whoever cleaned the stretch after the process's death.
//! * **I12** A slot's hints are noted in it, then set, then its claim is announced and fenced; they are cleared when the
//!   claim has ended. So a scan that doesn't find one comes before the announcement's fence, and will be seen (I1), or
//!   after the end. A bucket's stacks are set with the first hint under them and never cleared.
//! * **I13** Who sleeps on a request's slot that is held has rung its owner's bell since it was, with its place in the
//!   queue announced: before the sleep; and a request that comes to hold while it is slept on wakes the sleepers first. An
//!   owner that reads its bell, then looks, and sleeps only while the bell is what it read hears every ring.
//! * **I14** While a claim is held none that it excludes is (I1), and while one waits none that it excludes and that has a
//!   higher ticket comes to hold (I6), whichever has looked at what. So one who waits and is kept out by a claim of the
//!   calling thread comes to hold after that has ended, and a call within it, which has ended before, may pass him by;
//!   what was done under the inner claim happens before the outer one's end (I3). The thread can't move the outer claim
//!   meanwhile. One call's claims wait with one ticket, which no other call draws, and none of them comes to hold before
//!   nobody is in the way of any: who is kept out from one is from all. Announcing is not holding, and which it is the owner alone knows: `Mine::held`. One who isn't waiting may
//!   be there without having asked (`announce`), or draw a lower ticket, and is never passed by.
//! * **I15** In a use's entry stands how far the file reaches at least. Its owner raises it to no more than the file had
//!   under a range that he holds, and no further than that range ends; who cuts the file off holds a layout from there to
//!   the end of time, and lowers it in all entries of the file first. The two ranges exclude each other, or the raised one
//!   ends before the cut; so who finds it above the end of his own range, under that, is in the file as long as he holds it.
//!   An entry that is registered meanwhile says 0.
//!
//! * **I16** The `locks` words go down under the whole file's range only, by [`Table::use_settle`]: the words are read,
//!   fence, then the uses, and a word that has moved since stays. Who publishes a use moves every word after his fence. So
//!   his use is seen by who settles, or his raised word stands. Who relies on ranges publishes that before he takes his,
//!   and keeps it until he has let go. A file's first direct user takes ranges until the whole file has been held once:
//!   calls through the page cache may be under way whose use has ended, and which didn't look. (A direct call keeps its use
//!   until it has ended.) From then on until the last one goes no such call begins, so a later direct user needs no more
//!   than to see, after he has published himself, that another one goes without. How far the file reaches (I15) is forgotten
//!   with it: in one mode it is cut off by calls that only announce themselves. Who turns what he shares with others from one
//!   mode to the other says first that all who are registered use both, which none of them can take away: what they know of
//!   it is old.
//!
//! # Files
//!
//! *The bytes*: `cells`, `geometry` (what lies where), `memory` (the mapping as cells), `primitive` (words, fences, sleep).
//! *What excludes what*: `matrix`, `sizes`. *Claims*: `slots` (the pool, the announcement), `again` (the same once more), `reading` (what a slot says, in
//! one piece), `hints` and `scan` (whose claim is in the way), `waiting` (taking ranges), `queue` (the bakery), `patience`
//! (sleeping, and when it stops), `deadlock`, `bell`. *Registers*: `register`, `mappings`, `uses`, `unverified`. *Processes*:
//! `place`, `making`, `checks` and `served` (the file, or the memory), `attach`, `reattach` (after a fork), `probe`, `death`, `handles`,
//! `removing`. *To be looked at*: `view`, `snapshot`, `under_way`.
//!
//! # Proofs
//!
//! `models` checks the numbered invariants under loom and shuttle, and `mutants.toml` that it would find them broken;
//! Miri runs the models on the layout that programs have.
//! `tests/differential` compares scans with a plain look at every claim, in tables with thousands; `tests/handlers` lets
//! signal handlers in at every instruction, who make calls or jump out.
//! `tests/crash` kills a process before every instruction and in every system call of every operation, `tests/storm` at
//! random, `tests/drain` with direct I/O in flight; `tests/fuzz` puts anything into the table, before and meanwhile.
#![deny(clippy::undocumented_unsafe_blocks)]
#![cfg_attr(
    any(loom, shuttle, miri),
    allow(dead_code, reason = "models attach to no file and make no system call")
)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]
#![allow(
    clippy::result_large_err,
    reason = "an error carries its path because nothing here may allocate"
)]

mod again;
#[cfg(not(any(loom, shuttle)))]
mod attach;
mod bell;
mod cells;
#[cfg(not(any(loom, shuttle)))]
mod checks;
mod deadlock;
mod death;
mod error;
mod geometry;
#[cfg(not(any(loom, shuttle)))]
mod handles;
mod hints;
#[cfg(not(any(loom, shuttle)))]
mod making;
mod mappings;
mod matrix;
mod memory;
#[cfg(any(loom, shuttle, miri))]
mod model;
#[cfg(all(test, any(loom, shuttle, miri)))]
mod models;
mod patience;
#[cfg(not(any(loom, shuttle)))]
mod place;
mod primitive;
#[cfg(not(any(loom, shuttle)))]
mod probe;
mod queue;
mod reading;
#[cfg(not(any(loom, shuttle)))]
mod reattach;
mod register;
#[cfg(not(any(loom, shuttle)))]
mod removing;
mod scan;
#[cfg(not(any(loom, shuttle)))]
mod served;
mod sizes;
mod slots;
#[cfg(not(any(loom, shuttle)))]
mod snapshot;
mod under_way;
mod unverified;
mod uses;
#[cfg(not(any(loom, shuttle)))]
mod view;
mod waiting;

use core::sync::atomic::Ordering::Relaxed;

use primitive::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize};

pub use again::{Again, Word};
use cells::SOUND;
pub use cells::VERSION;
#[cfg(not(any(loom, shuttle)))]
pub use checks::{is_sound_memory, trusted_group_of};
pub use death::Reaped;
pub use error::{Fault, TableError};
pub use geometry::Geometry;
pub use mappings::{MapEntry, in_one_unit};
pub use matrix::{Claim, FileId, Mode, conflict, sort_and_merge};
pub use patience::{Held, NotHeld};
#[cfg(not(any(loom, shuttle)))]
pub use place::{OfSystem, SYSTEM_TABLE, default_path, of_system};
pub use reading::Blocker;
pub use scan::Mine;
#[cfg(not(any(loom, shuttle)))]
pub use served::{SEALS, make_sealed, served_at};
pub use sizes::{page, unit};
pub use slots::{Announced, Slot};
#[cfg(not(any(loom, shuttle)))]
pub use snapshot::{
    COUNTS_TO, MappingInfo, ProcessInfo, SlotCount, SlotInfo, SlotState, Snapshot, UnverifiedInfo,
    UseInfo,
};
pub use uses::{Others, USE_BUFFERED, USE_DIRECT, USE_OBSERVE, USE_RANGES, UseEntry, UseWord};
#[cfg(not(any(loom, shuttle)))]
pub use view::View;

/// Who: for people to read. Numbers of another PID namespace are that namespace's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Owner {
    pub pid: u32,
    pub comm: [u8; 16],
}

/// A table that this process is attached to, for the rest of its life, or only looks at.
pub struct Table {
    mem: memory::Memory,
    path: error::Path,
    /// Device and inode of the table's file.
    id: (u64, u64),
    /// Those of what stands at its path: the file, or the socket of the service that has the table. Read and written by one
    /// who asks whether it is still there; of two at once each writes what he has found there.
    at: [AtomicU64; 2],
    /// This process's index plus one; 0: not registered.
    me: AtomicU32,
    probe: AtomicI32,
    /// Threads that ask through the probe at this moment.
    asking: AtomicU32,
    /// The probe has been given up: it is opened for each question.
    on_demand: AtomicBool,
    /// Address of the page whose mapping holds this process's byte.
    life: AtomicUsize,
    /// A thread of this process is cleaning up after somebody.
    reaping: AtomicBool,
    reaped: AtomicU32,
    /// This process may not open the table: its locks are its own, and not a description's (see `death`).
    locks_for_itself: AtomicBool,
    /// Until then it is known that the living have all slots.
    vain_until: AtomicU64,
    /// Until then it isn't asked whether others live that have mapped something.
    lived_until: AtomicU64,
    poisoned: AtomicBool,
}

impl Table {
    /// Of these bytes, for a process that isn't registered and has no probe.
    fn over(mem: memory::Memory, path: error::Path, id: (u64, u64), at: (u64, u64)) -> Table {
        let (device, inode) = at;
        Table {
            mem,
            path,
            id,
            at: [AtomicU64::new(device), AtomicU64::new(inode)],
            me: AtomicU32::new(0),
            probe: AtomicI32::new(-1),
            asking: AtomicU32::new(0),
            on_demand: AtomicBool::new(false),
            life: AtomicUsize::new(0),
            reaping: AtomicBool::new(false),
            reaped: AtomicU32::new(0),
            locks_for_itself: AtomicBool::new(false),
            vain_until: AtomicU64::new(0),
            lived_until: AtomicU64::new(0),
            poisoned: AtomicBool::new(false),
        }
    }

    fn me(&self) -> Option<u32> {
        match self.me.load(Relaxed) {
            0 => None,
            owner => Some(owner),
        }
    }

    /// Whether this process is registered: not yet in a forked child.
    #[inline]
    pub fn is_registered(&self) -> bool {
        self.me().is_some()
    }

    /// Has the table been found to hold what no fenced process writes? Then nothing is excluded any more.
    #[inline]
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Relaxed) || self.mem.header().sound.load(Relaxed) != SOUND
    }

    /// What to tell people of a table that is poisoned.
    pub fn damage(&self) -> Option<TableError> {
        self.is_poisoned()
            .then(|| TableError::new(error::Fault::Poisoned, &self.path))
    }

    #[cold]
    fn poison(&self) {
        self.poisoned.store(true, Relaxed);
        self.mem.header().sound.store(0, Relaxed);
    }

    /// Who the process with this number (index plus one) says it is.
    fn owner_at(&self, owner: u32) -> Owner {
        let Some(process) = self.mem.process(owner) else {
            return Owner::default();
        };
        let [a, b] = &process.comm;
        let comm = u128::from(b.load(Relaxed)) << 64 | u128::from(a.load(Relaxed));
        Owner {
            pid: process.pid.load(Relaxed),
            comm: comm.to_ne_bytes(),
        }
    }
}
