//! The bakery step by step: two slots of one table, moved by hand through the orders that threads meet by bad luck.

use std::ffi::CString;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use super::*;
use crate::hints::Near;
use crate::matrix::tests::claim;
use crate::patience::{Wait, moves_soon};
use crate::reading::{Found, Position};
use crate::scan::{Own, Scan};
use crate::{Claim, Geometry, Mine, Mode};

/// A table of the test's own, whose name is gone as soon as it is attached.
fn table() -> Table {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, SeqCst);
    let name = format!("/dev/shm/lock-table-steps-{}-{n}", std::process::id());
    let path = CString::new(name.clone()).unwrap();
    let g = Geometry {
        processes: 2,
        slots: 8,
        requests: 1,
        mappings: 1,
        uses: 1,
    };
    Table::create(&path, &g).unwrap();
    let table = Table::attach(&path).unwrap();
    std::fs::remove_file(name).unwrap();
    table
}

fn layout() -> Claim {
    claim(Mode::Layout, 0, 4095)
}

fn announce(table: &Table, s: Slot) {
    table.write(s, table.mem.slot(s.0).unwrap(), &layout());
}

/// What is in the way of a slot's claim.
fn found(table: &Table, s: Slot, ticket: u64) -> Option<Found> {
    let (from, near) = (Position::default(), Near::of(&layout()));
    let mut scan = Scan::Clear;
    table.scan(from, &near, s, &layout(), ticket, &Own::ALONE, &mut scan);
    match scan {
        Scan::Clear => None,
        Scan::Blocked(found) => Some(found),
        Scan::Absurd | Scan::NotOurs => panic!("a good table, and a slot of ours"),
    }
}

fn blocker(table: &Table, s: Slot, ticket: u64) -> Option<u32> {
    found(table, s, ticket).map(|found| found.at.slot)
}

/// Who has drawn a ticket and not shown it yet is in everybody's way: its ticket may be the lower one.
#[test]
fn a_drawn_ticket_counts_before_it_is_shown() {
    let table = table();
    let (a, b) = (table.take_slot(1).unwrap(), table.take_slot(2).unwrap());
    for s in [a, b] {
        announce(&table, s); // in the way of each other
    }
    table.choose(&[a]);
    let first = table.draw();
    // The other draws later, shows its ticket and looks, all before the first goes on.
    table.choose(&[b]);
    let second = table.draw();
    table.line_up(&[b], second);
    assert_eq!(blocker(&table, b, second), Some(a.0));
    // The first goes on: nobody is before it; and the other still waits, also once the first has entered.
    table.line_up(&[a], first);
    assert_eq!(blocker(&table, a, first), None);
    assert_eq!(blocker(&table, b, second), Some(a.0));
    assert!(table.enter(a).is_ok());
    assert_eq!(blocker(&table, b, second), Some(a.0));
    table.release(a);
    assert_eq!(blocker(&table, b, second), None);
}

/// Who waits must notice that the claim in its way has ended, even if another by the same slot stands in its place
/// that looks the same but for the generation.
#[test]
fn a_claim_that_ended_is_not_the_next_one() {
    let table = table();
    let (a, b) = (table.take_slot(1).unwrap(), table.take_slot(2).unwrap());
    announce(&table, a);
    let first = found(&table, b, u64::MAX).unwrap();
    let moved = |found: &Found| moves_soon(table.mem.slot(a.0).unwrap(), found.word);
    assert!(!moved(&first));
    // Released and held again; and from a try to a place in the queue.
    table.release(a);
    announce(&table, a);
    assert!(moved(&first));
    let second = found(&table, b, u64::MAX).unwrap();
    table.choose(&[a]);
    table.line_up(&[a], 0);
    assert!(table.enter(a).is_ok());
    assert!(moved(&second));
}

/// A call within another one of its thread passes by who waits for that one, and nobody else.
#[test]
fn who_waits_for_the_outer_call_is_passed_by() {
    let table = table();
    let [outer, inner, theirs] = [1, 1, 2].map(|thread| table.take_slot(thread).unwrap());
    let write = |s: Slot, first, last| {
        let c = claim(Mode::Layout, first, last);
        table.write(s, table.mem.slot(s.0).unwrap(), &c);
    };
    let slots = [outer];
    let is_free = |mine| {
        let c = claim(Mode::Layout, 8192, 12287);
        let got = table.hold(inner, &c, &mine, Some(0), &mut || false);
        table.release(inner);
        got.is_ok()
    };
    let line_up = || {
        table.choose(&[theirs]);
        assert!(!is_free(Mine::held(&slots)), "its ticket isn't known");
        table.line_up(&[theirs], table.draw());
    };
    // Who holds, or only announces, may be there.
    write(outer, 0, 4095);
    write(theirs, 0, 12287);
    assert!(!is_free(Mine::held(&slots)));
    line_up();
    assert!(is_free(Mine::held(&slots)));
    assert!(
        !is_free(Mine::of(&slots)),
        "nobody says that the outer holds"
    );
    assert!(!is_free(Mine::NONE));
    // The outer one has let go, or waits itself.
    table.release(outer);
    assert!(!is_free(Mine::held(&slots)));
    write(outer, 0, 4095);
    table.queue(&[outer]);
    assert!(!is_free(Mine::held(&slots)), "the other waits in front");
    assert!(table.enter(outer).is_ok());
    assert!(is_free(Mine::held(&slots)));
    // One who waits behind one that waits.
    for s in [outer, theirs] {
        table.release(s);
    }
    write(outer, 0, 4095);
    table.choose(&[outer]);
    let ticket = table.draw();
    write(theirs, 0, 12287);
    line_up();
    assert!(!is_free(Mine::of(&slots)), "it may have drawn later");
    table.line_up(&[outer], ticket);
    assert!(is_free(Mine::of(&slots)));
    assert!(table.enter(outer).is_ok());
    // One who waits for something else.
    table.release(theirs);
    write(theirs, 8192, 12287);
    line_up();
    assert!(!is_free(Mine::held(&slots)));
}

/// Time passes whether the claim in the way moves or not: many may be in it, one after the other.
#[test]
fn a_deadline_is_kept_though_the_blocker_moves() {
    let table = table();
    let (a, b) = (table.take_slot(1).unwrap(), table.take_slot(2).unwrap());
    announce(&table, a);
    let found = found(&table, b, u64::MAX).unwrap();
    let mut over = Wait::new(Own::ALONE, Some(0));
    let mut is_late = || {
        let stop = table.pause(b, 0, &found, &mut over);
        stop == Err(Stop::TimedOut)
    };
    assert!(is_late());
    table.release(a);
    assert!(is_late());
}

/// Whose bell is rung stands in the table, and so may be anything.
#[test]
fn no_bell_is_rung_beyond_the_last() {
    let table = table();
    for owner in [0, 3, 1 << 24, u32::MAX] {
        table.call(owner);
    }
    let rung = |p: &crate::cells::ProcessCell| p.bell.load(SeqCst);
    assert!(table.mem.processes().iter().all(|p| rung(p) == 0));
    table.call(2);
    assert_eq!(rung(&table.mem.processes()[1]), 1);
}
