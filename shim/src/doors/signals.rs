//! Handlers that are about to be installed, as the ways to do so say it.

use core::ffi::c_int;

use libc::sighandler_t;
use protocol::who::installed::may_come;

/// A function of libc's gets `new`, the program's struct, and reads it as this does; null: the program only asks.
///
/// # Safety
/// As for sigaction(2).
pub unsafe fn action(signal: c_int, new: *const libc::sigaction) {
    // SAFETY: as the caller promises.
    if let Some(new) = unsafe { new.as_ref() } {
        handler(signal, new.sa_sigaction);
    }
}

/// The kernel gets it: what can't be read is refused there. The handler is the first word.
pub fn action_by_number(signal: c_int, new: *const sighandler_t) {
    let mut first = [0];
    if !new.is_null() && kernel::copy_from_program(new, &mut first).is_ok() {
        first.into_iter().for_each(|new| handler(signal, new));
    }
}

/// Some values stand for none.
pub fn handler(signal: c_int, new: sighandler_t) {
    const HOLD: sighandler_t = 2; // of sigset(3)
    if new != libc::SIG_ERR && new != HOLD && kernel::is_handler(signal, new) {
        may_come();
    }
}
