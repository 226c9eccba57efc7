//! Two that try, wait and queue.

use super::*;

/// I1, I3, I5, I12.
#[test]
fn two_that_try() {
    check(3, || {
        let w = World::new();
        let (a, b) = (w.process(1), w.process(2));
        together!(move || a.dare(&page(0), 0), move || b.dare(&page(0), 0));
        w.is_clean(&[]);
    });
}

/// I1, I3, I6; no wake is left out.
#[test]
fn two_that_wait() {
    check(1, || {
        let w = World::new();
        let (a, b) = (w.process(1), w.process(2));
        together!(move || a.pass(&page(0), 0), move || b.pass(&page(0), 0));
        w.is_clean(&[]);
    });
}

/// I6: the same from where both have found the other in the way; who has drawn a ticket and not shown it counts.
#[test]
fn two_that_queue() {
    check(3, || {
        let w = World::new();
        let (a, b) = (w.process(1), w.process(2));
        let announce = |p: &Process| {
            let slot = p.table.writable(p.slot()).expect("free");
            p.table.write(p.slot(), slot, &page(0));
        };
        announce(&a);
        announce(&b);
        let wait = |p: Process| {
            move || {
                let ticket = p.table.queue(&p.slots);
                let (c, near) = (page(0), Near::of(&page(0)));
                let scan = || {
                    let (mut scan, from) = (Scan::Clear, Position::default());
                    p.table
                        .scan(from, &near, p.slot(), &c, ticket, &Own::ALONE, &mut scan);
                    scan
                };
                while let Scan::Blocked(_) = scan() {
                    thread::yield_now();
                }
                assert!(p.table.enter(p.slot()).is_ok());
                p.inside[0].visit();
                p.table.release(p.slot());
            }
        };
        together!(wait(a), wait(b));
        w.is_clean(&[]);
    });
}

/// The same with turns to take.
#[test]
#[cfg(shuttle)]
fn four_that_wait() {
    check(1, || {
        let w = World::new();
        let pass = |p: Process| {
            move || {
                p.pass(&page(0), 0);
                p.pass(&page(0), 0);
            }
        };
        let (a, b, c, d) = (w.process(1), w.process(2), w.process(3), w.process(4));
        together!(pass(a), pass(b), pass(c), pass(d));
        w.is_clean(&[]);
    });
}

/// One ticket for all ranges of a call: crosswise they don't wait for each other. (More steps than loom gets through.)
#[test]
#[cfg(shuttle)]
fn several_ranges_crosswise() {
    check(1, || {
        let w = World::new();
        let (a, b) = (w.process(1), w.process(2));
        let pass = |p: Process, first: u64, second: u64| {
            move || {
                let slots = [p.slot(), p.table.take_slot(1).expect("there are enough")];
                let claims = [page(first), page(second)];
                let held = p
                    .table
                    .hold_all(&slots, &claims, &Mine::NONE, None, &mut || false);
                assert!(held.is_ok(), "{held:?}");
                p.inside[0].visit();
                p.inside[1].visit();
                for s in slots {
                    p.table.release(s);
                }
            }
        };
        together!(pass(a, 0, 1), pass(b, 1, 0));
        w.is_clean(&[]);
    });
}

/// I8: who announces without a fence learns that he must lock, or is seen.
#[test]
fn who_only_announces_is_seen() {
    check(1, || {
        let w = World::new();
        let (a, b) = (w.process(1), w.process(2));
        let buffered = claim(Mode::BufferedWrite, 0, 4095);
        let (mine, _) = a
            .table
            .use_register(FILE, USE_BUFFERED)
            .expect("there is room");
        together!(
            move || {
                let announced = a.table.announced(a.slot(), &buffered);
                let announced = announced.expect("a slot of ours");
                if a.table.use_locks(mine) {
                    announced.end();
                    a.pass(&buffered, 0);
                } else {
                    a.inside[0].visit();
                    announced.end();
                }
            },
            move || {
                b.table
                    .use_register(FILE, USE_DIRECT)
                    .expect("there is room");
                fence(SeqCst); // the membarrier
                b.pass(&page(0), 0);
            },
        );
        w.is_clean(&[]);
    });
}
