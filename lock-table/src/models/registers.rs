//! Uses and mappings of a file.

use super::*;

/// I9: of two that register a use at once one sees the other, and both learn that they must lock.
#[test]
fn two_that_register_a_use() {
    check(3, || {
        let w = World::new();
        let (a, b, c) = (w.table(1), w.table(2), w.table(3));
        let uses = Arc::new([W32::new(0), W32::new(0)]);
        let (first, second) = (uses.clone(), uses.clone());
        together!(
            move || {
                let (u, _) = a.use_register(FILE, USE_BUFFERED).expect("there is room");
                first[0].store(u.index(), SeqCst);
            },
            move || {
                let (u, _) = b.use_register(FILE, USE_DIRECT).expect("there is room");
                second[1].store(u.index(), SeqCst);
            },
        );
        for u in uses.iter().map(|u| crate::UseEntry(u.load(SeqCst))) {
            assert!(c.use_locks(u) && c.use_mixed(u), "{u:?}");
        }
    });
}

/// A mapping that is registered under a range is seen by who takes the range later.
#[test]
fn a_mapping_is_seen_under_its_range() {
    check(1, || {
        let w = World::new();
        let (a, b) = (w.process(1), w.process(2));
        let mapped = Arc::new(W32::new(0));
        let known = mapped.clone();
        together!(
            move || {
                a.hold(&claim(Mode::BufferedWrite, 0, 4095));
                let entry = a.table.map_register(FILE, 0, 4095, true);
                assert!(entry.is_some());
                mapped.store(1, Relaxed);
                a.table.release(a.slot());
            },
            move || {
                b.hold(&page(0));
                if known.load(Relaxed) == 1 {
                    assert!(b.table.mapped_writable(FILE, 0, 4095).is_some());
                }
                b.table.release(b.slot());
            },
        );
    });
}

/// I15: a write that ends before how far its process knows the file to reach is in the file, whoever cuts that off. How
/// long the file is stands in a word, in bytes.
#[test]
fn what_is_known_to_be_in_a_file_is_in_it() {
    check(1, || {
        let w = World::new();
        let (a, b) = (w.process(1), w.process(2));
        let (u, _) = b
            .table
            .use_register(FILE, USE_BUFFERED)
            .expect("there is room");
        let size = Arc::new(W64::new(8192));
        let (cut, read) = (size.clone(), size);
        together!(
            move || {
                let all = claim(Mode::Layout, 0, u64::MAX);
                if a.table.hold_now(a.slot(), &all).is_ok() {
                    a.table.use_cut_off(FILE, 0);
                    cut.store(0, Relaxed);
                    a.table.release(a.slot());
                }
            },
            move || {
                for _ in 0..2 {
                    let own = claim(Mode::BufferedWrite, 4096, 8191);
                    if b.table.hold_now(b.slot(), &own).is_err() {
                        continue;
                    }
                    let now = read.load(Relaxed);
                    match b.table.use_reaches(u) {
                        8192.. => assert_eq!(now, 8192, "it has been cut off"),
                        _ => b.table.use_reaches_to(u, now.min(8192)),
                    }
                    b.table.release(b.slot());
                }
            },
        );
    });
}

/// I15: an entry that is used again says nothing of the file that it was for. (One thread: nothing for shuttle.)
#[cfg(not(shuttle))]
#[test]
fn of_a_file_that_is_new_nothing_is_known() {
    check(1, || {
        let w = World::new();
        let a = w.table(1);
        for _ in 0..GEOMETRY.uses + 1 {
            let (u, _) = a.use_register(FILE, USE_BUFFERED).expect("there is room");
            assert_eq!(a.use_reaches(u), 0);
            a.use_reaches_to(u, 4096);
            assert_eq!(a.use_reaches(u), 4096);
            a.use_forget(u);
        }
    });
}
