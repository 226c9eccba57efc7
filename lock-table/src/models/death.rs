//! The dead, and slots that go from one to the next.

use super::*;

/// I2, I10: who waits for a dead one frees what it held, once, and what it was writing is remembered.
#[test]
fn the_dead_are_reaped() {
    check_with_deaths(3, || {
        let w = World::new();
        let (dead, a) = (w.process(1), w.process(2));
        dead.hold(&page(0));
        dead.table.dies();
        let other = w.table(3);
        together!(move || a.pass(&page(0), 0), move || {
            other.reap();
        },);
        let mut unverified = 0;
        w.table(3).unverified(FILE, &mut |_, _| unverified += 1);
        assert_eq!(unverified, 1);
        w.is_clean(&[1]);
    });
}

/// I10: of two reapers one cleans, and a newcomer's slot is not the dead one's.
#[test]
fn two_reapers_and_a_newcomer() {
    check_with_deaths(3, || {
        let w = World::new();
        let dead = w.process(1);
        dead.hold(&whole());
        dead.table.dies();
        let (a, b) = (w.table(2), w.table(3));
        let cleaned = Arc::new([W32::new(0), W32::new(0)]);
        let (first, second) = (cleaned.clone(), cleaned.clone());
        together!(
            move || first[0].store(a.reap().processes, SeqCst),
            move || {
                second[1].store(b.reap().processes, SeqCst);
                let s = b.take_slot(1).expect("there are enough");
                // The first may still be at it, or have been.
                let _ = b.hold_now(s, &page(0));
                b.release(s);
            },
        );
        let both = cleaned[0].load(SeqCst) + cleaned[1].load(SeqCst);
        assert_eq!(both, 1);
        w.is_clean(&[1]);
    });
}

/// I2.
#[test]
fn a_slot_has_one_owner() {
    check(3, || {
        let w = World::new();
        let (a, b) = (w.table(1), w.table(2));
        let taken = Arc::new([W32::new(0), W32::new(0)]);
        let (first, second) = (taken.clone(), taken.clone());
        together!(
            move || {
                let s = a.take_slot(1).expect("there are enough");
                a.give_slot(s);
                let s = a.take_slot(1).expect("there are enough");
                first[0].store(s.index() + 1, SeqCst);
            },
            move || {
                let s = b.take_slot(1).expect("there are enough");
                second[1].store(s.index() + 1, SeqCst);
            },
        );
        assert_ne!(taken[0].load(SeqCst), taken[1].load(SeqCst));
    });
}
