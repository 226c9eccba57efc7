//! The counters of the run, and which program used which file how: in memory that the command shares.

use core::ffi::CStr;
use core::sync::atomic::AtomicU64;

use lock_table::{FileId, USE_BUFFERED, USE_DIRECT};
use summary::{Summary, USED_BUFFERED, USED_DIRECT};

use crate::tell::state::state;
use crate::who::{process, scratch};

pub use summary::{Counter, USED_MAPPED, USED_MAPPED_WRITABLE};

// Who uses a file says so to both in the same bits.
const _: () = assert!(USED_BUFFERED == USE_BUFFERED && USED_DIRECT == USE_DIRECT);

/// In the constructor.
pub fn init(path: &CStr) {
    if let Ok(opened) = Summary::open(path) {
        let _ = state().summary.set(Box::new(opened));
    }
}

pub fn count(counter: Counter, n: u64) {
    if let Some(summary) = state().summary.get() {
        summary.add(counter, n);
    }
}

pub fn count_max(counter: Counter, n: u64) {
    if let Some(summary) = state().summary.get() {
        summary.max(counter, n);
    }
}

/// Whether the counters lie at that address.
pub fn is_at(address: usize) -> bool {
    state().summary.get().is_some_and(|s| s.is_at(address))
}

/// Places for marks of what is told once a run. None: the run has no such memory.
pub fn told_in_run() -> Option<&'static [AtomicU64]> {
    state().summary.get().map(Summary::told)
}

/// Note in the run's summary that this program uses the file in these modes.
pub fn note_use(id: FileId, fd: i32, modes: u32) {
    if let Some(summary) = state().summary.get() {
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
