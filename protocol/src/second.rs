//! The second descriptor of a file: without `O_DIRECT` and `O_APPEND`, for the look at the writeback
//! error and for falling back.
//!
//! It must not show. Closing any descriptor of an inode drops the process's POSIX locks on it, so it is
//! closed only when the program itself has just closed one (`descriptors::unpin_index`), in a forked
//! child (which has no locks yet), never by exec where a lock would be lost (`exec`); and none is made
//! once the process has taken such a lock.

use core::sync::atomic::{AtomicI32, Ordering::*};

use crate::events::number_path;
use crate::files::{self, File, LEASED, POSIX_LOCKED};
use crate::{descriptors, raw, registry};
use lock_table::USE_DIRECT;

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

/// The second descriptor, opened at first need through the program's own `fd`, for one call: hand it back
/// with [`done`]. None: it can't be had (no number free, no permission, no `/proc`, a lease, a POSIX lock
/// that making it would drop): then the whole file must be held.
pub fn borrow(file: &File, fd: i32, purpose: For) -> Option<i32> {
    // Before the look: who takes the descriptor away looks for users after it has emptied the cell.
    file.second_users.fetch_add(1, SeqCst);
    let found = match cell(file, purpose).load(SeqCst) {
        0 => open(file, fd, purpose),
        stored => Some(stored - 1),
    };
    if found.is_none() {
        done(file);
    }
    found
}

pub fn done(file: &File) {
    // Never below zero: a child that was forked inside a call starts from none.
    let _ = file
        .second_users
        .fetch_update(Release, Relaxed, |n| n.checked_sub(1));
}

/// The program is about to take a POSIX lock: a second descriptor that direct I/O will need is made now,
/// and none from then on.
pub fn before_posix_lock(file: &File, fd: i32, flags: u32) {
    prepare(file, fd, flags);
    let _registry = registry::lock();
    file.mark(POSIX_LOCKED);
}

/// What direct I/O through this number may need of second descriptors is opened now: later it may not be possible.
pub fn prepare(file: &File, fd: i32, flags: u32) {
    if file.has(POSIX_LOCKED) || file.bits.load(Acquire) & USE_DIRECT == 0 {
        return;
    }
    for (purpose, other) in [
        (For::Reading, libc::O_WRONLY),
        (For::Writing, libc::O_RDONLY),
    ] {
        if flags as i32 & libc::O_ACCMODE != other && borrow(file, fd, purpose).is_some() {
            done(file);
        }
    }
}

#[cold]
fn open(file: &File, fd: i32, purpose: For) -> Option<i32> {
    let registry = registry::lock();
    // An open lands on the lowest number and is moved up from there; closing the low number drops
    // the process's POSIX locks on the file, as closing any of its descriptors does.
    if file.has(LEASED | POSIX_LOCKED) {
        return None;
    }
    let cell = cell(file, purpose);
    let stored = cell.load(Acquire);
    if stored != 0 {
        return Some(stored - 1);
    }
    let path = number_path(fd);
    // One who may only write must do; and without waiting for somebody's lease to be given up.
    let ways: &[i32] = match purpose {
        For::Reading => &[libc::O_RDONLY],
        For::Writing => &[libc::O_RDWR, libc::O_WRONLY],
    };
    let opened = ways
        .iter()
        .map(|way| raw::open(path.as_c_str(), way | libc::O_NOCTTY | libc::O_NONBLOCK))
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
    cell.store(high + 1, SeqCst);
    drop(registry);
    // Outside the registry: what stood at that number may have to be let go.
    descriptors::claim_as_ours(high);
    Some(high)
}

fn cells(file: &File) -> [&AtomicI32; 2] {
    [&file.second_read, &file.second_write]
}

fn close(stored: i32) {
    descriptors::disown(stored - 1);
    raw::close(stored - 1);
}

pub fn close_all(file: &File) {
    for cell in cells(file) {
        let stored = cell.swap(0, AcqRel);
        if stored > 0 {
            close(stored);
        }
    }
}

/// The program has no number left: gives up those second descriptors that can be made again.
/// Whether that freed any.
pub fn shed() -> bool {
    let _registry = registry::lock();
    let mut any = false;
    for (_, file) in files::all().filter(|(_, f)| !f.has(POSIX_LOCKED)) {
        for cell in cells(file) {
            let stored = cell.swap(0, SeqCst);
            if stored != 0 && file.second_users.load(SeqCst) == 0 {
                close(stored);
                any = true;
            } else if stored != 0 {
                cell.store(stored, SeqCst);
            }
        }
    }
    any
}

/// The program takes this number for itself with dup2, which closes ours; whether it was this file's.
pub fn surrender(file: &File, fd: i32) -> bool {
    let given = cells(file)
        .into_iter()
        .any(|cell| cell.compare_exchange(fd + 1, 0, SeqCst, Acquire).is_ok());
    // Calls that have it in hand: bounded, in case one was jumped out of.
    for _ in 0..1000 {
        if !given || file.second_users.load(SeqCst) == 0 {
            break;
        }
        raw::sleep_ms(1);
    }
    given
}

/// Every number in use as a second descriptor of the file.
pub fn numbers(file: &File) -> impl Iterator<Item = i32> {
    cells(file)
        .map(|cell| cell.load(Acquire))
        .into_iter()
        .filter(|s| *s > 0)
        .map(|s| s - 1)
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
