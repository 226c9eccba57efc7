//! Many deaths, each with something in hand: what the table has room for stays what it was.

use super::common::room::{Room, free_processes};
use super::common::{Child, Dir, Random, attach, long};
use lock_table::{FileId, Slot, Table, USE_BUFFERED, USE_DIRECT};
use std::time::Instant;

/// Does this and that, and ends with whatever it has by then.
fn live_and_die(table: &Table, seed: u64) -> i32 {
    let mut random = Random(0x9876_5432 + 31 * seed);
    let file = FileId {
        dev: 8,
        ino: random.below(4),
    };
    let slots: [Option<Slot>; 3] = std::array::from_fn(|_| table.take_slot(1));
    let _ = random.below(2) == 0 && table.take_request_slot().is_some();
    for _ in 0..random.below(20) {
        let [Some(a), Some(b), Some(c)] = slots else {
            return 3;
        };
        let slot = [a, b, c][random.below(3) as usize];
        table.release(slot);
        match random.below(5) {
            0 => table.announce(slot, &random.claim()),
            1 => {
                let Some(m) = table.map_register(file, 0, random.below(1 << 20), true) else {
                    return 4;
                };
                if random.below(2) == 0 {
                    table.map_forget(m);
                }
            }
            2 => {
                let Some((u, _)) = table.use_register(file, USE_BUFFERED) else {
                    return 5;
                };
                table.use_add(u, USE_DIRECT);
            }
            _ => {
                let _ = table.hold_now(slot, &random.claim());
            }
        }
    }
    0
}

#[test]
fn many_deaths_leak_nothing() {
    let deaths: u64 = if long() { 10_000 } else { 2_500 };
    let dir = Dir::new();
    let path = dir.make();
    let table = attach(&path);
    let before = (Room::of(table), free_processes(&path, table));
    let begun = Instant::now();
    for seed in 0..deaths {
        // Half of them meet what the one before has left, half clean up after him.
        let child = Child::run(|| {
            if seed.is_multiple_of(2) {
                return Table::attach(&path).map_or(2, |t| live_and_die(&t, seed));
            }
            match table.reattach_in_child() {
                Ok(()) => live_and_die(table, seed),
                Err(_) => 2,
            }
        });
        assert_eq!(child.wait(), 0, "death {seed}");
    }
    println!("{deaths} deaths in {:.1} s", begun.elapsed().as_secs_f64());
    table.reap();
    let left = table.snapshot();
    assert!(!left.poisoned && left.slots.is_empty() && left.mappings.is_empty());
    assert!(left.uses.is_empty() && left.processes.len() == 1);
    assert_eq!((Room::of(table), free_processes(&path, table)), before);
}
