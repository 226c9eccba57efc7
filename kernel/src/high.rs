//! Numbers for descriptors of our own where the program doesn't meet them.
//!
//! Above its soft RLIMIT_NOFILE, if there is room or the right to make some: such a number counts against nothing, no
//! call gives it or takes it, and what looks at all numbers up to the limit doesn't come by. The limit is raised for the
//! moment in which the number is made. Otherwise, and where the limit is so high that a table of descriptors of that
//! length would be copied by every fork, the highest free number below.
//!
//! A process that another thread makes in that moment would keep the raised limit. So who makes one says so
//! ([`process_is_made`]), waits until none is raised, and none is meanwhile.

use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

use rustix::fd::{BorrowedFd, IntoRawFd, RawFd};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, prlimit};

use crate::{block_signals, close, may, own_call, restore_signals, result, yield_now};

/// Where the soft limit is higher we stay below this: the kernel sizes a process's table of descriptors, and copies it
/// at every fork, by the highest number in use.
const HIGHEST: u64 = 8192;
/// And never below the number that the usual soft limit gives: a lower limit is mostly raised again.
const USUAL: u64 = 1024;
/// How many taken numbers are stepped over.
const STEPS: u64 = 1024;
/// The highest numbers are left alone, where there are enough: shells move descriptors of their own there.
const SPARED: u64 = 32;
/// A stranger's number is stepped over as well, but not often.
const STRANGERS: u32 = 64;

/// The number below which is looked, where it can't be above.
fn below_which(limit: u64) -> u64 {
    if limit > 128 {
        limit.saturating_sub(SPARED)
    } else {
        limit
    }
}

/// Moves a descriptor of ours out of the program's sight, close-on-exec, and closes the original. When no better number
/// is free the original stays where it is, close-on-exec.
pub fn raise_fd(fd: RawFd) -> Result<RawFd, Errno> {
    match raise_copy(fd, fd.saturating_add(1), &mut |_| true) {
        Ok(high) => {
            close(fd);
            Ok(high)
        }
        Err(Errno::MFILE) => {
            // SAFETY: the caller's descriptor stays open during this call.
            let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
            rustix::io::fcntl_setfd(borrowed, rustix::io::FdFlags::CLOEXEC)?;
            Ok(fd)
        }
        Err(e) => Err(e),
    }
}

/// A copy of a descriptor out of the program's sight, close-on-exec, at `least` or above. `is_free` says whether a
/// number that the kernel calls free is, or somebody is about to put something there.
pub fn raise_copy(
    fd: RawFd,
    least: RawFd,
    is_free: &mut dyn FnMut(RawFd) -> bool,
) -> Result<RawFd, Errno> {
    for command in [libc::F_GETFD, libc::F_DUPFD_CLOEXEC, libc::F_SETFD] {
        if !may(
            libc::SYS_fcntl as usize,
            &[fd as usize, command as usize, 0, 0, 0, 0],
        ) {
            return Err(Errno::NOSYS); // a sandbox
        }
    }
    let Some(limit) = limit() else {
        return copy_below(fd, least, below_which(USUAL), is_free);
    };
    let soft = limit.current.unwrap_or(u64::MAX);
    if soft <= HIGHEST {
        let copy = with_numbers_from(soft, &limit, |first| copy_from(fd, first, is_free));
        if let Ok(high) = copy {
            return Ok(high);
        }
    }
    copy_below(fd, least, below_which(soft.min(HIGHEST)), is_free)
}

const LIMIT: usize = libc::SYS_prlimit64 as usize;

/// None: a sandbox keeps us from looking.
fn limit() -> Option<Rlimit> {
    let asked = [0, libc::RLIMIT_NOFILE as usize, 0, 0, 0, 0];
    may(LIMIT, &asked).then(|| getrlimit(Resource::Nofile))
}

/// Does `act` while numbers at and above the soft limit can be made: it gets the first of them.
fn with_numbers_from<T>(
    soft: u64,
    limit: &Rlimit,
    mut act: impl FnMut(RawFd) -> Result<T, Errno>,
) -> Result<T, Errno> {
    let wide = soft.max(USUAL);
    // So many as there may be second descriptors for what the program can open, and some.
    let room = soft.saturating_mul(2).saturating_add(256);
    let mut done = Err(Errno::MFILE);
    for first in [wide, soft] {
        let Ok(number) = RawFd::try_from(first) else {
            continue;
        };
        done = with_limit(limit, first.saturating_add(room), first, || act(number));
        if done.is_ok() || wide == soft {
            break;
        }
    }
    done
}

/// Does `act` where there are numbers beyond the program's limit: it has none left below. None: there are none there either.
pub fn beyond_the_limit<T>(mut act: impl FnMut() -> T) -> Option<T> {
    let limit = limit()?;
    let soft = limit.current?;
    with_numbers_from(soft, &limit, |_| Ok(act())).ok()
}

/// Threads that make a process, or become another program.
static MAKING: AtomicU32 = AtomicU32::new(0);
/// Threads that have raised the limit for a moment.
static RAISING: AtomicU32 = AtomicU32::new(0);
/// How often it is looked whether that is over: none waits for anybody, but one may have to wait for a processor.
const LOOKS: u32 = 1_000_000;

/// A process is about to be made, or this one to become another program: the limits that it gets are the program's.
/// Until [`process_was_made`] numbers of ours are made below them.
pub fn process_is_made() {
    MAKING.fetch_add(1, SeqCst);
    for _ in 0..LOOKS {
        if RAISING.load(SeqCst) == 0 {
            return;
        }
        yield_now();
    }
}

/// Ends `process_is_made`.
pub fn process_was_made() {
    let _ = MAKING.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1));
}

/// In a forked child: its parent's other threads were at it.
pub fn forget_makers_in_child() {
    MAKING.store(0, SeqCst);
    RAISING.store(0, SeqCst);
}

/// Does `act` under a soft limit of `wanted`, or of as much above `least` as may be had.
fn with_limit<T>(
    limit: &Rlimit,
    wanted: u64,
    least: u64,
    act: impl FnOnce() -> Result<T, Errno>,
) -> Result<T, Errno> {
    let asked = [0, libc::RLIMIT_NOFILE as usize, 1, 1, 0, 0];
    if !may(LIMIT, &asked) {
        return Err(Errno::NOSYS);
    }
    // A handler that jumped out from here would leave the program with another limit.
    let signals = block_signals();
    RAISING.fetch_add(1, SeqCst);
    let raised = match MAKING.load(SeqCst) {
        0 => raise_limit(limit, wanted, least),
        _ => Err(Errno::AGAIN),
    };
    let done = raised.and_then(|(before, raised)| {
        let done = act();
        lower_limit(before, &raised);
        done
    });
    RAISING.fetch_sub(1, SeqCst);
    restore_signals(signals);
    done
}

/// The limit as it was, and as it is now.
fn raise_limit(limit: &Rlimit, wanted: u64, least: u64) -> Result<(Rlimit, Rlimit), Errno> {
    let hard = limit.maximum.unwrap_or(u64::MAX);
    let within = Rlimit {
        current: Some(wanted.min(hard)),
        maximum: limit.maximum,
    };
    let beyond = Rlimit {
        current: Some(wanted),
        maximum: Some(wanted.max(hard)),
    };
    let raised = if hard > least { within } else { beyond };
    let before = prlimit(None, Resource::Nofile, raised)?;
    Ok((before, raised))
}

/// Back, unless another thread of the program has set a limit meanwhile: then that one stands.
fn lower_limit(before: Rlimit, raised: &Rlimit) {
    if let Ok(found) = prlimit(None, Resource::Nofile, before)
        && (found.current, found.maximum) != (raised.current, raised.maximum)
    {
        let _ = prlimit(None, Resource::Nofile, found); // the program's own limit
    }
}

/// Puts what is behind `fd` at exactly this number, which is ours, in place of what is there.
pub fn put_at(fd: RawFd, number: RawFd) -> Result<(), Errno> {
    let put = || {
        // SAFETY: dup3 of our descriptor onto a number that is ours.
        let done = unsafe {
            let cloexec = libc::O_CLOEXEC as usize;
            let call = [fd as usize, number as usize, cloexec, 0, 0, 0];
            own_call(libc::SYS_dup3 as usize, call)
        };
        result(done).map(|_| ())
    };
    let Some(limit) = limit() else { return put() };
    let wanted = u64::try_from(number).unwrap_or(0).saturating_add(1);
    if limit.current.is_none_or(|soft| wanted <= soft) {
        put()
    } else {
        with_limit(&limit, wanted, wanted.saturating_sub(1), put)
    }
}

/// A copy at the lowest number from `first` on that is free.
fn copy_from(
    fd: RawFd,
    first: RawFd,
    is_free: &mut dyn FnMut(RawFd) -> bool,
) -> Result<RawFd, Errno> {
    // SAFETY: the caller's descriptor stays open during this call.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let mut from = first;
    for _ in 0..STRANGERS {
        let high = rustix::io::fcntl_dupfd_cloexec(borrowed, from)?.into_raw_fd();
        if is_free(high) {
            return Ok(high);
        }
        // Somebody puts something else there, and so closes what we have put there.
        from = high.saturating_add(1);
    }
    Err(Errno::MFILE)
}

/// A copy at the highest number that is free below `below`.
fn copy_below(
    fd: RawFd,
    least: RawFd,
    below: u64,
    is_free: &mut dyn FnMut(RawFd) -> bool,
) -> Result<RawFd, Errno> {
    // SAFETY: the caller's descriptor stays open during this call.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    for step in 1..=STEPS.min(below) {
        let Ok(wanted) = RawFd::try_from(below.saturating_sub(step)) else {
            break;
        };
        if wanted < least {
            break;
        }
        // SAFETY: only asked about.
        let taken = rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(wanted) }).is_ok();
        if taken || !is_free(wanted) {
            continue;
        }
        // Takes the lowest free one from `wanted` on: a higher one if somebody was quicker.
        match rustix::io::fcntl_dupfd_cloexec(borrowed, wanted).map(IntoRawFd::into_raw_fd) {
            Ok(high) if high == wanted => return Ok(high),
            Ok(other) if is_free(other) => close(other),
            Ok(_) | Err(Errno::MFILE) => {}
            Err(e) => return Err(e),
        }
    }
    Err(Errno::MFILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn null() -> RawFd {
        rustix::fs::open(
            c"/dev/null",
            rustix::fs::OFlags::RDONLY,
            rustix::fs::Mode::empty(),
        )
        .unwrap()
        .into_raw_fd()
    }

    fn soft() -> u64 {
        getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
    }

    #[test]
    fn a_raised_descriptor_is_high_and_closes_on_exec() {
        let (low, limit) = (null(), soft());
        let high = raise_fd(low).unwrap();
        let below = below_which(limit.min(HIGHEST));
        assert!(high as u64 >= limit.min(below.saturating_sub(STEPS)));
        // SAFETY: plain fcntl queries.
        unsafe {
            assert_eq!(libc::fcntl(high, libc::F_GETFD), libc::FD_CLOEXEC);
            assert_eq!(libc::fcntl(low, libc::F_GETFD), -1);
        }
        assert_eq!(soft(), limit, "the limit is back");
        close(high);
    }

    #[test]
    fn the_numbers_that_shells_use_are_spared() {
        assert_eq!(
            [20, 128, 129, 1024].map(below_which),
            [20, 128, 97, 1024 - 32]
        );
    }

    /// In a child, whose limit is its own.
    #[test]
    fn above_a_low_limit_it_counts_against_nothing() {
        // SAFETY: the child makes system calls and ends.
        match unsafe { libc::fork() } {
            0 => {
                let old = getrlimit(Resource::Nofile);
                let low = Rlimit {
                    current: Some(100),
                    ..old
                };
                let set = prlimit(None, Resource::Nofile, low).is_ok();
                let high = raise_fd(null()).unwrap_or(-1);
                let moved = put_at(0, high).is_ok();
                let code = i32::from(!(set && high >= 100 && soft() == 100 && moved));
                // SAFETY: ends the child without anything of the parent's.
                unsafe { libc::_exit(code) }
            }
            pid => {
                let mut status = -1;
                // SAFETY: waits for the child and writes one integer.
                unsafe { libc::waitpid(pid, &mut status, 0) };
                assert_eq!(status, 0);
            }
        }
    }

    #[test]
    fn a_number_that_somebody_is_about_to_take_is_left_alone() {
        let (low, mut first) = (null(), None);
        let high = raise_copy(low, 0, &mut |n| n != *first.get_or_insert(n)).unwrap();
        assert_ne!(Some(high), first);
        close(low);
        close(high);
    }
}
