//! All that this room remembers of the process: where it tells, and what it has told.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize};

use once_cell::race::OnceBox;
use summary::Summary;

use crate::tell::kept::{PLACES, Place};
use crate::tell::ring::Trace;
use crate::who::owned::owned;

/// What is read in calls stands first. All zeros at first: so it is in no file, and of what a forked child gets a copy of it is
/// no more than has been touched.
#[repr(C)]
pub struct State {
    /// The counters of the run (see `counters`).
    pub(super) summary: OnceBox<Summary>,
    pub(super) trace: Trace,
    /// The level for stderr, by kind: 0 off .. 5 trace, as its difference from the usual one (see `events`).
    pub(super) levels: [AtomicU32; 16],
    /// The device and inode that descriptor 2 had at the start: what is there later may be the program's data.
    pub(super) stderr: [AtomicU64; 2],
    pub(super) stderr_is_file: AtomicBool,
    /// How many threads write a record at this moment, with signals blocked.
    pub(super) telling: AtomicU32,
    /// How many calls are about to put something else at the number of stderr.
    pub(super) leaves: AtomicU32,
    /// What is told once a process and has been: a bit for each `Once`.
    pub(super) once: AtomicU32,
    /// How often the table was to be looked for where it was.
    pub(super) table_looks: AtomicU32,
    /// Our own reasons, in the order in which they are met (see `told`).
    pub(super) reasons: [AtomicPtr<u8>; 63],
    /// Marks of files that aren't fenced, of which something was told.
    pub(super) left_out: [AtomicU32; 64],
    /// Marks of what was told on standard error; and the place that is forgotten next.
    pub(super) told: [AtomicU64; 1024],
    pub(super) forgotten: AtomicUsize,
    /// The same of what is told once among a process and its children: a page that they share; null: none.
    pub(super) told_by_children: AtomicPtr<AtomicU64>,
    /// What is told when its thread holds no range any more; and how much was kept so far.
    pub(super) later: [Place; PLACES],
    pub(super) kept: AtomicUsize,
}

impl State {
    const fn new() -> State {
        State {
            summary: OnceBox::new(),
            trace: Trace::new(),
            levels: [const { AtomicU32::new(0) }; 16],
            stderr: [const { AtomicU64::new(0) }; 2],
            stderr_is_file: AtomicBool::new(false),
            telling: AtomicU32::new(0),
            leaves: AtomicU32::new(0),
            once: AtomicU32::new(0),
            table_looks: AtomicU32::new(0),
            reasons: [const { AtomicPtr::new(null_mut()) }; 63],
            left_out: [const { AtomicU32::new(0) }; 64],
            told: [const { AtomicU64::new(0) }; 1024],
            forgotten: AtomicUsize::new(0),
            told_by_children: AtomicPtr::new(null_mut()),
            later: [const { Place::new() }; PLACES],
            kept: AtomicUsize::new(0),
        }
    }
}

owned!(State);
