//! Memory that is locked: mlockall.

use core::sync::atomic::{AtomicBool, Ordering::*};

/// Whether what is mapped from now on is locked, and so read in at once.
static FUTURE: AtomicBool = AtomicBool::new(false);

pub fn are_new_mappings() -> bool {
    FUTURE.load(Relaxed)
}

pub fn lock_all(flags: i32, real: impl Fn(i32) -> i32) -> i32 {
    let result = real(flags);
    if result == 0 {
        FUTURE.store(flags & libc::MCL_FUTURE != 0, Relaxed);
    }
    result
}

pub fn unlock_all(real: impl Fn() -> i32) -> i32 {
    let result = real();
    if result == 0 {
        FUTURE.store(false, Relaxed);
    }
    result
}
