//! What a program that is started behind our filters is told of them: it can't ask them itself.
//!
//! The word stands in its environment: the numbers of the system calls that would kill it, for which the library has a
//! substitute, or "all", if the library couldn't even start.

use core::ffi::{CStr, c_char};
use core::fmt::Write;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering::*};

use crate::raw;
use crate::text::Text;
use crate::who::sandbox::will_not_kill;

pub const NAME: &CStr = c"PAGEFENCE_NO_CALLS";
const ALL: &CStr = c"PAGEFENCE_NO_CALLS=all";

/// Calls that the library has a substitute for, or does without.
const SOFT: &[i64] = &[
    libc::SYS_process_vm_readv,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_sync_file_range,
    libc::SYS_fstatfs,
    libc::SYS_readlinkat,
    libc::SYS_membarrier,
    libc::SYS_gettid,
    libc::SYS_clock_gettime,
    libc::SYS_fadvise64,
    libc::SYS_ftruncate,
    libc::SYS_getdents64,
    libc::SYS_sigaltstack,
    libc::SYS_ppoll,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_unshare,
    libc::SYS_msync,
    libc::SYS_prlimit64,
    libc::SYS_sched_yield,
];

/// The word, once there is something to hand on.
static WORD: AtomicPtr<c_char> = AtomicPtr::new(null_mut());
/// What was handed on to this program: one bit for each number.
static REFUSED: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];

/// For the next program's environment.
pub fn word() -> Option<*const c_char> {
    let word = WORD.load(Acquire);
    (!word.is_null()).then_some(word.cast_const())
}

/// Programs that are started from now on can't even start the library.
pub fn nothing() {
    WORD.store(ALL.as_ptr().cast_mut(), Release);
}

/// They are told what kills.
pub fn what_kills() {
    let mut text = Text::<200>::new();
    let _ = text.write_str(NAME.to_str().unwrap_or(""));
    let mut separator = '=';
    for number in SOFT.iter().map(|n| *n as usize) {
        if !will_not_kill(number, &[0; 6]) || is_refused(number) {
            let _ = write!(text, "{separator}{number}");
            separator = ',';
        }
    }
    if separator == '=' {
        return;
    }
    // For good: a list that is being handed over may lead to it.
    let bytes = text.as_bytes();
    match raw::map_anonymous(bytes.len() + 1) {
        Some(at) => {
            // SAFETY: fresh memory of ours with room for the bytes, and a zero behind them.
            unsafe { at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
            WORD.store(at.cast(), Release);
        }
        None => nothing(),
    }
}

/// What was handed on to this program. False: not to start at all.
pub fn take(word: &str) -> bool {
    for number in word.split(',') {
        let Ok(number) = number.parse::<usize>() else {
            return false;
        };
        if let Some(bits) = REFUSED.get(number / 64) {
            bits.fetch_or(1 << (number % 64), AcqRel);
        }
    }
    true
}

pub fn is_refused(number: usize) -> bool {
    REFUSED
        .get(number / 64)
        .is_some_and(|bits| bits.load(Relaxed) & 1 << (number % 64) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_and_anything_else_means_all() {
        assert!(take("277,332"));
        assert!(is_refused(277) && is_refused(332) && !is_refused(278));
        assert!(!take("all") && !take("") && !take("1,x"));
        assert!(take("99999999") && !is_refused(99_999_999));
        for cell in &REFUSED {
            cell.store(0, Relaxed);
        }
    }

    #[test]
    fn all_numbers_fit_the_word() {
        assert!(NAME.to_bytes().len() + SOFT.len() * 4 + 8 < 200);
    }
}
