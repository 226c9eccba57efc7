//! Requests and the bells of their owners.

use super::*;

/// I13: who is in the way of nobody but one who rings hears it.
#[test]
fn a_request_s_owner_hears_its_bell() {
    check(3, || {
        let w = World::new();
        let (a, b) = (w.request(1), w.process(2));
        a.hold(&page(0));
        together!(move || a.lets_go_when_rung(), move || b.pass(&page(0), 0));
        w.is_clean(&[]);
    });
}

/// I13: also who sleeps on a request that waits for its range rings, when it has it.
#[test]
fn a_request_that_waits_is_rung_for_later() {
    check(1, || {
        let w = World::new();
        let (a, b) = (w.request(1), w.process(2));
        together!(
            move || {
                a.hold(&page(0));
                a.lets_go_when_rung();
            },
            move || {
                b.pass(&page(0), 0);
                // Where the other came later nobody waits for it: the program itself looks.
                b.table.call(1);
            }
        );
        w.is_clean(&[]);
    });
}
