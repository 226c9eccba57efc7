//! One system call, made directly: nothing here goes through a libc symbol, because those are the symbols that a preloaded
//! library replaces.

use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use rustix::io::Errno;

/// A negative error number or a result, as the kernel returns it.
pub type Raw = isize;

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
pub static GATE: AtomicUsize = AtomicUsize::new(0);

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

macro_rules! call {
    ($nr:ident $(, $arg:expr)*) => { call!(@ $nr; [$($arg as usize),*]) };
    (@ $nr:ident; [$($arg:expr),*]) => {{
        // SAFETY: the kernel checks every argument; addresses given are either ours and live for the
        // call, or the program's own, for which it chose the same call.
        unsafe { $crate::own_call(libc::$nr as usize, $crate::pad([$($arg),*])) }
    }};
}

/// Six arguments, whatever was given.
pub(crate) fn pad<const N: usize>(given: [usize; N]) -> [usize; 6] {
    let mut all = [0; 6];
    for (to, from) in all.iter_mut().zip(given) {
        *to = from;
    }
    all
}

/// Whether this is how a sandbox or an old kernel refuses a call that moves or syncs bytes; no filesystem does so.
pub fn is_refused(n: Raw) -> bool {
    matches!(-n as i32, libc::ENOSYS | libc::EPERM | libc::EACCES)
}

/// A request of the program's, as it is, straight to the kernel.
///
/// # Safety
/// The arguments are the program's own for this call.
pub unsafe fn any(number: usize, arguments: [usize; 6]) -> Raw {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: as the caller promises.
    unsafe { syscall6(number, a, b, c, d, e, f) }
}

pub fn set_errno(error: i32) {
    // SAFETY: libc's own thread-local errno.
    unsafe { *libc::__errno_location() = error };
}

pub fn errno() -> i32 {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() }
}

/// A raw result as libc gives it: -1 and errno.
pub fn libc_result(raw: Raw) -> isize {
    if raw < 0 {
        set_errno(-raw as i32);
        return -1;
    }
    raw
}
