//! What is said once a process: what keeps it, or a part of it, outside the fence.

use core::sync::atomic::Ordering::Relaxed;

use kernel::text::Text;
use lock_table::Table;

use crate::tell::events::{self, Event, Kind};
use crate::tell::state::state;
use crate::tell::told::{Once, first_time};
use crate::who::{process, scratch};

/// Now and then: is the table still where others look for it?
pub fn watch_table() {
    let due = state().table_looks.fetch_add(1, Relaxed).is_multiple_of(64);
    if due && process::table().is_some_and(Table::was_removed) && first_time(Once::TableRemoved) {
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
    scratch::roomy(|| {
        if let Some(damage) = table.damage()
            && first_time(Once::TableDamaged)
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
    if first_time(Once::NoMemory) {
        events::emit(&Event::uncovered(
            None,
            "no memory is left to note what else is opened or mapped (ulimit -v?)",
        ));
    }
}

/// A call that names no file of ours but may change one; told once.
pub fn uncovered_call(what: &str) {
    if process::active().is_some() && first_time(Once::UncoveredCall) {
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
