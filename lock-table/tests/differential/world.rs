//! A table, who has slots in it, and what is compared: what the table says with what `conflict` says of all claims.

use super::Case;
use super::common::{Dir, Random, attach, in_ms, no};
use super::places::{Places, pick};
use lock_table::{Claim, Geometry, Mine, Mode, Slot, SlotState, Table, conflict};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

const PROCESSES: u64 = 3;
/// Modes that mostly leave each other alone: else few claims would get in beside those that are held.
const QUIET: [Mode; 4] = [
    Mode::BufferedRead,
    Mode::BufferedRead,
    Mode::DirectRead,
    Mode::BufferedWrite,
];
const LOUD: [Mode; 3] = [Mode::Layout, Mode::DirectWrite, Mode::BufferedWrite];

/// A slot in use.
struct User {
    table: &'static Table,
    slot: Slot,
    claim: Option<Claim>,
}

pub struct World<'a> {
    _dir: Dir,
    /// For the messages: which world, and how many steps and waits it has seen.
    name: String,
    steps: usize,
    random: Random,
    places: &'a Places,
    tables: Vec<&'static Table>,
    users: Vec<User>,
}

impl World<'_> {
    pub fn new<'a>(case: &Case, places: &'a Places, seed: u64) -> World<'a> {
        let dir = Dir::new();
        let path = dir.table();
        let g = Geometry {
            processes: PROCESSES as u32,
            slots: case.slots,
            requests: case.requests,
            mappings: 1,
            uses: 1,
        };
        Table::create(&path, &g).unwrap();
        World {
            _dir: dir,
            name: format!("seed {seed}"),
            steps: 0,
            random: Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            places,
            tables: (0..PROCESSES).map(|_| attach(&path)).collect(),
            users: Vec::new(),
        }
    }

    pub fn run(mut self, case: &Case) {
        self.take_slots(case);
        for _ in 0..case.steps {
            self.step(case);
        }
        self.check_snapshot();
        for _ in 0..case.waits {
            self.wait();
        }
        self.check_snapshot();
        assert!(!self.tables[0].is_poisoned(), "{}", self.at());
    }

    fn take_slot(&mut self, case: &Case) {
        let table = *pick(&mut self.random, &self.tables);
        let all = u64::from(case.slots + case.requests);
        let slot = if self.random.below(all) < u64::from(case.slots) {
            table.take_slot(1)
        } else {
            table.take_request_slot()
        };
        self.users.extend(slot.map(|slot| User {
            table,
            slot,
            claim: None,
        }));
    }

    fn give_slot(&mut self, user: usize) {
        let user = self.users.swap_remove(user);
        user.table.give_slot(user.slot);
    }

    fn at(&self) -> String {
        format!("{}, step {}", self.name, self.steps)
    }

    fn any_user(&mut self) -> usize {
        self.random.below(self.users.len() as u64) as usize
    }

    /// So that those in use lie all over the table: takes nearly all, and gives some back.
    fn take_slots(&mut self, case: &Case) {
        for _ in 0..(case.slots + case.requests) * 2 {
            self.take_slot(case);
        }
        while self.users.len() > case.in_use {
            let user = self.any_user();
            self.give_slot(user);
        }
    }

    /// The truth: the slots with claims that exclude this one.
    fn in_the_way(&self, c: &Claim) -> BTreeSet<u32> {
        let excludes = |u: &&User| u.claim.is_some_and(|d| conflict(c, &d));
        let slots = self.users.iter().filter(excludes).map(|u| u.slot.index());
        slots.collect()
    }

    /// Somebody does something: gives his slot back and takes another, lets go, or tries to get in.
    fn step(&mut self, case: &Case) {
        self.steps += 1;
        let user = self.any_user();
        if self.random.below(10) == 0 {
            self.give_slot(user);
            self.take_slot(case);
        } else if self.users[user].claim.is_none() {
            let loud = self.random.below(5) == 0;
            let modes: &[Mode] = if loud { &Mode::ALL } else { &QUIET };
            let c = self.places.claim(&mut self.random, 12, modes);
            self.try_to_hold(user, &c);
        } else if self.random.below(100) >= case.keeps {
            self.release(user);
        }
    }

    fn release(&mut self, user: usize) {
        let user = &mut self.users[user];
        user.table.release(user.slot);
        user.claim = None;
    }

    fn try_to_hold(&mut self, user: usize, c: &Claim) {
        let truth = self.in_the_way(c);
        if self.random.below(4) == 0 {
            self.check_blocker(user, c, &truth);
        }
        let at = self.at();
        let user = &mut self.users[user];
        match user.table.hold_now(user.slot, c) {
            Ok(()) => {
                assert!(truth.is_empty(), "{at}: {c:?} is held beside {truth:?}");
                user.claim = Some(*c);
            }
            Err(why) => assert!(
                why.blocker()
                    .is_some_and(|b| truth.contains(&b.slot.index())),
                "{at}: {c:?} is refused: {why:?}, not {truth:?}"
            ),
        }
    }

    /// Names one that is in the way; one of one's own only when there is no other.
    fn check_blocker(&mut self, user: usize, c: &Claim, truth: &BTreeSet<u32>) {
        let own: [usize; 3] = std::array::from_fn(|_| self.any_user());
        let own = own.map(|i| self.users[i].slot);
        let others = truth
            .iter()
            .filter(|t| own.iter().all(|s| s.index() != **t));
        let others: BTreeSet<u32> = others.copied().collect();
        let allowed = if others.is_empty() { truth } else { &others };
        let user = &self.users[user];
        let found = user
            .table
            .blocker(user.slot, c, &own)
            .map(|b| b.slot.index());
        assert!(
            found.map_or(truth.is_empty(), |slot| allowed.contains(&slot)),
            "{}: {found:?} is said to be in the way of {c:?}, not {allowed:?}",
            self.at()
        );
    }

    /// A claim that several exclude, and those.
    fn excluded_claim(&mut self) -> (Claim, BTreeSet<u32>) {
        loop {
            let c = self.places.claim(&mut self.random, 4, &LOUD);
            let truth = self.in_the_way(&c);
            if (3..100).contains(&truth.len()) {
                return (c, truth);
            }
        }
    }

    /// Somebody waits. Nobody lets go but the one whom he waits for, so he meets all that were in his way.
    fn wait(&mut self) {
        self.steps += 1;
        let user = loop {
            let user = self.any_user();
            if self.users[user].claim.is_none() {
                break user;
            }
        };
        let (c, mut truth) = self.excluded_claim();
        let (table, slot) = (self.users[user].table, self.users[user].slot);
        let (left, ended) = (AtomicUsize::new(truth.len()), AtomicBool::new(false));
        let mut met = Vec::new();
        let (held, left_over) = std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let held = table.hold(slot, &c, &Mine::NONE, in_ms(20_000), &mut no());
                let left = left.load(SeqCst);
                ended.store(true, SeqCst);
                (held, left)
            });
            while !ended.load(SeqCst) {
                if let Some(on) = waits_for(table, slot)
                    && truth.remove(&on)
                {
                    left.fetch_sub(1, SeqCst);
                    let user = self.users.iter().position(|u| u.slot.index() == on);
                    self.release(user.unwrap());
                    met.extend(user);
                }
            }
            waiter.join().unwrap()
        });
        let at = self.at();
        assert!(held.is_ok(), "{at}: {held:?}, never met {truth:?}");
        assert_eq!(left_over, 0, "{at}: {c:?} is held beside {truth:?}");
        table.release(slot);
        for user in met {
            let c = self.places.claim(&mut self.random, 12, &QUIET);
            self.try_to_hold(user, &c);
        }
    }

    /// The table shows what is held, slot by slot.
    fn check_snapshot(&self) {
        let shown = self.tables[0].snapshot().slots;
        let shown: BTreeSet<_> = shown
            .iter()
            .map(|s| (s.index, format!("{:?}", s.claim)))
            .collect();
        let held = self
            .users
            .iter()
            .filter_map(|u| Some((u.slot.index(), u.claim?)));
        let held: BTreeSet<_> = held.map(|(slot, c)| (slot, format!("{c:?}"))).collect();
        assert!(shown == held, "{}: the snapshot shows others", self.at());
    }
}

fn waits_for(table: &Table, slot: Slot) -> Option<u32> {
    let snapshot = table.snapshot();
    let mut waiting = snapshot
        .slots
        .iter()
        .filter(|s| s.state == SlotState::Waiting);
    waiting.find(|s| s.index == slot.index())?.waiting_on
}
