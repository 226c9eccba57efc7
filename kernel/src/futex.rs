//! Sleeping on a word of this process's until somebody wakes.

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
