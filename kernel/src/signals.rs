//! Signals of this thread: its mask, what a call of ours raises, its alternate stack.

use rustix::io::Errno;

use crate::call::own_call;

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

/// Whether there is a handler for any signal that comes from elsewhere, but for those that libc keeps to itself. Also
/// where a sandbox doesn't let us ask.
pub fn has_handlers() -> bool {
    const SIGNALS: i32 = 64;
    const OF_LIBC: [i32; 2] = [32, 33];
    let from_elsewhere = |s: &i32| !SYNCHRONOUS.contains(s) && !OF_LIBC.contains(s);
    (1..=SIGNALS).filter(from_elsewhere).any(has_handler)
}

fn has_handler(signal: i32) -> bool {
    // The kernel's struct: the handler first, and three words behind it.
    let mut action = [0usize; 4];
    let into = action.as_mut_ptr() as usize;
    let call = [signal as usize, 0, into, size_of::<u64>(), 0, 0];
    // SAFETY: the kernel writes one such struct.
    let done = unsafe { own_call(libc::SYS_rt_sigaction as usize, call) };
    done != 0 || is_handler(signal, action.first().copied().unwrap_or(0))
}

/// Whether a signal that comes from elsewhere gets one that runs code of the program's.
pub fn is_handler(signal: i32, handler: usize) -> bool {
    !SYNCHRONOUS.contains(&signal) && !matches!(handler, libc::SIG_DFL | libc::SIG_IGN)
}

/// Ends `block_signals`.
pub fn restore_signals(before: Blocked) {
    if let Blocked(Some(mask)) = before {
        set_signals(libc::SIG_SETMASK, mask);
    }
}

/// Proof that signals are blocked, until it is dropped.
pub struct Quiet(Blocked);

impl Quiet {
    pub fn begin() -> Quiet {
        Quiet(block_signals())
    }

    /// The program's own mask; None: a sandbox doesn't let us block signals.
    pub fn mask(&self) -> Option<u64> {
        self.0.0
    }

    /// Signals are as the program has them, for something that may be jumped out of.
    pub fn pause<R>(&self, act: impl FnOnce() -> R) -> R {
        restore_signals(self.0);
        let result = act();
        block_signals();
        result
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        restore_signals(self.0);
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

pub(crate) fn pending_signals() -> u64 {
    let mut pending = 0u64;
    let call = [(&raw mut pending) as usize, size_of::<u64>(), 0, 0, 0, 0];
    // SAFETY: the kernel writes one mask of eight bytes.
    unsafe { own_call(libc::SYS_rt_sigpending as usize, call) };
    pending
}

/// Takes one of these away, if it is pending. They are blocked.
pub(crate) fn take_signals(which: u64) {
    let now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let (which, now) = ((&raw const which) as usize, (&raw const now) as usize);
    let call = [which, 0, now, size_of::<u64>(), 0, 0];
    // SAFETY: the kernel reads one mask of eight bytes and one timespec.
    unsafe { own_call(libc::SYS_rt_sigtimedwait as usize, call) };
}

/// Err: a sandbox doesn't let us ask.
fn signal_stack() -> Result<libc::stack_t, ()> {
    // SAFETY: plain integers and a pointer; all-zero is a value.
    let mut s: libc::stack_t = unsafe { core::mem::zeroed() };
    match call!(SYS_sigaltstack, 0, &raw mut s) {
        0 => Ok(s),
        _ => Err(()),
    }
}

/// Also where that can't be known: then nothing is concluded from addresses.
pub fn on_alternate_stack() -> bool {
    signal_stack().map_or(true, |s| s.ss_flags & libc::SS_ONSTACK != 0)
}

/// The addresses of the alternate signal stack; empty: there is none.
pub fn alternate_stack() -> core::ops::Range<usize> {
    match signal_stack() {
        Ok(s) if s.ss_flags & libc::SS_DISABLE == 0 => {
            let start = s.ss_sp as usize;
            start..start.saturating_add(s.ss_size)
        }
        _ => 0..0,
    }
}
