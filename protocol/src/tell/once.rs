//! What is said once a process: what keeps it, or a part of it, outside the fence.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};

use kernel::text::Text;
use lock_table::Table;

use crate::tell::events::{self, Event, Kind};
use crate::who::{process, scratch};

/// Now and then: is the table still where others look for it?
pub fn watch_table() {
    static LOOKS: AtomicU32 = AtomicU32::new(0);
    static TOLD: AtomicBool = AtomicBool::new(false);
    let due = LOOKS.fetch_add(1, Relaxed).is_multiple_of(64);
    if due && process::table().is_some_and(Table::was_removed) && !TOLD.swap(true, AcqRel) {
        events::emit(&Event {
            reason: "the lock table was removed: who starts from now on has another, and is not excluded",
            done: "reported",
            ..Event::new(Kind::TableError)
        });
    }
}

/// The table excludes nobody any more: told once, with what became of the call that met it first.
#[cold]
pub fn damaged(table: &Table, refused: bool) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    scratch::roomy(|| {
        if let Some(damage) = table.damage()
            && !TOLD.swap(true, AcqRel)
        {
            let reason = Text::<1200>::of(format_args!("{damage}"));
            events::emit(&Event {
                reason: reason.as_str(),
                done: if refused { "ENOLCK" } else { "passed through" },
                ..Event::new(Kind::TableError)
            });
        }
    });
}

/// A limit (`ulimit -v`) or a full machine: told once.
#[cold]
pub fn no_memory() {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if !TOLD.swap(true, AcqRel) {
        events::emit(&Event::uncovered(
            None,
            "no memory is left to note what else is opened or mapped (ulimit -v?)",
        ));
    }
}

/// A call that names no file of ours but may change one; told once.
pub fn uncovered_call(what: &str) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if process::active().is_some() && !TOLD.swap(true, AcqRel) {
        events::emit(&Event::uncovered(None, what));
    }
}

/// The program has the number that it wanted, and ours there is closed.
pub fn surrendered() {
    if process::table().is_some_and(|t| !t.relive()) {
        process::stop_fencing();
        events::emit(&Event::uncovered(
            None,
            "the program closed what kept this process in the lock table: it is not fenced any more",
        ));
    }
}
