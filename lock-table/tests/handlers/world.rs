//! A table with two processes: ours, whose thread is interrupted, and theirs, which looks.

use super::common::buckets::{Bits, Search, stripes, whole};
use super::common::{Dir, FILE, Random, attach};
use lock_table::{Claim, FileId, Geometry, Mode, NotHeld, Slot, Table};
use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Where a handler came in: for the messages.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "shown")]
pub struct Point {
    pub operation: &'static str,
    pub seed: u64,
    pub instruction: usize,
    pub action: &'static str,
}

pub struct World {
    _dir: Dir,
    file: File,
    /// The table's bytes before anything was done.
    fresh: Vec<u8>,
    bits: Bits,
    pub claims: Vec<Claim>,
    /// Those that share one bucket and have notes of their own. A slot that was used in these alone has no hint in the
    /// file's own bucket, where everybody looks and which would hide that another is missing.
    pub sharing: Vec<Claim>,
    /// Its buckets are nobody else's.
    pub elsewhere: Claim,
    pub at: Cell<Option<Point>>,
    /// Ours are requests' slots.
    high: bool,
    pub ours: &'static Table,
    /// The interrupted call's slot, and its second one; the handler's.
    pub slot: Slot,
    pub second: Slot,
    pub nested: Slot,
    pub theirs: &'static Table,
    /// Theirs lie in another hint word than ours.
    probe: Slot,
    pub holder: Slot,
}

impl World {
    /// Ours are the first slots of all, or some above 2,048.
    pub fn new(high: bool) -> World {
        let dir = Dir::new();
        let path = dir.table();
        // The requests' slots stand behind the threads'.
        let g = Geometry {
            processes: 2,
            slots: if high { 2048 } else { 64 },
            requests: 16,
            mappings: 1,
            uses: 1,
        };
        Table::create(&path, &g).unwrap();
        let (ours, theirs) = (attach(&path), attach(&path));
        for _ in 0..3 {
            take(ours, high); // not the first bits of the first byte
        }
        let [slot, second, nested] = [(); 3].map(|()| take(ours, high));
        let [probe, holder] = [(); 2].map(|()| take(theirs, !high));
        let (claims, sharing) = claims();
        let mut file = File::options();
        let file = file.read(true).write(true);
        World {
            file: file.open(path.to_str().unwrap()).unwrap(),
            fresh: std::fs::read(path.to_str().unwrap()).unwrap(),
            bits: Bits::of(&path, &g),
            _dir: dir,
            claims,
            sharing,
            elsewhere: stripes(FileId { dev: 77, ..FILE }, 5, 2, Mode::DirectWrite),
            at: Cell::new(None),
            high,
            ours,
            slot,
            second,
            nested,
            theirs,
            probe,
            holder,
        }
    }

    /// As it was when it was new: all hints, stacks and generations. Nothing is held.
    pub fn renew(&self) {
        self.file.write_all_at(&self.fresh, 0).unwrap();
    }

    /// Do others see that this is held here? Wherever they look, it is in their way.
    pub fn check_seen(&self, s: Slot, c: &Claim) {
        let byte = |at: u64| Claim {
            first: at,
            last: at,
            ..*c
        };
        let middle = c.first + (c.last - c.first) / 2;
        let all = [
            byte(c.first),
            byte(middle),
            byte(c.last),
            *c,
            whole(c.file, c.mode),
        ];
        for looked in all {
            let found = self.theirs.hold_now(self.probe, &looked);
            assert_eq!(
                found.map_err(|why| why.blocker().map(|b| b.slot)),
                Err(Some(s)),
                "{:?}: {c:?} in {s:?} is not seen by {looked:?}",
                self.at.get()
            );
        }
    }

    /// The same for a handler, which must not panic: is a byte of it in their way?
    pub fn is_seen(&self, c: &Claim) -> bool {
        let byte = Claim {
            last: c.first,
            ..*c
        };
        let held = self.theirs.hold_now(self.probe, &byte);
        if held.is_ok() {
            self.theirs.release(self.probe);
        }
        held.is_err()
    }

    /// The slot is used as if nothing had been.
    pub fn check_use(&self, c: &Claim) {
        let held = self.ours.hold_now(self.slot, c);
        assert!(held.is_ok(), "{:?}: {c:?}: {held:?}", self.at.get());
        self.check_seen(self.slot, c);
        self.ours.release(self.slot);
    }

    /// The slot is used everywhere, in any order. Mostly it begins where it was used last or before: there it may
    /// believe that its hints are set.
    pub fn check_uses(&self, uses: &[Claim], random: &mut Random) {
        match random.below(5) {
            0 => {}
            1 | 2 => self.check_use(pick(random, uses)),
            _ => uses.last().into_iter().for_each(|c| self.check_use(c)),
        }
        let mut rest = self.claims.clone();
        while !rest.is_empty() {
            let next = random.below(rest.len() as u64) as usize;
            self.check_use(&rest.swap_remove(next));
        }
    }

    /// Is the slot in the pool? Then it is taken again.
    pub fn was_given(&self) -> bool {
        let first = take(self.ours, self.high);
        if first != self.slot {
            self.ours.give_slot(first);
        }
        first == self.slot
    }

    /// What is in the pool has no hints, is nobody's, and can be had.
    pub fn check_giving(&self) {
        for s in [self.second, self.nested, self.slot] {
            self.ours.give_slot(s);
            self.check_no_hints(s);
            let held = self.ours.hold_now(s, &self.claims[0]);
            assert_eq!(held, Err(NotHeld::NotOurs), "{:?}", self.at.get());
        }
        assert!(self.was_given(), "{:?}: the slot is lost", self.at.get());
    }

    pub fn check_no_hints(&self, s: Slot) {
        let left = self.bits.of_slot(s);
        assert!(
            left.is_empty(),
            "{:?}: {s:?} has hints left in {left:?}",
            self.at.get()
        );
    }

    pub fn check_nothing_held(&self) {
        let shown = self.theirs.snapshot();
        assert!(
            shown.slots.is_empty() && !shown.poisoned,
            "{:?}: {shown:?}",
            self.at.get()
        );
        assert!(!self.ours.is_poisoned(), "{:?}", self.at.get());
    }
}

pub fn pick<'a, T>(random: &mut Random, from: &'a [T]) -> &'a T {
    &from[random.below(from.len() as u64) as usize]
}

fn take(table: &Table, request: bool) -> Slot {
    let slot = if request {
        table.take_request_slot()
    } else {
        table.take_slot(1)
    };
    slot.unwrap()
}

/// Claims that share buckets, with each other and with those that are noted apart: a slot notes a stripe by its
/// number modulo four, and a wide claim for itself. And those of them that share one bucket.
fn claims() -> (Vec<Claim>, Vec<Claim>) {
    let search = Search::new();
    let some = |file, from, count| stripes(file, from, count, Mode::DirectWrite);
    let wide = |file| whole(file, Mode::DirectWrite);
    let mut claims = vec![
        some(FILE, 0, 1),
        some(FILE, 1, 1),
        some(FILE, 0, 2),
        some(FILE, 4, 1),
        some(FILE, 2, 4),
        wide(FILE),
    ];
    let mut sharing = vec![some(FILE, 0, 1)];
    let first_stripe = search.bucket(&some(FILE, 0, 1));
    for bucket in [first_stripe, search.bucket(&wide(FILE))] {
        for note in 0..4 {
            let all = (8 + note..).step_by(4).map(|n| some(FILE, n, 1));
            let one = search.first_in(bucket, all);
            claims.push(one);
            if bucket == first_stripe {
                sharing.push(one);
            }
            if note == 1 {
                let first = one.first - some(FILE, 1, 1).first;
                claims.push(Claim { first, ..one }); // two stripes, the second of which shares
            }
        }
    }
    let others = (1000..).map(|ino| wide(FileId { ino, ..FILE }));
    let other = search.first_in(first_stripe, others);
    claims.extend([other, some(other.file, 0, 1)]);
    (claims, sharing)
}
