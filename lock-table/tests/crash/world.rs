//! A table with two survivors, and what must be so after a death.

use super::common::room::{Room, free_processes};
use super::common::{Dir, attach, claim, in_ms, no};
use lock_table::{Claim, Geometry, Mine, Mode, Slot, SlotState, Snapshot, Table};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Instant;

/// Small, so that it can be compared with what it was after every instruction, and filled after every death.
pub const GEOMETRY: Geometry = Geometry {
    processes: 8,
    slots: 24,
    requests: 4,
    mappings: 96,
    uses: 96,
};
/// Within what time a survivor must have what a dead one held.
pub const LIMIT_MS: u64 = 1000;

pub struct World {
    _dir: Dir,
    file: File,
    pub path: CString,
    /// Looks, and takes what the dead held.
    pub survivor: &'static Table,
    slot: Slot,
    /// Holds something while others die.
    pub holder: &'static Table,
    /// A thread's slot and a request's.
    holding: [Slot; 2],
    /// What there was before anybody died.
    before: (Snapshot, Room, i32),
}

/// What the holder holds meanwhile, and as what.
pub enum Beside {
    Thread(Claim),
    Request(Claim),
}

/// Ranges of direct writes: inode, first, last.
pub type Ranges = BTreeSet<(u64, u64, u64)>;

/// The table's bytes, and what they were before.
#[derive(Default)]
pub struct Copy([Vec<u8>; 2]);

impl World {
    pub fn new() -> World {
        let dir = Dir::new();
        let path = dir.table();
        Table::create(&path, &GEOMETRY).unwrap();
        let (survivor, holder) = (attach(&path), attach(&path));
        let slot = survivor.take_slot(1).unwrap();
        let holding = [holder.take_slot(1), holder.take_request_slot()].map(Option::unwrap);
        let room = Room::of(survivor);
        let processes = free_processes(&path, survivor);
        let before = (survivor.snapshot(), room, processes);
        World {
            file: File::open(path.to_str().unwrap()).unwrap(),
            _dir: dir,
            path,
            survivor,
            slot,
            holder,
            holding,
            before,
        }
    }

    /// Brings the copy of the table up to date. True if something had changed.
    pub fn copy(&self, copy: &mut Copy) -> bool {
        let [old, new] = &mut copy.0;
        new.resize(self.file.metadata().unwrap().len() as usize, 0);
        self.file.read_exact_at(new, 0).unwrap();
        std::mem::swap(old, new);
        old != new
    }

    pub fn hold_beside(&self, beside: &Beside) {
        let [thread, request] = self.holding;
        let (s, c) = match beside {
            Beside::Thread(c) => (thread, c),
            Beside::Request(c) => (request, c),
        };
        self.holder.hold_now(s, c).unwrap();
    }

    pub fn let_go(&self) {
        self.holding.iter().for_each(|s| self.holder.release(*s));
    }

    /// What is to be remembered if this process dies now: what it holds for direct writes, and what is remembered.
    pub fn at_stake(&self, pid: i32) -> Ranges {
        let now = self.survivor.snapshot();
        let held = now.slots.iter().filter(|s| {
            s.owner.pid == pid as u32
                && s.state == SlotState::Held
                && s.claim.mode == Mode::DirectWrite
        });
        let held = held.map(|s| (s.claim.file.ino, s.claim.first, s.claim.last));
        let known = now.unverified.iter();
        let known = known.map(|u| (u.file.ino, u.first, u.last));
        held.chain(known).collect()
    }

    /// Somebody has died. The whole file can be had at once, what he may have written is known, and nothing else is
    /// left of him. How long it took to get the file, in milliseconds.
    pub fn check(&self, unverified: &Ranges) -> f64 {
        let begun = Instant::now();
        let all = claim(Mode::Layout, 0, u64::MAX);
        let held = self
            .survivor
            .hold(self.slot, &all, &Mine::NONE, in_ms(LIMIT_MS), &mut no());
        let took = begun.elapsed().as_secs_f64() * 1e3;
        assert!(held.is_ok(), "{held:?}: {:#?}", self.survivor.snapshot());
        self.survivor.release(self.slot);
        self.survivor.reap();
        let now = self.survivor.snapshot();
        let known = now.unverified.iter();
        let known: Vec<_> = known.map(|u| (u.file.ino, u.first, u.last)).collect();
        assert_eq!(known.len(), unverified.len(), "{known:?}, {unverified:?}");
        assert_eq!(&known.into_iter().collect::<Ranges>(), unverified);
        for u in &now.unverified {
            self.survivor.verified(u.file, u.first, u.last);
        }
        let (before, room, _) = &self.before;
        assert_eq!(&self.survivor.snapshot(), before);
        assert_eq!(&Room::of(self.survivor), room);
        took
    }

    /// After many deaths: as many processes may attach as before.
    pub fn check_processes(&self) {
        assert_eq!(free_processes(&self.path, self.survivor), self.before.2);
    }
}

/// What most operations here are done to.
pub fn direct(first: u64, last: u64) -> Claim {
    claim(Mode::DirectWrite, first, last)
}
