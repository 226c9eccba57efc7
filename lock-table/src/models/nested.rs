//! Calls within a call of the same thread.

use super::*;

/// The first two stripes.
#[cfg(shuttle)]
fn both() -> Claim {
    claim(Mode::DirectWrite, 0, 2 * STRIPE - 1)
}

/// I14: a call within another doesn't wait for who waits for that other, who comes in when both are over. (More steps
/// than loom gets through, as in the next ones.)
#[test]
#[cfg(shuttle)]
fn a_call_within_a_call() {
    check(2, || {
        let w = World::new();
        let (a, b) = (w.process(1), w.process(2));
        let inner = a.table.take_slot(1).expect("there are enough");
        together!(
            move || {
                a.hold(&page(0));
                let mine = Mine::held(&a.slots);
                let held = a.table.hold(inner, &page(1), &mine, None, &mut || false);
                assert!(held.is_ok(), "{held:?}");
                a.inside[1].visit();
                a.table.release(inner);
                a.inside[0].visit();
                a.table.release(a.slot());
            },
            move || {
                b.hold(&both());
                b.inside[0].visit();
                b.inside[1].visit();
                b.table.release(b.slot());
            }
        );
        w.is_clean(&[]);
    });
}

/// I14: the same by one who waits for the outer call with another range than the one that is in the inner one's way.
#[test]
#[cfg(shuttle)]
fn a_call_within_a_call_and_one_of_several_ranges() {
    check(2, || {
        let w = World::new();
        let (a, b) = (w.process(1), w.process(2));
        let inner = a.table.take_slot(1).expect("there are enough");
        together!(
            move || {
                a.hold(&page(0));
                let mine = Mine::held(&a.slots);
                let held = a.table.hold(inner, &page(1), &mine, None, &mut || false);
                assert!(held.is_ok(), "{held:?}");
                a.inside[1].visit();
                a.table.release(inner);
                a.inside[0].visit();
                a.table.release(a.slot());
            },
            move || {
                let slots = [b.slot(), b.table.take_slot(1).expect("there are enough")];
                let claims = [page(1), page(0)];
                let held = b
                    .table
                    .hold_all(&slots, &claims, &Mine::NONE, None, &mut || false);
                assert!(held.is_ok(), "{held:?}");
                b.inside[0].visit();
                b.inside[1].visit();
                slots.iter().for_each(|s| b.table.release(*s));
            }
        );
        w.is_clean(&[]);
    });
}

/// I14: the same within a call that waits, by who waits behind it.
#[test]
#[cfg(shuttle)]
fn a_call_within_a_wait() {
    check(3, || {
        let w = World::new();
        let (a, b) = (w.process(1), w.process(2));
        let inner = a.table.take_slot(1).expect("there are enough");
        a.table.announce(a.slot(), &page(0));
        together!(
            move || {
                let ticket = a.table.queue(&a.slots);
                let mine = Mine::of(&a.slots);
                let tried = a.table.hold(inner, &page(1), &mine, Some(0), &mut || false);
                if tried.is_ok() {
                    a.inside[1].stay();
                    a.table.release(inner);
                }
                let near = Near::of(&page(0));
                let scan = || {
                    let (mut scan, from) = (Scan::Clear, Position::default());
                    let (s, c) = (a.slot(), page(0));
                    a.table
                        .scan(from, &near, s, &c, ticket, &Own::ALONE, &mut scan);
                    scan
                };
                while let Scan::Blocked(_) = scan() {
                    thread::yield_now();
                }
                assert!(a.table.enter(a.slot()).is_ok());
                a.inside[0].visit();
                a.table.release(a.slot());
            },
            move || {
                b.hold(&both());
                b.inside[0].visit();
                b.inside[1].visit();
                b.table.release(b.slot());
            }
        );
        w.is_clean(&[]);
    });
}

/// I14: within a call that has only announced its range nobody is passed by, nor is within another who doesn't wait for
/// that one.
#[test]
#[cfg(shuttle)]
fn a_call_within_one_that_keeps_nobody_out() {
    for (theirs, held) in [(both(), 0), (page(1), 1)] {
        check(3, move || {
            let w = World::new();
            let (a, b) = (w.process(1), w.process(2));
            let inner = a.table.take_slot(1).expect("there are enough");
            a.hold(&both());
            together!(
                move || {
                    a.table.release(a.slot());
                    thread::yield_now();
                    match held {
                        0 => a.table.announce(a.slot(), &page(0)),
                        _ => a.hold(&page(0)),
                    }
                    let (slots, mine) = (
                        &a.slots,
                        Mine {
                            slots: &a.slots,
                            held,
                        },
                    );
                    let tried = a.table.hold(inner, &page(1), &mine, Some(0), &mut || false);
                    if tried.is_ok() {
                        a.inside[1].stay();
                        a.table.release(inner);
                    }
                    a.table.release(slots[0]);
                },
                move || b.pass(&theirs, 1)
            );
            w.is_clean(&[]);
        });
    }
}
