//! How a process learns that a supervisor makes its file calls (`pagefence supervise`), so that a library in it leaves them
//! alone: two of one fence would wait for each other. The filter that sends the calls to the supervisor is asked, for it is
//! what no exec and no environment takes away: it answers one question that means nothing to the kernel.

use core::ffi::c_int;

/// The last argument of a `prctl(PR_GET_SECCOMP)`, which the kernel doesn't look at.
pub const QUESTION: u32 = 0x7066_6e63;
/// The error with which the filter answers that; the kernel has none of this number.
pub const ANSWER: c_int = 4042;
