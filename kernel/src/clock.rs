//! What time it is, and waiting for it.

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU8, AtomicU32};
use rustix::time::ClockId;

use crate::call::own_call;

/// Which way times are read: a [`Clock`].
static CLOCK: AtomicU8 = AtomicU8::new(Clock::Kernel as u8);

/// Ways to read the time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Clock {
    /// By a system call: the same number of instructions every time.
    Kernel,
    /// By the vDSO, which asks the kernel where the machine's clock needs it.
    Vdso,
    /// By the vDSO, to a few milliseconds, which never does.
    Coarse,
}

pub fn set_clock(clock: Clock) {
    CLOCK.store(clock as u8, Relaxed);
}

/// Whether times are coarse.
pub(crate) fn is_coarse() -> bool {
    CLOCK.load(Relaxed) == Clock::Coarse as u8
}

/// CLOCK_MONOTONIC in nanoseconds.
pub fn now_ns() -> u64 {
    nanoseconds(
        libc::CLOCK_MONOTONIC,
        ClockId::Monotonic,
        ClockId::MonotonicCoarse,
    )
}

/// CLOCK_REALTIME in nanoseconds.
pub fn realtime_ns() -> u64 {
    nanoseconds(
        libc::CLOCK_REALTIME,
        ClockId::Realtime,
        ClockId::RealtimeCoarse,
    )
}

fn nanoseconds(kernel: i32, fine: ClockId, coarse: ClockId) -> u64 {
    const VDSO: u8 = Clock::Vdso as u8;
    const COARSE: u8 = Clock::Coarse as u8;
    let (seconds, rest) = match CLOCK.load(Relaxed) {
        VDSO => by_vdso(fine),
        COARSE => by_vdso(coarse),
        _ => by_kernel(kernel),
    };
    (seconds as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(rest as u64)
}

fn by_vdso(clock: ClockId) -> (i64, i64) {
    let time = rustix::time::clock_gettime(clock);
    (time.tv_sec, time.tv_nsec)
}

fn by_kernel(clock: i32) -> (i64, i64) {
    let mut ts = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    #[cfg(miri)]
    // SAFETY: as below; the interpreter knows libc's calls and no others.
    unsafe {
        libc::clock_gettime(clock, &mut ts);
    }
    #[cfg(not(miri))]
    // SAFETY: the kernel writes one timespec to the address of one.
    unsafe {
        let into = (&raw mut ts) as usize;
        own_call(
            libc::SYS_clock_gettime as usize,
            [clock as usize, into, 0, 0, 0, 0],
        );
    }
    (ts.tv_sec, ts.tv_nsec)
}

/// By a futex that nobody wakes: one kind of call less to be allowed.
pub fn sleep_ms(ms: i64) {
    let word = AtomicU32::new(0);
    let limit = libc::timespec {
        tv_sec: ms / 1000,
        tv_nsec: (ms % 1000) * 1_000_000,
    };
    let wait = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    call!(SYS_futex, word.as_ptr(), wait, 0, &raw const limit, 0, 0);
}

pub fn yield_now() {
    call!(SYS_sched_yield);
}
