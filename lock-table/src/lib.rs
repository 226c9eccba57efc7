//! The lock table.
#![deny(clippy::undocumented_unsafe_blocks)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]
#![allow(
    clippy::result_large_err,
    reason = "an error carries its path because nothing here may allocate"
)]

mod attach;
mod death;
mod error;
mod handles;
mod mappings;
mod matrix;
mod memory;
mod register;
mod slots;
mod snapshot;
pub mod summary;
pub mod sys;
mod unverified;
mod uses;
mod waiting;

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize};

pub use death::Reaped;
pub use error::{Fault, TableError};
pub use handles::{SYSTEM_TABLE, default_path, raise_fd_copy};
pub use mappings::MapEntry;
pub use matrix::{Claim, FileId, Mode, PAGE, UNIT, conflict, sort_and_merge};
pub use memory::Geometry;
pub use slots::{Blocker, Slot};
pub use snapshot::{
    MappingInfo, ProcessInfo, SlotInfo, SlotState, Snapshot, UnverifiedInfo, UseInfo,
};
pub use uses::{Others, USE_BUFFERED, USE_DIRECT, USE_OBSERVE, UseEntry};
pub use waiting::{Held, NotHeld};

/// Who: for people to read. Numbers of another PID namespace are that namespace's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Owner {
    pub pid: u32,
    pub comm: [u8; 16],
}

/// A table that this process is attached to, for the rest of its life.
pub struct Table {
    mem: memory::Memory,
    path: error::Path,
    /// Device and inode of the table's file.
    id: (u64, u64),
    /// This process's index plus one; 0: not registered.
    me: AtomicU32,
    probe: AtomicI32,
    /// Address of the page whose mapping holds this process's byte.
    life: AtomicUsize,
    /// A thread of this process is cleaning up after somebody.
    reaping: AtomicBool,
    poisoned: AtomicBool,
    /// Where to look for a free entry first.
    free_mapping: AtomicU32,
    free_use: AtomicU32,
}

impl Table {
    fn me(&self) -> Option<u32> {
        match self.me.load(Relaxed) {
            0 => None,
            owner => Some(owner),
        }
    }

    /// The descriptor through which this process asks who lives.
    pub fn probe_fd(&self) -> i32 {
        self.probe.load(Acquire)
    }

    /// The probe has been moved: `fd` is a duplicate of it (close-on-exec), and the old number is the caller's to close.
    pub fn set_probe_fd(&self, fd: i32) {
        self.probe.store(fd, Release);
    }

    /// Has the table been found to hold what no fenced process writes? Then nothing is excluded any more.
    #[inline]
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Relaxed) || self.mem.header().poison.load(Relaxed) != 0
    }

    #[cold]
    fn poison(&self) {
        self.poisoned.store(true, Relaxed);
        self.mem.header().poison.store(1, Relaxed);
    }

    /// Who the process with this number (index plus one) says it is.
    fn owner_at(&self, owner: u32) -> Owner {
        let Some(process) = owner
            .checked_sub(1)
            .and_then(|i| self.mem.processes().get(i as usize))
        else {
            return Owner::default();
        };
        let [a, b] = &process.comm;
        let comm = u128::from(b.load(Relaxed)) << 64 | u128::from(a.load(Relaxed));
        Owner {
            pid: process.pid.load(Relaxed),
            comm: comm.to_ne_bytes(),
        }
    }
}
