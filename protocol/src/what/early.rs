//! What constructors that ran before ours did to numbers, as far as it can't be seen from the numbers later: a stream was
//! opened on one, a POSIX lock taken through one; and whether they have mapped any.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::what::state::{Numbers, state};
use crate::who::process;

impl Numbers {
    fn word(&self, fd: i32) -> Option<(&AtomicU64, u64)> {
        let fd = usize::try_from(fd).ok()?;
        Some((self.0.get(fd / 64)?, 1 << (fd % 64)))
    }

    fn add(&self, fd: i32) {
        if let Some((word, bit)) = self.word(fd) {
            word.fetch_or(bit, Relaxed);
        }
    }

    fn remove(&self, fd: i32) {
        if let Some((word, bit)) = self.word(fd) {
            word.fetch_and(!bit, Relaxed);
        }
    }

    fn all(&self) -> impl Iterator<Item = i32> + '_ {
        let bits = |(word, bits): (i32, u64)| {
            let has = move |bit: &i32| bits >> bit & 1 != 0;
            (0..64).filter(has).map(move |bit| 64 * word + bit)
        };
        let words = (0..).zip(self.0.iter().map(|word| word.load(Relaxed)));
        words.filter(|(_, bits)| *bits != 0).flat_map(bits)
    }
}

fn is_early() -> bool {
    process::policy().is_none()
}

pub fn streamed(fd: i32) {
    if is_early() {
        state().streamed.add(fd);
    }
}

pub fn locked(fd: i32) {
    if is_early() {
        state().locked.add(fd);
    }
}

/// A part of a file is shown that can be written, or become so.
pub fn mapped() {
    if is_early() {
        state().mapped_early.store(true, Relaxed);
    }
}

pub fn has_mapped() -> bool {
    state().mapped_early.load(Relaxed)
}

pub fn closed(fd: i32) {
    if is_early() {
        state().streamed.remove(fd);
        state().locked.remove(fd);
    }
}

/// In the constructor: the numbers through which locks were taken, and those with streams.
pub fn locked_ones() -> impl Iterator<Item = i32> {
    state().locked.all()
}

pub fn streamed_ones() -> impl Iterator<Item = i32> {
    state().streamed.all()
}
