//! The file's writeback error: the sign that pages could not be dropped (P8), and what is owed to the
//! program's own fsync.

use core::sync::atomic::Ordering::*;

use kernel::is_writeback_error;

use crate::direct::second::{self, InHand};
use crate::hold::slots::slot_of;
use crate::what::file::File;
use crate::what::seconds;
use crate::who::thread::{Frame, Thread};
use crate::who::{handlers, process};

/// Look at the file's writeback error through the second descriptor. None: the kernel doesn't let us look.
pub fn look(second: &InHand, offset: u64, len: u64) -> Option<(kernel::Raw, u32)> {
    let (error, epoch) = seen(second.file, || {
        kernel::writeback_error(second.number(), offset, len)
    });
    if error < 0 && !is_writeback_error(error) {
        None
    } else {
        Some((error, epoch))
    }
}

/// The states of a file's `check` word.
const FREE: u32 = 0;
const TAKEN: u32 = 1;
const WAITED_FOR: u32 = 2;

/// A call that may report the file's writeback error, which the second descriptor does once: whoever
/// sees it bumps the epoch, and a write during which the epoch moved has failed too (P8). One at a time, and
/// no signal handler in between, which might not come back.
pub fn seen(file: &File, call: impl FnOnce() -> kernel::Raw) -> (kernel::Raw, u32) {
    let handlers = handlers::keep_away();
    if file
        .check
        .compare_exchange(FREE, TAKEN, Acquire, Relaxed)
        .is_err()
    {
        while file.check.swap(WAITED_FOR, Acquire) != FREE {
            kernel::futex_wait_private(&file.check, WAITED_FOR);
        }
    }
    let error = call();
    if is_writeback_error(error) {
        file.error_epoch.fetch_add(1, AcqRel);
    }
    let epoch = file.error_epoch.load(Acquire);
    if file.check.swap(FREE, Release) == WAITED_FOR {
        kernel::futex_wake_private(&file.check);
    }
    handlers::let_come(handlers);
    (error, epoch)
}

/// Whether somebody else is looking, or syncs: a call that may not wait doesn't begin then.
pub fn is_being_looked_at(file: &File) -> bool {
    file.check.load(Relaxed) != FREE
}

/// An error that our call consumed: the program's next fsync reports it.
pub fn owe(file: &File, error: kernel::Raw) {
    if is_writeback_error(error) {
        file.owed_error.store(-error as i32, Release);
    }
}

/// After the program's own fsync or fdatasync: what we owe it.
pub fn after_sync(thread: &Thread, frame: &Frame, file: &File, result: isize) -> isize {
    if result < 0 && is_writeback_error(-(kernel::errno() as isize)) {
        // The kernel has told this descriptor itself; ours sees the same error, and nobody is told twice.
        let errno = kernel::errno();
        for purpose in seconds::ALL {
            let slot = process::table().and_then(|table| slot_of(table, thread, frame));
            let there = slot.and_then(|_| second::borrow_existing(frame, file, purpose));
            if let Some(ours) = there {
                let _ = seen(file, || kernel::writeback_error(ours.number(), 0, 1));
                ours.done();
            }
        }
        file.owed_error.store(0, Release);
        kernel::set_errno(errno);
        return result;
    }
    let owed = pay(file);
    if result == 0 && owed != 0 {
        kernel::set_errno(owed);
        return -1;
    }
    result
}

/// What is owed, or 0; from now on nothing is.
pub fn pay(file: &File) -> i32 {
    match file.owed_error.load(Relaxed) {
        0 => 0,
        _ => file.owed_error.swap(0, AcqRel),
    }
}
