//! How much room a table has: counted by taking all there is.

use super::{Child, FILE};
use lock_table::{Fault, Table, USE_BUFFERED};
use std::ffi::CStr;

/// How many of each thing are free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    slots: usize,
    requests: usize,
    mappings: usize,
    uses: usize,
}

/// Takes things until there are none, and gives them all back.
fn count<T>(take: impl FnMut() -> Option<T>, give: impl FnMut(T)) -> usize {
    let taken: Vec<T> = std::iter::from_fn(take).collect();
    let n = taken.len();
    taken.into_iter().for_each(give);
    n
}

impl Room {
    pub fn of(table: &Table) -> Room {
        Room {
            slots: count(|| table.take_slot(1), |s| table.give_slot(s)),
            requests: count(|| table.take_request_slot(), |s| table.give_slot(s)),
            mappings: count(
                || table.map_register(FILE, 0, 0, true),
                |m| table.map_forget(m),
            ),
            uses: count(
                || table.use_register(FILE, USE_BUFFERED).map(|(u, _)| u),
                |u| table.use_forget(u),
            ),
        }
    }
}

/// How many more processes may attach: a child does until it is told that the table is full.
pub fn free_processes(path: &CStr, table: &Table) -> i32 {
    let child = Child::run(|| {
        for n in 0..100 {
            match Table::attach(path) {
                Ok(_) => {}
                Err(e) if e.fault() == Fault::Full => return n,
                Err(_) => return 101,
            }
        }
        102
    });
    let n = child.wait();
    assert!((0..=100).contains(&n), "{n}");
    table.reap();
    n
}
