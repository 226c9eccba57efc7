//! Slots of asynchronous requests: they belong to no thread.

mod common;

use common::*;
use lock_table::{Claim, Mode, NotHeld, Slot, Table};
use std::time::Instant;

fn page(n: u64) -> Claim {
    claim(Mode::DirectWrite, n * 4096, n * 4096 + 4095)
}

/// Does somebody wait with this slot?
fn waits(table: &Table, slot: Slot) -> bool {
    let shown = table.snapshot().slots;
    let mut of_slot = shown.iter().filter(|s| s.index == slot.index());
    of_slot.any(|s| s.waiting_on.is_some())
}

/// A thread that makes a request while it holds something else (in a signal handler, say) can be in a circle, though the
/// request's slot names no thread.
#[test]
fn a_circle_through_a_request_that_is_made_is_found() {
    let dir = Dir::new();
    let path = dir.make();
    let (a, b) = (attach(&path), attach(&path));
    let (outer, request) = (a.take_slot(1).unwrap(), a.take_request_slot().unwrap());
    let [other, inner] = [b, b].map(|t| t.take_slot(2).unwrap());
    a.hold_now(outer, &page(0)).unwrap();
    b.hold_now(other, &page(1)).unwrap();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| b.hold(inner, &page(0), &[other], in_ms(8000), &mut no()));
        until("it waits", || waits(b, inner));
        let held = a.hold(request, &page(1), &[outer], in_ms(8000), &mut no());
        assert!(
            matches!(held, Err(NotHeld::Deadlock(by)) if by.slot == other),
            "{held:?}"
        );
        a.release(outer);
        assert!(waiter.join().unwrap().is_ok());
    });
    assert!(begun.elapsed().as_secs() < 4);
}
