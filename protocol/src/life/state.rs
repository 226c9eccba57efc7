//! All that this room remembers of the process.

use core::ffi::c_char;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64};
use std::ffi::CString;

use once_cell::race::OnceBox;

use crate::life::started::Which;
use crate::who::owned::owned;

/// A copy of a seccomp filter: its instructions stand behind it in the same mapping.
pub struct Filter {
    pub(super) next: AtomicPtr<Filter>,
    pub(super) length: usize,
}

pub struct State {
    /// The newest seccomp filter, and through it all: also one that is about to come into force.
    pub(super) filters: AtomicPtr<Filter>,
    /// The same, of those in force.
    pub(super) in_force: AtomicPtr<Filter>,
    /// No call of ours may be made any more: strict mode, or nothing is fenced and there is nothing to make calls for.
    pub(super) no_calls: AtomicBool,
    /// Numbers that all filters in force allow whatever the arguments are: one bit each.
    pub(super) always: [AtomicU64; 8],
    /// Numbers that this program was told to make no calls by: one bit each.
    pub(super) refused: [AtomicU64; 8],
    /// What the next program is told, once there is something.
    pub(super) handed_on: AtomicPtr<c_char>,
    /// Whether it has been said that this program is not fenced.
    pub(super) said_unfenced: AtomicU32,
    /// It has been said that the machine's table can't be joined.
    pub(super) said_apart: AtomicBool,
    /// The table that is named, if one is.
    pub(super) named: OnceBox<Option<CString>>,
    /// Our variables, for programs that are started with an environment of their own.
    pub(super) variables: OnceBox<Vec<CString>>,
    /// Our file name in the LD_PRELOAD that this program was started with; empty: it isn't there.
    pub(super) own_name: OnceBox<Vec<u8>>,
    /// Where we were loaded from.
    pub(super) own_path: OnceBox<Vec<u8>>,
    /// Which programs get a supervisor, and the command that starts one, if it is named.
    pub(super) supervises: OnceBox<Which>,
    pub(super) command: OnceBox<Vec<u8>>,
    /// How far the numbers had changed when rights were last about to go.
    pub(super) rights_at: AtomicU64,
    /// The numbers that the process came with have been asked for: a system call for each that may be open.
    pub(super) numbers_met: AtomicBool,
    /// Forks are watched.
    pub(super) forks_watched: AtomicBool,
}

impl State {
    const fn new() -> State {
        State {
            filters: AtomicPtr::new(null_mut()),
            in_force: AtomicPtr::new(null_mut()),
            no_calls: AtomicBool::new(false),
            always: [const { AtomicU64::new(u64::MAX) }; 8],
            refused: [const { AtomicU64::new(0) }; 8],
            handed_on: AtomicPtr::new(null_mut()),
            said_unfenced: AtomicU32::new(0),
            said_apart: AtomicBool::new(false),
            named: OnceBox::new(),
            variables: OnceBox::new(),
            own_name: OnceBox::new(),
            own_path: OnceBox::new(),
            supervises: OnceBox::new(),
            command: OnceBox::new(),
            rights_at: AtomicU64::new(0),
            numbers_met: AtomicBool::new(false),
            forks_watched: AtomicBool::new(false),
        }
    }
}

owned!(State);
