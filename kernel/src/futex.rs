//! Sleeping on a word until somebody wakes.

use core::sync::atomic::AtomicU32;

pub fn futex_wait_private(word: &AtomicU32, expected: u32) {
    let wait = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    let limit = libc::timespec {
        tv_sec: 0,
        tv_nsec: 50_000_000,
    };
    call!(
        SYS_futex,
        word.as_ptr(),
        wait,
        expected,
        &raw const limit,
        0,
        0
    );
}

pub fn futex_wake_private(word: &AtomicU32) {
    call!(
        SYS_futex,
        word.as_ptr(),
        libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
        1,
        0,
        0,
        0
    );
}

pub fn futex_wake_all_private(word: &AtomicU32) {
    call!(
        SYS_futex,
        word.as_ptr(),
        libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
        i32::MAX,
        0,
        0,
        0
    );
}

/// On a word that other processes wake, too; `limit` in nanoseconds, or without end.
pub fn futex_wait_shared(word: &AtomicU32, expected: u32, limit: Option<u64>) {
    let time = limit.map(|limit| libc::timespec {
        tv_sec: (limit / 1_000_000_000) as i64,
        tv_nsec: (limit % 1_000_000_000) as i64,
    });
    let time = time.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
    let wait = libc::FUTEX_WAIT;
    call!(SYS_futex, word.as_ptr(), wait, expected, time, 0, 0);
}

pub fn futex_wake_shared(word: &AtomicU32) {
    let wake = libc::FUTEX_WAKE;
    call!(SYS_futex, word.as_ptr(), wake, i32::MAX, 0, 0, 0);
}
