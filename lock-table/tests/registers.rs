//! The registers of mappings and of uses. How much fits into them: see `limits`.

mod common;

use common::*;
use lock_table::{FileId, Geometry, Table, USE_BUFFERED, USE_DIRECT, USE_OBSERVE, UseEntry, unit};
use std::sync::atomic::Ordering::SeqCst;

const OTHER: FileId = FileId { dev: 8, ino: 43 };

#[test]
fn writable_mappings_are_found_by_unit() {
    let dir = Dir::new();
    let table = attach(&dir.make());
    let entry = table
        .map_register(FILE, unit() + 4096, unit() + 8191, true)
        .unwrap();
    let me = std::process::id();
    let who = |file, first, last| table.mapped_writable(file, first, last).map(|o| o.pid);
    assert_eq!(who(FILE, unit(), unit()), Some(me));
    assert_eq!(who(FILE, 2 * unit() - 1, u64::MAX), Some(me));
    assert_eq!(who(FILE, 0, u64::MAX), Some(me));
    assert_eq!(who(FILE, 0, unit() - 1), None);
    assert_eq!(who(FILE, 2 * unit(), u64::MAX), None);
    assert_eq!(who(OTHER, 0, u64::MAX), None);
    let read_only = table.map_register(OTHER, 0, u64::MAX, false).unwrap();
    assert_eq!(who(OTHER, 0, u64::MAX), None);
    table.map_forget(entry);
    assert_eq!(who(FILE, 0, u64::MAX), None);
    assert_eq!(table.snapshot().mappings.len(), 1);
    table.map_forget(read_only);
}

/// Registers a use and keeps only the entry.
fn enter(table: &Table, file: FileId, bits: u32) -> UseEntry {
    table.use_register(file, bits).unwrap().0
}

#[test]
fn a_direct_use_makes_everybody_lock() {
    let dir = Dir::new();
    let path = dir.make();
    let (a, b, c) = (attach(&path), attach(&path), attach(&path));
    let first = enter(a, FILE, USE_BUFFERED);
    let (second, others) = b.use_register(FILE, USE_BUFFERED | USE_OBSERVE).unwrap();
    assert_eq!(
        (others.bits, others.first.map(|o| o.pid)),
        (USE_BUFFERED, Some(std::process::id()))
    );
    let elsewhere = enter(b, OTHER, USE_BUFFERED);
    assert!(!a.use_locks(first) && !b.use_locks(second));
    // Who only looks sees them all, and changes nothing.
    let seen = c.users(FILE);
    assert_eq!(seen.bits, USE_BUFFERED | USE_OBSERVE);
    assert_eq!(seen.first.map(|o| o.pid), Some(std::process::id()));
    assert_eq!(c.users(FileId { dev: 8, ino: 44 }).first, None);
    assert!(!a.use_locks(first) && !b.use_locks(second));
    let others = a.use_add(first, 0);
    assert_eq!(
        (others.bits, others.first.map(|o| o.pid)),
        (USE_BUFFERED | USE_OBSERVE, Some(std::process::id()))
    );
    let (third, others) = c.use_register(FILE, USE_DIRECT).unwrap();
    assert_eq!(others.bits, USE_BUFFERED | USE_OBSERVE);
    assert!(a.use_locks(first) && b.use_locks(second) && c.use_locks(third));
    assert!(!b.use_locks(elsewhere));
    // One who comes after the direct user locks from the start.
    let late = enter(a, FILE, USE_BUFFERED);
    assert!(a.use_locks(late));
    // And one who turns to direct later makes the rest lock.
    let own = enter(a, OTHER, USE_BUFFERED);
    assert_eq!(a.use_add(own, USE_DIRECT).bits, USE_BUFFERED);
    assert!(b.use_locks(elsewhere));
    // An entry used anew starts anew.
    for u in [first, late] {
        a.use_forget(u);
    }
    b.use_forget(second);
    c.use_forget(third);
    let again = enter(a, FILE, USE_BUFFERED);
    assert!(!a.use_locks(again));
    a.use_force_locks(again);
    assert!(a.use_locks(again) && !a.use_mixed(again));
}

#[test]
fn mixed_is_direct_and_buffered_by_whomever() {
    let dir = Dir::new();
    let path = dir.make();
    let (a, b) = (attach(&path), attach(&path));
    // Buffered by all, then direct by all: neither is mixed.
    let (u, v) = (enter(a, FILE, USE_BUFFERED), enter(b, FILE, USE_BUFFERED));
    assert!(!a.use_mixed(u) && !b.use_mixed(v));
    let (x, y) = (enter(a, OTHER, USE_DIRECT), enter(b, OTHER, USE_DIRECT));
    assert!(a.use_locks(x) && b.use_locks(y));
    assert!(!a.use_mixed(x) && !b.use_mixed(y));
    // A direct one among the buffered, a buffered one among the direct: everybody knows.
    a.use_add(u, USE_DIRECT);
    assert!(a.use_mixed(u) && b.use_mixed(v) && b.use_locks(v));
    let z = enter(b, OTHER, USE_BUFFERED);
    assert!(a.use_mixed(x) && b.use_mixed(y) && b.use_mixed(z));
    // One process alone.
    let alone = enter(a, FileId { dev: 8, ino: 44 }, USE_DIRECT);
    assert!(!a.use_mixed(alone));
    a.use_add(alone, USE_BUFFERED);
    assert!(a.use_mixed(alone));
}

/// More entries of one file than its home has room for: they are found wherever they went, by every process, and so
/// are those of files whose home they took up.
#[test]
fn a_file_that_spills_is_found_whole() {
    let dir = Dir::new();
    let path = dir.table();
    let g = Geometry {
        processes: 8,
        slots: 8,
        requests: 1,
        mappings: 1000,
        uses: 1000,
    };
    Table::create(&path, &g).unwrap();
    let (a, b) = (attach(&path), attach(&path));
    let many: Vec<_> = (0..500)
        .map(|i| {
            (
                a.map_register(FILE, i * unit(), i * unit(), true).unwrap(),
                i,
            )
        })
        .collect();
    let others: Vec<_> = (0..500)
        .map(|ino| FileId { dev: 9, ino })
        .map(|file| (b.map_register(file, 0, 0, true).unwrap(), file))
        .collect();
    assert_eq!(a.map_register(OTHER, 0, 0, true), None);
    for (entry, i) in many {
        assert!(b.mapped_writable(FILE, i * unit(), i * unit()).is_some());
        a.map_forget(entry);
        assert!(b.mapped_writable(FILE, i * unit(), i * unit()).is_none());
    }
    for (entry, file) in others {
        assert!(a.mapped_writable(file, 0, 0).is_some());
        b.map_forget(entry);
        assert!(a.mapped_writable(file, 0, 0).is_none());
    }
    // The uses: the last of so many is seen by the first, and sees it.
    let first = enter(b, FILE, USE_BUFFERED);
    let rest: Vec<_> = (0..700).map(|_| enter(a, FILE, USE_BUFFERED)).collect();
    let (direct, seen) = b.use_register(FILE, USE_DIRECT).unwrap();
    assert_eq!(seen.bits, USE_BUFFERED);
    assert!(b.use_mixed(first) && rest.iter().all(|u| a.use_mixed(*u)));
    b.use_forget(direct);
    for u in rest {
        a.use_forget(u);
    }
    assert_eq!(b.use_add(first, 0).bits, 0);
}

/// Another process's entries lie behind the full home of the file; all are found, and when it is killed all go.
#[test]
fn a_killed_owner_leaves_nothing_behind_a_full_home() {
    let dir = Dir::new();
    let path = dir.make();
    let table = attach(&path);
    let mine: Vec<_> = (0..60)
        .map(|_| enter(table, FILE, USE_BUFFERED))
        .chain((0..10).map(|_| enter(table, OTHER, USE_BUFFERED)))
        .collect();
    let words = shared_words(1);
    let victim = Child::run(|| {
        let Ok(t) = Table::attach(&path) else {
            return 2;
        };
        for i in 0..40 {
            let bits = if i == 39 { USE_DIRECT } else { USE_BUFFERED };
            if t.use_register(FILE, bits).is_none() || t.map_register(FILE, i, i, true).is_none() {
                return 3;
            }
        }
        // More than a home holds, of one file, at its end.
        for i in 0..88 {
            if t.map_register(FILE, 4 * unit() + i, 4 * unit() + i, true)
                .is_none()
            {
                return 4;
            }
        }
        words[0].store(1, SeqCst);
        loop {
            // SAFETY: waits for a signal.
            unsafe { libc::pause() };
        }
    });
    until("the child stands", || words[0].load(SeqCst) == 1);
    let pid = victim.0 as u32;
    let (last, others) = table.use_register(FILE, USE_BUFFERED).unwrap();
    assert_eq!(others.bits, USE_BUFFERED | USE_DIRECT);
    assert!(table.use_locks(mine[0]) && table.use_mixed(last));
    let who = |at| table.mapped_writable(FILE, at, at).map(|o| o.pid);
    assert_eq!(who(4 * unit()), Some(pid));
    assert_eq!(table.map_register(FILE, 0, 0, true), None);
    victim.kill();
    let reaped = table.reap();
    assert_eq!(
        (reaped.processes, reaped.mappings, reaped.uses),
        (1, 128, 40)
    );
    assert_eq!((who(0), who(4 * unit())), (None, None));
    assert_eq!(table.use_add(last, 0).bits, USE_BUFFERED);
    assert_eq!(table.snapshot().uses.len(), 71);
    // All of it can be had again.
    let all = std::iter::from_fn(|| table.map_register(OTHER, 0, 0, true)).count();
    assert_eq!(all, 128);
}

/// What a look costs follows the file: with many others in the register it must not rise with their number.
#[test]
fn other_files_cost_nothing() {
    let dir = Dir::new();
    let path = dir.table();
    let g = Geometry {
        processes: 2,
        slots: 2,
        requests: 1,
        mappings: 65_536,
        uses: 1,
    };
    Table::create(&path, &g).unwrap();
    let table = attach(&path);
    let look = |file| {
        (0..6)
            .map(|_| {
                let start = kernel::now_ns();
                for _ in 0..4 {
                    assert!(table.mapped_writable(file, 0, 0).is_some());
                }
                kernel::now_ns() - start
            })
            .min()
            .unwrap()
    };
    let crowded = FileId { dev: 7, ino: 7 };
    for i in 0..20_000 {
        table.map_register(crowded, unit() * (i + 1), unit() * (i + 1), true);
    }
    table.map_register(crowded, 0, 0, true).unwrap();
    let slow = look(crowded);
    // Of many other files hardly any live beside a crowded one.
    let mut quick: Vec<_> = (0..49)
        .map(|ino| FileId { dev: 8, ino })
        .map(|file| {
            table.map_register(file, 0, 0, true).unwrap();
            look(file)
        })
        .collect();
    quick.sort_unstable();
    assert!(quick[10] * 20 < slow, "{} and {slow} ns", quick[10]);
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
            let Some((u, _)) = t.use_register(FILE, USE_DIRECT) else {
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
        let u = enter(table, FILE, USE_BUFFERED);
        meet(3 * round + 2);
        missed += u32::from(!table.use_locks(u) || !table.use_mixed(u));
        meet(3 * round + 3);
        table.use_forget(u);
    }
    assert_eq!(other.wait(), 0);
    assert_eq!(missed, 0);
}
