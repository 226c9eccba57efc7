//! The bakery step by step: two slots of one table, moved by hand through the orders that threads meet by bad luck.

use std::ffi::CString;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use super::*;
use crate::{FileId, Geometry, Mode};

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

fn claim() -> Claim {
    Claim {
        file: FileId { dev: 8, ino: 42 },
        first: 0,
        last: 4095,
        mode: Mode::Layout,
        atomic: false,
    }
}

fn blocker(table: &Table, s: Slot, ticket: u64) -> Option<u32> {
    match table.scan(
        Position::default(),
        &Near::of(&claim()),
        s,
        &claim(),
        ticket,
        &[s],
    ) {
        Scan::Clear => None,
        Scan::Blocked(found) => Some(found.at.slot),
        Scan::Absurd => panic!("a good table"),
    }
}

/// What is in the way of `s`: the claim of `a`, announced if it isn't yet.
fn found(table: &Table, s: Slot, cell: &SlotCell, a: Slot) -> Found {
    if cell.state.load(Relaxed) & word::STATE == word::FREE {
        table.write(a, cell, &claim());
    }
    match table.scan(
        Position::default(),
        &Near::of(&claim()),
        s,
        &claim(),
        u64::MAX,
        &[],
    ) {
        Scan::Blocked(found) => found,
        _ => panic!("it is in the way"),
    }
}

/// Who has drawn a ticket and not shown it yet is in everybody's way: its ticket may be the lower one.
#[test]
fn a_drawn_ticket_counts_before_it_is_shown() {
    let table = table();
    let (a, b) = (table.take_slot(1).unwrap(), table.take_slot(2).unwrap());
    for s in [a, b] {
        // In the way of each other.
        table.write(s, table.mem.slot(s.0).unwrap(), &claim());
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
    let cell = table.mem.slot(a.0).unwrap();
    let mut patient = Wait::new(None);
    patient.begin(table.named(&found(&table, b, cell, a)), false);
    let mut wait = |found: &Found| table.pause(b, 0, found, &mut patient);

    // Released and held again; and from a try to a place in the queue.
    let first = found(&table, b, cell, a);
    table.release(a);
    table.write(a, cell, &claim());
    assert!(wait(&first).is_ok());
    let second = found(&table, b, cell, a);
    table.choose(&[a]);
    table.line_up(&[a], 0);
    assert!(table.enter(a).is_ok());
    assert!(wait(&second).is_ok());
}

/// Time passes whether the claim in the way moves or not: many may be in it, one after the other.
#[test]
fn a_deadline_is_kept_though_the_blocker_moves() {
    let table = table();
    let (a, b) = (table.take_slot(1).unwrap(), table.take_slot(2).unwrap());
    let cell = table.mem.slot(a.0).unwrap();
    let mut over = Wait::new(Some(0));
    let mut is_late = |found: &Found| {
        let stop = table.pause(b, 0, found, &mut over);
        matches!(stop, Err(Stop::Not(NotHeld::TimedOut(_))))
    };
    let found = found(&table, b, cell, a);
    assert!(is_late(&found));
    table.release(a);
    assert!(is_late(&found));
}
