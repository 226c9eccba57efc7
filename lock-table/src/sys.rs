//! The system calls that rustix lacks, made directly: nothing here goes through a libc symbol, because those are the
//! symbols that a preloaded library replaces.

use rustix::fd::RawFd;
use rustix::io::Errno;
use rustix::time::ClockId;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU8, AtomicUsize};

/// A raw system call. Returns what the kernel returns: a negative value is `-errno`.
///
/// # Safety
/// As for the system call itself: pointers among the arguments must be what that call expects.
#[cfg(target_arch = "x86_64")]
#[inline]
#[allow(
    clippy::too_many_arguments,
    reason = "a number and six registers is what a system call takes"
)]
pub unsafe fn syscall6(
    nr: usize,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> isize {
    let ret: isize;
    // SAFETY: the kernel's convention on x86_64: arguments in these registers, rcx and r11 lost, no stack used.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") nr as isize => ret,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    ret
}

/// A raw system call. Returns what the kernel returns: a negative value is `-errno`.
///
/// # Safety
/// As for the system call itself: pointers among the arguments must be what that call expects.
#[cfg(target_arch = "aarch64")]
#[inline]
#[allow(
    clippy::too_many_arguments,
    reason = "a number and six registers is what a system call takes"
)]
pub unsafe fn syscall6(
    nr: usize,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> isize {
    let ret: isize;
    // SAFETY: the kernel's convention on aarch64: number in x8, arguments in x0 to x5, the result in x0.
    unsafe {
        core::arch::asm!(
            "svc 0",
            in("x8") nr,
            inlateout("x0") a as isize => ret,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack),
        );
    }
    ret
}

/// What the kernel returned, as a result.
#[inline]
pub fn result(ret: isize) -> Result<usize, Errno> {
    if ret < 0 {
        Err(Errno::from_raw_os_error(
            i32::try_from(ret.wrapping_neg()).unwrap_or(libc::EIO),
        ))
    } else {
        Ok(ret.unsigned_abs())
    }
}

/// What decides whether a system call of ours may be made at all.
pub type Gate = fn(usize, &[usize; 6]) -> bool;

/// The gate's address; 0: there is none, and every call may be made.
static GATE: AtomicUsize = AtomicUsize::new(0);
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

/// From now on (a process that has put itself into a sandbox) our own system calls are asked for here first: where one
/// may not be made it isn't, and fails as on a kernel that lacks it.
pub fn set_gate(gate: Gate) {
    GATE.store(gate as usize, Release);
}

/// Whether a call of ours may be made.
#[inline]
pub fn may(nr: usize, arguments: &[usize; 6]) -> bool {
    GATE.load(Relaxed) == 0 || ask(nr, arguments)
}

#[cold]
fn ask(nr: usize, arguments: &[usize; 6]) -> bool {
    let gate = GATE.load(Acquire);
    // SAFETY: not null, and only `set_gate` stores here: the address of such a function.
    gate == 0 || unsafe { core::mem::transmute::<usize, Gate>(gate) }(nr, arguments)
}

/// The same as [`syscall6`], for calls of our own: the gate is asked first.
///
/// # Safety
/// As for [`syscall6`].
#[inline]
pub unsafe fn own_call(nr: usize, arguments: [usize; 6]) -> isize {
    if !may(nr, &arguments) {
        return (libc::ENOSYS as isize).wrapping_neg();
    }
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the caller's promise.
    unsafe { syscall6(nr, a, b, c, d, e, f) }
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

/// The mask as it was before signals were blocked; nothing, where a sandbox didn't let us: then there is nothing to undo.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Blocked(Option<u64>);

fn set_signals(how: i32, mask: u64) -> Blocked {
    let mut old = 0u64;
    let (mask, into) = ((&raw const mask) as usize, (&raw mut old) as usize);
    let call = [how as usize, mask, into, size_of::<u64>(), 0, 0];
    // SAFETY: the kernel reads one mask of eight bytes and writes another.
    let done = unsafe { own_call(libc::SYS_rt_sigprocmask as usize, call) };
    Blocked((done == 0).then_some(old))
}

/// What a thread does to itself: blocked, these would kill it.
const SYNCHRONOUS: [i32; 6] = [
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGSEGV,
    libc::SIGSYS,
];

/// Blocks all signals for this thread that come from elsewhere, those that libc keeps to itself too. Returns the mask as
/// it was.
pub fn block_signals() -> Blocked {
    let bit = |signal: i32| 1u64.wrapping_shl(signal.wrapping_sub(1) as u32);
    let open = SYNCHRONOUS
        .iter()
        .fold(0, |mask, signal| mask | bit(*signal));
    set_signals(libc::SIG_BLOCK, !open)
}

/// Ends `block_signals`.
pub fn restore_signals(before: Blocked) {
    if let Blocked(Some(mask)) = before {
        set_signals(libc::SIG_SETMASK, mask);
    }
}

/// What a write raises in the thread that writes: beyond the limit on file sizes, or to a pipe that nobody reads.
const BY_WRITING: u64 = 1 << (libc::SIGXFSZ - 1) | 1 << (libc::SIGPIPE - 1);

/// Runs a call of ours that writes or makes a file longer: the signal that it raises where it fails never reaches the
/// program. One that was pending before stays.
pub fn without_signals<T>(call: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    let mask = block_signals();
    let before = pending_signals();
    let result = call();
    if matches!(result, Err(Errno::FBIG | Errno::PIPE)) {
        take_signals(BY_WRITING & !before);
    }
    restore_signals(mask);
    result
}

fn pending_signals() -> u64 {
    let mut pending = 0u64;
    let call = [(&raw mut pending) as usize, size_of::<u64>(), 0, 0, 0, 0];
    // SAFETY: the kernel writes one mask of eight bytes.
    unsafe { own_call(libc::SYS_rt_sigpending as usize, call) };
    pending
}

/// Takes one of these away, if it is pending. They are blocked.
fn take_signals(which: u64) {
    let now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let (which, now) = ((&raw const which) as usize, (&raw const now) as usize);
    let call = [which, 0, now, size_of::<u64>(), 0, 0];
    // SAFETY: the kernel reads one mask of eight bytes and one timespec.
    unsafe { own_call(libc::SYS_rt_sigtimedwait as usize, call) };
}

/// The name of the calling thread, as `ps` shows it.
pub fn comm() -> [u8; 16] {
    let mut name = [0u8; 16];
    // SAFETY: PR_GET_NAME writes at most 16 bytes, the final zero included.
    unsafe {
        syscall6(
            libc::SYS_prctl as usize,
            libc::PR_GET_NAME as usize,
            name.as_mut_ptr() as usize,
            0,
            0,
            0,
            0,
        );
    }
    name
}

fn one_byte(kind: i32, at: u64) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: at as libc::off_t,
        l_len: 1,
        l_pid: 0, // the kernel insists on zero for locks of an open file description
    }
}

/// Whose a lock on a byte is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Holder {
    /// An open file description's: of all who share it.
    Description,
    /// This process's (POSIX): a forked child doesn't have it, and it goes with the process, at exec, or when the process
    /// closes any descriptor of the file.
    Process,
}

impl Holder {
    fn set(self) -> i32 {
        match self {
            Holder::Description => libc::F_OFD_SETLK,
            Holder::Process => libc::F_SETLK,
        }
    }

    fn get(self) -> i32 {
        match self {
            Holder::Description => libc::F_OFD_GETLK,
            Holder::Process => libc::F_GETLK,
        }
    }
}

fn lock_call(fd: RawFd, command: i32, lock: &mut libc::flock) -> Result<(), Errno> {
    let call = [
        fd as usize,
        command as usize,
        (&raw mut *lock) as usize,
        0,
        0,
        0,
    ];
    // SAFETY: the kernel reads and writes one struct flock, whose layout on 64-bit is libc's.
    result(unsafe { own_call(libc::SYS_fcntl as usize, call) }).map(|_| ())
}

/// Takes byte `at` exclusively, through `fd`. Never waits.
pub(crate) fn lock_byte(holder: Holder, fd: RawFd, at: u64) -> Result<(), Errno> {
    lock_call(fd, holder.set(), &mut one_byte(libc::F_WRLCK, at))
}

/// Lets go of byte `at`.
pub(crate) fn unlock_byte(holder: Holder, fd: RawFd, at: u64) -> Result<(), Errno> {
    lock_call(fd, holder.set(), &mut one_byte(libc::F_UNLCK, at))
}

/// Does somebody else hold byte `at`?
pub(crate) fn byte_is_locked(holder: Holder, fd: RawFd, at: u64) -> Result<bool, Errno> {
    let mut lock = one_byte(libc::F_WRLCK, at);
    lock_call(fd, holder.get(), &mut lock)?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

/// Closes a descriptor of ours without libc.
pub fn close(fd: RawFd) {
    if fd >= 0 && may(libc::SYS_close as usize, &[fd as usize, 0, 0, 0, 0, 0]) {
        // SAFETY: the caller owns the number and gives it up.
        unsafe { rustix::io::close(fd) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
