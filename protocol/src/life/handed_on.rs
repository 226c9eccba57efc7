//! What a program that is started behind our filters is told of them: it can't ask them itself.
//!
//! The word stands in its environment: the numbers of the system calls that would kill it, for which the library has a
//! substitute, or "all", if the library couldn't even start.

use core::ffi::{CStr, c_char};
use core::fmt::Write;
use core::sync::atomic::Ordering::*;

use kernel::text::Text;

use crate::life::gate::{is_refused, will_not_kill};
use crate::life::state::state;

pub const NAME: &CStr = c"PAGEFENCE_NO_CALLS";
const ALL: &CStr = c"PAGEFENCE_NO_CALLS=all";

/// Calls that the library has a substitute for, or does without.
const SOFT: &[i64] = &[
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
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

/// For the next program's environment.
pub fn words() -> impl Iterator<Item = *const c_char> + Clone {
    let calls = state().handed_on.load(Acquire).cast_const();
    let calls = (!calls.is_null()).then_some(calls);
    let said = state().said_unfenced.load(Acquire) == SAID_HERE;
    let said = said.then_some(SAID_UNFENCED.as_ptr());
    calls.into_iter().chain(said)
}

/// That this program and what it starts are not fenced has been said: once for all of them.
const SAID_UNFENCED: &CStr = c"PAGEFENCE_SAID_UNFENCED=1";
pub const SAID_NAME: &CStr = c"PAGEFENCE_SAID_UNFENCED";
pub const APART: &CStr = c"PAGEFENCE_APART";
const SAID_BEFORE: u32 = 1;
const SAID_HERE: u32 = 2;

/// In the constructor.
pub fn hear(is_said: bool, is_apart: bool) {
    if is_said {
        state().said_unfenced.store(SAID_BEFORE, Release);
    }
    state().said_apart.store(is_apart, Release);
}

/// Whether nobody has said that the machine's table can't be joined; from now on somebody has. (`pagefence run` says it for
/// all that it starts.)
pub fn is_first_to_say_apart() -> bool {
    !state().said_apart.swap(true, AcqRel)
}

/// Whether nobody has said it; from now on somebody has.
pub fn is_first_to_say_unfenced() -> bool {
    let said = &state().said_unfenced;
    said.compare_exchange(0, SAID_HERE, AcqRel, Acquire).is_ok()
}

/// In the constructor: what this program starts hears of it, however it starts it.
pub fn pass_on() {
    if state().said_unfenced.load(Acquire) == SAID_HERE {
        // SAFETY: in the constructor, before the program runs.
        unsafe { libc::setenv(SAID_NAME.as_ptr(), c"1".as_ptr(), 1) };
        state().said_unfenced.store(SAID_BEFORE, Release);
    }
}

/// Programs that are started from now on can't even start the library.
pub fn nothing() {
    state().handed_on.store(ALL.as_ptr().cast_mut(), Release);
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
    match kernel::map_anonymous(bytes.len() + 1) {
        Some(at) => {
            // SAFETY: fresh memory of ours with room for the bytes, and a zero behind them.
            unsafe { at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
            state().handed_on.store(at.cast(), Release);
        }
        None => nothing(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_numbers_fit_the_word() {
        assert!(NAME.to_bytes().len() + SOFT.len() * 4 + 8 < 200);
    }
}
