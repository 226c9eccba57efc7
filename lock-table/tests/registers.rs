//! The registers of mappings and of uses.

mod common;

use common::*;
use lock_table::{FileId, Table, UNIT, USE_BUFFERED, USE_DIRECT, USE_OBSERVE};
use std::sync::atomic::Ordering::SeqCst;

const OTHER: FileId = FileId { dev: 8, ino: 43 };

#[test]
fn writable_mappings_are_found_by_unit() {
    let dir = Dir::new();
    let table = attach(&dir.make());
    let entry = table
        .map_register(FILE, UNIT + 4096, UNIT + 8191, true)
        .unwrap();
    let me = std::process::id();
    let who = |file, first, last| table.mapped_writable(file, first, last).map(|o| o.pid);
    assert_eq!(who(FILE, UNIT, UNIT), Some(me));
    assert_eq!(who(FILE, 2 * UNIT - 1, u64::MAX), Some(me));
    assert_eq!(who(FILE, 0, u64::MAX), Some(me));
    assert_eq!(who(FILE, 0, UNIT - 1), None);
    assert_eq!(who(FILE, 2 * UNIT, u64::MAX), None);
    assert_eq!(who(OTHER, 0, u64::MAX), None);
    let read_only = table.map_register(OTHER, 0, u64::MAX, false).unwrap();
    assert_eq!(who(OTHER, 0, u64::MAX), None);
    table.map_forget(entry);
    assert_eq!(who(FILE, 0, u64::MAX), None);
    assert_eq!(table.snapshot().mappings.len(), 1);
    table.map_forget(read_only);
}

#[test]
fn a_full_register_says_so_and_entries_come_back() {
    let dir = Dir::new();
    let table = attach(&dir.make());
    let all: Vec<_> = std::iter::from_fn(|| table.map_register(FILE, 0, 0, true)).collect();
    assert_eq!(all.len(), 128);
    table.map_forget(all[5]);
    table.map_forget(all[100]);
    assert_eq!(table.map_register(FILE, 0, 0, true), Some(all[5]));
    assert_eq!(table.map_register(FILE, 0, 0, true), Some(all[100]));
    assert_eq!(table.map_register(FILE, 0, 0, true), None);
    assert_eq!(
        std::iter::from_fn(|| table.use_register(FILE, USE_BUFFERED)).count(),
        128
    );
}

#[test]
fn a_direct_use_makes_everybody_lock() {
    let dir = Dir::new();
    let path = dir.make();
    let (a, b, c) = (attach(&path), attach(&path), attach(&path));
    let first = a.use_register(FILE, USE_BUFFERED).unwrap();
    let second = b.use_register(FILE, USE_BUFFERED | USE_OBSERVE).unwrap();
    let elsewhere = b.use_register(OTHER, USE_BUFFERED).unwrap();
    assert!(!a.use_locks(first) && !b.use_locks(second));
    let others = a.use_add(first, 0);
    assert_eq!(
        (others.bits, others.first.map(|o| o.pid)),
        (USE_BUFFERED | USE_OBSERVE, Some(std::process::id()))
    );
    let third = c.use_register(FILE, USE_DIRECT).unwrap();
    assert!(a.use_locks(first) && b.use_locks(second) && c.use_locks(third));
    assert!(!b.use_locks(elsewhere));
    assert_eq!(c.use_add(third, 0).bits, USE_BUFFERED | USE_OBSERVE);
    // One who comes after the direct user locks from the start.
    let late = a.use_register(FILE, USE_BUFFERED).unwrap();
    assert!(a.use_locks(late));
    // And one who turns to direct later makes the rest lock.
    assert_eq!(
        a.use_add(a.use_register(OTHER, USE_BUFFERED).unwrap(), USE_DIRECT)
            .bits,
        USE_BUFFERED
    );
    assert!(b.use_locks(elsewhere));
    // An entry used anew starts anew.
    for u in [first, late] {
        a.use_forget(u);
    }
    b.use_forget(second);
    c.use_forget(third);
    let again = a.use_register(FILE, USE_BUFFERED).unwrap();
    assert!(!a.use_locks(again));
    a.use_force_locks(again);
    assert!(a.use_locks(again));
}

/// Two that register at the same instant, one buffered, one direct: the buffered one must lock, whoever was first.
#[test]
fn a_mix_is_never_missed() {
    let dir = Dir::new();
    let path = dir.make();
    let words = shared_words(2);
    // One step after the other: both register, both look, both leave.
    let meet = |step: u64| {
        words[0].fetch_add(1, SeqCst);
        while words[0].load(SeqCst) < 2 * step {
            if words[1].load(SeqCst) != 0 {
                return;
            }
            std::hint::spin_loop();
        }
    };
    const ROUNDS: u64 = 3000;
    let other = Child::run(|| {
        let Ok(t) = Table::attach(&path) else {
            return 1;
        };
        for round in 0..ROUNDS {
            meet(3 * round + 1);
            let Some(u) = t.use_register(FILE, USE_DIRECT) else {
                return 2;
            };
            meet(3 * round + 2);
            meet(3 * round + 3);
            t.use_forget(u);
        }
        0
    });
    let table = attach(&path);
    let mut missed = 0;
    for round in 0..ROUNDS {
        meet(3 * round + 1);
        let u = table.use_register(FILE, USE_BUFFERED).unwrap();
        meet(3 * round + 2);
        missed += u32::from(!table.use_locks(u));
        meet(3 * round + 3);
        table.use_forget(u);
    }
    assert_eq!(other.wait(), 0);
    assert_eq!(missed, 0);
}
