//! What is not a plain call.

use rustix::io::Errno;

use crate::signals::*;
use crate::*;

/// Of the calls that fail so, the thread has no signal, but for one that was there before.
#[test]
fn a_write_that_fails_raises_nothing() {
    for (error, signal) in [(Errno::PIPE, libc::SIGPIPE), (Errno::FBIG, libc::SIGXFSZ)] {
        let fails = || {
            // SAFETY: sends this thread a signal, which is blocked.
            unsafe { libc::pthread_kill(libc::pthread_self(), signal) };
            Err::<(), _>(error)
        };
        let own = || pending_signals() & (1 << (signal - 1));
        assert_eq!(without_signals(fails), Err(error));
        assert_eq!(own(), 0);
        let mask = block_signals();
        let _ = fails();
        assert_eq!(without_signals(fails), Err(error));
        assert_ne!(own(), 0, "it was pending before");
        take_signals(own());
        restore_signals(mask);
    }
}

#[test]
fn what_was_not_blocked_is_not_unblocked() {
    let pending = || {
        let mut mask = 0u64;
        let call = [
            libc::SIG_BLOCK as usize,
            0,
            (&raw mut mask) as usize,
            8,
            0,
            0,
        ];
        // SAFETY: the kernel writes one mask of eight bytes.
        unsafe { own_call(libc::SYS_rt_sigprocmask as usize, call) };
        mask
    };
    let before = block_signals();
    let blocked = pending();
    assert_ne!(blocked, 0);
    // As in a sandbox that refuses to block.
    restore_signals(Blocked::default());
    assert_eq!(pending(), blocked);
    restore_signals(before);
    assert_ne!(pending(), blocked);
}

#[test]
fn errors_come_back_negative() {
    // SAFETY: closing a number that is not open.
    let ret = unsafe { syscall6(libc::SYS_close as usize, usize::MAX, 0, 0, 0, 0, 0) };
    assert_eq!(result(ret), Err(Errno::BADF));
}

#[test]
fn every_clock_goes_forward_and_they_agree() {
    let begun = now_ns();
    for clock in [Clock::Kernel, Clock::Vdso, Clock::Coarse] {
        set_clock(clock);
        let a = now_ns();
        assert!(a > 0 && now_ns() >= a, "{clock:?}");
        assert!(a.abs_diff(begun) < 10_000_000_000, "{clock:?}");
        assert!(realtime_ns() > 1_700_000_000_000_000_000, "{clock:?}");
    }
    set_clock(Clock::Kernel);
}
