//! How many buffers for bytes that go by the library's own hand the process has (see `hold::bounce`).

use core::sync::atomic::Ordering::*;

use crate::who::state::state;

/// In bytes.
#[derive(Clone, Copy)]
#[repr(usize)]
pub enum Size {
    Large = 1 << 20,
    /// Of two blocks of the largest size that filesystems have.
    Small = 128 << 10,
}

impl Size {
    /// So many buffers may there be with one of this size. The small ones are for as many threads as a program may have in
    /// such calls at once; that there is an end is for calls that are jumped out of by handlers that made calls themselves.
    fn most(self) -> u32 {
        match self {
            Size::Large => 64,
            Size::Small => 8192,
        }
    }
}

/// Beyond so many a thread gives its buffer back after each call.
const KEPT: u32 = 16;

/// Whether there may be one more, which is counted then.
pub fn one_more(size: Size) -> bool {
    let count = &state().changing.buffers;
    count
        .fetch_update(AcqRel, Relaxed, |n| (n < size.most()).then_some(n + 1))
        .is_ok()
}

pub fn one_less() {
    state().changing.buffers.fetch_sub(1, AcqRel);
}

pub fn are_many() -> bool {
    state().changing.buffers.load(Relaxed) > KEPT
}

/// In a forked child, which has one thread: with a buffer, or without.
pub fn reset_in_child(has_one: bool) {
    state().changing.buffers.store(has_one.into(), Relaxed);
}
