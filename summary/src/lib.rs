//! The counters of one run, in a small file that all its processes map: the words in which the library counts and the
//! command reads.
//!
//! `pagefence run --summary` makes the file and reads it when the program has ended; every fenced
//! process of the run adds to it. Nothing waits and nothing allocates on the adding side, and a
//! process may be killed between any two stores: a counter is one atomic word, and an entry about
//! a file counts only once its state word says that it is whole. The contents are checked as they
//! are read: another process of the run may have scribbled over them. (One that truncates the
//! file kills those that map it, as with the lock table.)
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

mod file;
#[cfg(test)]
mod spoiled;
#[cfg(test)]
mod tests;
mod uses;

pub use file::Summary;

/// What is counted.
#[repr(usize)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Direct writes that went direct.
    DirectWritesDirect,
    /// Direct reads that went direct.
    DirectReadsDirect,
    /// Direct requests that fell back because a writable mapping overlaps.
    FallbackMapped,
    /// Direct writes written again because the invalidation after them failed.
    FallbackInvalidation,
    /// Direct requests made with `O_DIRECT` cleared, for want of a second descriptor.
    FallbackDegraded,
    /// Invalidations that failed, whatever was done then.
    InvalidateFailed,
    /// Calls that waited for a range.
    Waits,
    /// Nanoseconds waited, in all.
    WaitNanos,
    /// Nanoseconds of the longest wait ([`Summary::max`]).
    WaitMaxNanos,
    /// Calls that would have waited, under `observe`.
    Collisions,
    LockTimeouts,
    Deadlocks,
    /// Calls that conflicted with their own thread's and passed through.
    Nested,
    /// Dead processes whose slots were cleaned.
    Reaped,
    /// Uses that can't be fenced.
    Uncovered,
    TableErrors,
    /// Processes that attached.
    Processes,
    /// Records that could not be written to the trace.
    TraceLost,
}

const COUNTERS: usize = Counter::TraceLost as usize + 1;

/// How a file was used, as bits of [`UseRecord::modes`].
pub const USED_BUFFERED: u32 = 1;
pub const USED_DIRECT: u32 = 2;
pub const USED_MAPPED: u32 = 4;
pub const USED_MAPPED_WRITABLE: u32 = 8;

/// How one program used one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UseRecord {
    pub dev: u64,
    pub ino: u64,
    /// The path's end, if it is longer than an entry holds.
    pub path: Vec<u8>,
    pub path_truncated: bool,
    pub program: Vec<u8>,
    /// The first process of that program that used it.
    pub pid: u32,
    pub modes: u32,
}
