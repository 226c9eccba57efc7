//! How a process learns that a supervisor makes its file calls (`pagefence supervise`), so that a library in it leaves them
//! alone: two of one fence would wait for each other. The filter that sends the calls to the supervisor is asked, for it is
//! what no exec and no environment takes away: it answers one question that means nothing to the kernel.

use core::ffi::c_int;

use crate::call::{Raw, any};

/// The last argument of a `prctl(PR_GET_SECCOMP)`, which the kernel doesn't look at.
pub const QUESTION: u32 = 0x7066_6e63;
/// The error with which the filter answers that; the kernel has none of this number.
pub const ANSWER: c_int = 4042;

/// What `mode` gives where the filter has answered.
pub const ANSWERED: Raw = -(ANSWER as Raw);

/// The seccomp mode of this process, as the kernel gives it (0: no filter; negative: it may not be asked), or the answer.
pub fn mode() -> Raw {
    let arguments = [libc::PR_GET_SECCOMP as usize, 0, 0, 0, QUESTION as usize, 0];
    // SAFETY: prctl with an option that only asks.
    unsafe { any(libc::SYS_prctl as usize, arguments) }
}

/// Whether a supervisor makes this process's file calls, and those of all that it starts.
pub fn is_supervised() -> bool {
    mode() == ANSWERED
}
