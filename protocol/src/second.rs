//! The second descriptor of a file: without `O_DIRECT` and `O_APPEND`, for the look at the writeback
//! error and for falling back.
//!
//! It must not show. Closing any descriptor of an inode drops the process's POSIX locks on it, so it is
//! closed only when the program itself has just closed one (`descriptors::unpin_index`), in a forked
//! child (which has no locks yet), or never by exec where a lock would be lost (`process::exec`).

use core::sync::atomic::{AtomicI32, Ordering::*};

use crate::events::number_path;
use crate::files::{File, LEASED};
use crate::{descriptors, raw, registry};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum For {
    Reading,
    Writing,
}

fn cell(file: &File, purpose: For) -> &AtomicI32 {
    match purpose {
        For::Reading => &file.second_read,
        For::Writing => &file.second_write,
    }
}

/// The second descriptor, opened at first need through the program's own `fd`. None: it can't be had
/// (no number free, no permission, no `/proc`, a lease): then the whole file must be held.
pub fn descriptor(file: &File, fd: i32, purpose: For) -> Option<i32> {
    match cell(file, purpose).load(Acquire) {
        0 => open(file, fd, purpose),
        stored => Some(stored - 1),
    }
}

#[cold]
fn open(file: &File, fd: i32, purpose: For) -> Option<i32> {
    if file.has(LEASED) {
        return None;
    }
    let _registry = registry::lock();
    let cell = cell(file, purpose);
    let stored = cell.load(Acquire);
    if stored != 0 {
        return Some(stored - 1);
    }
    let path = number_path(fd);
    // cachestat wants a writer; one who may only write must do.
    let ways: &[i32] = match purpose {
        For::Reading => &[libc::O_RDONLY],
        For::Writing => &[libc::O_RDWR, libc::O_WRONLY],
    };
    let opened = ways
        .iter()
        .map(|way| raw::open(path.as_c_str(), way | libc::O_NOCTTY))
        .find(|fd| *fd >= 0)? as i32;
    let same = raw::fstat(opened).is_ok_and(|stat| descriptors::stands_for(&stat, file));
    if !same {
        raw::close(opened);
        return None;
    }
    let Ok(high) = lock_table::sys::raise_fd(opened) else {
        raw::close(opened);
        return None;
    };
    descriptors::claim_as_ours(high);
    cell.store(high + 1, Release);
    Some(high)
}

pub fn close_all(file: &File) {
    for cell in [&file.second_read, &file.second_write] {
        let stored = cell.swap(0, AcqRel);
        if stored > 0 {
            descriptors::forget(stored - 1);
            raw::close(stored - 1);
        }
    }
}

/// Every number in use as a second descriptor of the file.
pub fn numbers(file: &File) -> impl Iterator<Item = i32> {
    [
        file.second_read.load(Acquire),
        file.second_write.load(Acquire),
    ]
    .into_iter()
    .filter(|s| *s > 0)
    .map(|s| s - 1)
}

/// Ours has moved to another number; whether it was this file's.
pub fn replace(file: &File, from: i32, to: i32) -> bool {
    let moved = |cell: &AtomicI32| {
        cell.compare_exchange(from + 1, to + 1, AcqRel, Acquire)
            .is_ok()
    };
    moved(&file.second_read) | moved(&file.second_write)
}

/// Take over descriptors that the process kept for this file across exec.
pub fn adopt(file: &File, fd: i32) {
    let purpose = match raw::get_flags(fd).map(|f| f as i32 & libc::O_ACCMODE) {
        Ok(libc::O_RDONLY) => For::Reading,
        _ => For::Writing,
    };
    raw::set_close_on_exec(fd, true);
    let _ = cell(file, purpose).compare_exchange(0, fd + 1, AcqRel, Acquire);
}
