//! A handler that forks while its thread lets go. The child finishes that, too, when its parent has the range again: it
//! must be the parent's still.

use super::common::{Dir, attach, claim, shared_words};
use super::steps::{self, Instruction, Went};
use lock_table::{Mode, Slot, Table};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

/// In the child.
fn go_on_later(table: &Table, parent_holds: &AtomicU64) -> Result<(), ()> {
    table.reattach_in_child().map_err(|_| ())?;
    for _ in 0..10_000 {
        if parent_holds.load(SeqCst) != 0 {
            return Ok(());
        }
        // SAFETY: a plain call.
        unsafe { libc::usleep(100) };
    }
    Err(())
}

fn fork_at(table: &'static Table, slot: Slot, at: Instruction) {
    let range = claim(Mode::Layout, 0, 4095);
    let parent_holds = &shared_words(1)[0];
    table.hold_now(slot, &range).unwrap();
    let mut child = -1;
    let mut handler = || {
        // SAFETY: the child calls nothing that another thread may have locked.
        child = unsafe { libc::fork() };
        if child == 0 && go_on_later(table, parent_holds).is_err() {
            // SAFETY: ends the child.
            unsafe { libc::_exit(1) };
        }
    };
    let went = steps::enter(&|| table.release(slot), at, false, &mut handler);
    if child == 0 {
        // SAFETY: as above.
        unsafe { libc::_exit(0) };
    }
    assert_eq!(went, Went::On);
    table.hold_now(slot, &range).unwrap();
    parent_holds.store(1, SeqCst);
    let mut status = 0;
    // SAFETY: waits for our child.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    let other = table.take_slot(2).unwrap();
    assert!(
        table.hold_now(other, &range).is_err(),
        "the child has let go of it"
    );
    table.give_slot(other);
    table.release(slot);
}

pub fn everywhere() {
    let dir = Dir::new();
    let table = attach(&dir.make());
    let slot = table.take_slot(1).unwrap();
    table.hold_now(slot, &claim(Mode::Layout, 0, 4095)).unwrap();
    let all = steps::watch(&|| table.release(slot));
    for at in &all {
        fork_at(table, slot, *at);
    }
    assert!(!table.is_poisoned());
    println!("a fork at each of {} instructions", all.len());
}
