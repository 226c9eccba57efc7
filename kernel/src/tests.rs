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

/// Two pages that nobody else has, of which the second may be used only as this says.
fn two_pages(second: i32) -> *mut u8 {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let open = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping, of which the second page is ours to close.
    unsafe {
        let at = libc::mmap(core::ptr::null_mut(), 8192, open, flags, -1, 0);
        assert_ne!(at, libc::MAP_FAILED);
        assert_eq!(libc::mprotect(at.byte_add(4096), 4096, second), 0);
        at.cast()
    }
}

#[test]
fn the_program_is_looked_at_where_it_can_be() {
    let at = two_pages(libc::PROT_NONE);
    // SAFETY: the first page is ours.
    unsafe { at.add(4096 - 64).cast::<u64>().write(7) };
    let block = |from: usize| look_at_program(at.wrapping_add(from).cast::<[u64; 8]>());
    assert_eq!(block(4096 - 64).map(|words| words[0]), Ok(7));
    for outside in [4096 - 63, 4096 - 8, 4096, 4097] {
        assert_eq!(block(outside), Err(libc::EFAULT), "at {outside}");
    }
    let nowhere = core::ptr::null::<u64>();
    assert_eq!(look_at_program(nowhere), Err(libc::EFAULT));
    assert_eq!(
        look_at_program(core::ptr::without_provenance::<u64>(16)),
        Err(libc::EFAULT)
    );
}

#[test]
fn a_pass_knows_no_more_than_it_has_asked() {
    let at = two_pages(libc::PROT_NONE);
    let here = 0u64;
    for mut pages in [Pages::default(), Pages::beside(&here)] {
        for from in [0, 8, 4096 - 64] {
            let block = at.wrapping_add(from).cast::<[u64; 8]>();
            assert_eq!(pages.look_at(block), Ok([0; 8]));
        }
        assert_eq!(pages.look_at(&raw const here), Ok(0));
        for outside in [4096 - 63, 4096 - 8, 4096, 4097] {
            let block = at.wrapping_add(outside).cast::<[u64; 8]>();
            assert_eq!(pages.look_at(block), Err(libc::EFAULT), "at {outside}");
        }
    }
    let at = two_pages(libc::PROT_READ);
    let mut pages = Pages::default();
    assert_eq!(pages.put(&[0u64; 4], at.cast()), Ok(()));
    let over = at.wrapping_add(4096 - 24).cast();
    assert_eq!(pages.put(&[1u64; 4], over), Err(libc::EFAULT));
}

#[test]
fn the_program_is_written_to_where_it_can_be() {
    let at = two_pages(libc::PROT_READ);
    let put = |to: usize| put_in_program(&[1u64, 2, 3, 4], at.wrapping_add(to).cast());
    assert_eq!(put(4096 - 32), Ok(()));
    // SAFETY: the first page is ours.
    let written = unsafe { at.add(4096 - 32).cast::<[u64; 4]>().read() };
    assert_eq!(written, [1, 2, 3, 4]);
    for outside in [4096 - 31, 4096 - 24, 4096 - 8, 4096] {
        assert_eq!(put(outside), Err(libc::EFAULT), "at {outside}");
    }
    let nowhere = core::ptr::null_mut::<u64>();
    assert_eq!(put_in_program(&[1], nowhere), Err(libc::EFAULT));
    // Through the kernel, and where that is refused: what follows stays as it is.
    for pid in [std::process::id(), u32::MAX] {
        known::set_pid(pid);
        let mut words = [5u32; 4];
        assert_eq!(copy_to_program(&[0u32], &raw mut words[1]), Ok(()));
        assert_eq!(words, [5, 0, 5, 5]);
    }
}
