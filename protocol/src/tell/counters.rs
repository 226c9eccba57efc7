//! The counters of the run, and which program used which file how: in memory that the command shares.

use core::ffi::CStr;

use lock_table::FileId;
use lock_table::summary::{Counter, Summary};
use once_cell::race::OnceBox;

use crate::who::{process, scratch};

static SUMMARY: OnceBox<Summary> = OnceBox::new();

/// In the constructor.
pub fn init(path: &CStr) {
    if let Ok(opened) = Summary::open(path) {
        let _ = SUMMARY.set(Box::new(opened));
    }
}

pub fn count(counter: Counter, n: u64) {
    if let Some(summary) = SUMMARY.get() {
        summary.add(counter, n);
    }
}

pub fn count_max(counter: Counter, n: u64) {
    if let Some(summary) = SUMMARY.get() {
        summary.max(counter, n);
    }
}

/// Whether the counters lie at that address.
pub fn is_at(address: usize) -> bool {
    SUMMARY.get().is_some_and(|s| s.is_at(address))
}

/// Note in the run's summary that this program uses the file in these modes.
pub fn note_use(id: FileId, fd: i32, modes: u32) {
    if let Some(summary) = SUMMARY.get() {
        scratch::roomy_or_not_at_all(|| {
            let mut buffer = [0u8; 1024];
            let path = kernel::path_of(fd, &mut buffer);
            summary.note_use(
                id.dev,
                id.ino,
                path,
                process::program(),
                process::pid(),
                modes,
            );
        });
    }
}

pub const NOTE_MAPPED: u32 = 4;
pub const NOTE_MAPPED_WRITABLE: u32 = 8;
