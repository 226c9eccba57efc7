//! Death at the first of each thing in a table in which nothing was ever used: its marks and reaches are raised then.

use super::common::room::Room;
use super::common::{Dir, FILE, attach, claim, long};
use super::trace::{Next, Traced, mark};
use super::world::GEOMETRY;
use lock_table::{Mode, Table, USE_DIRECT};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// A child that takes one of everything, and its marks around it.
fn first_of_all(path: &CStr) -> i32 {
    let Ok(t) = Table::attach(path) else {
        return 2;
    };
    mark();
    let (slot, request) = (t.take_slot(7), t.take_request_slot());
    if let (Some(s), Some(r)) = (slot, request) {
        let _ = t.hold_now(s, &claim(Mode::DirectWrite, 0, 4095));
        let _ = t.hold_now(r, &claim(Mode::Layout, 1 << 30, u64::MAX));
    }
    let _ = t.map_register(FILE, 0, 4095, true);
    let _ = t.use_register(FILE, USE_DIRECT);
    mark();
    0
}

struct Fresh {
    _dir: Dir,
    path: CString,
    file: File,
    new: Vec<u8>,
    survivor: &'static Table,
    room: Room,
}

impl Fresh {
    fn make() -> Fresh {
        let dir = Dir::new();
        let path = dir.table();
        Table::create(&path, &GEOMETRY).unwrap();
        let survivor = attach(&path);
        let mut options = File::options();
        let file = options.read(true).write(true).open(dir.0.join("table"));
        Fresh {
            new: std::fs::read(dir.0.join("table")).unwrap(),
            room: Room::of(survivor),
            file: file.unwrap(),
            _dir: dir,
            path,
            survivor,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut now = vec![0; self.new.len()];
        self.file.read_exact_at(&mut now, 0).unwrap();
        now
    }

    /// Makes the table as new, leads a child so far and kills it. Which of its steps changed the table, if they are
    /// asked for.
    fn kill_before(&self, step: usize, look: bool) -> Vec<bool> {
        self.file.write_all_at(&self.new, 0).unwrap();
        let traced = Traced::start(|| first_of_all(&self.path));
        let (mut stores, mut before) = (Vec::new(), self.bytes());
        while stores.len() < step && traced.next().1 != Next::Mark {
            traced.step();
            let now = if look { self.bytes() } else { Vec::new() };
            stores.push(look && now != before);
            before = now;
        }
        traced.kill();
        assert_eq!(self.survivor.reap().processes, 1);
        let left = self.survivor.snapshot();
        let all = (left.slots.len(), left.mappings.len(), left.uses.len());
        assert_eq!(all, (0, 0, 0), "killed before step {step}");
        assert_eq!(
            Room::of(self.survivor),
            self.room,
            "killed before step {step}"
        );
        stores
    }
}

#[test]
fn the_first_of_each_thing() {
    let fresh = Fresh::make();
    let stores = fresh.kill_before(usize::MAX, true);
    let is_point = |at: &usize| {
        let changes = |i: usize| stores.get(i) == Some(&true);
        long() || at.is_multiple_of(40) || changes(*at) || changes(at.wrapping_sub(1))
    };
    let points: Vec<_> = (0..=stores.len()).filter(is_point).collect();
    for at in &points {
        fresh.kill_before(*at, false);
    }
    let (steps, stores) = (stores.len(), stores.iter().filter(|s| **s).count());
    println!(
        "the first of each: {steps} instructions, {stores} stores to the table; {} kills",
        points.len()
    );
    assert!(stores > 30, "{stores}");
}
