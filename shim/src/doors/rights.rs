//! Giving up rights: what is got before, and which sandbox is entered.

use core::ffi::{c_int, c_uint};
use protocol::life::rights::before_losing;
use protocol::life::sandbox::{Entering, enter};

const SECCOMP_STRICT: usize = 1;
const SECCOMP_FILTER: usize = 2;

fn filter(program: usize, all_threads: bool) -> Entering {
    Entering::Filter {
        program: program as *const _,
        all_threads,
    }
}

/// prctl(2).
pub fn control(option: c_int, mode: usize, program: usize, real: impl Fn() -> isize) -> isize {
    const SET_SECCOMP: c_int = 22;
    const SET_NO_NEW_PRIVS: c_int = 38;
    let failed = |n| n < 0;
    match (option, mode) {
        (SET_SECCOMP, SECCOMP_STRICT) => enter(&Entering::Strict, failed, real),
        (SET_SECCOMP, SECCOMP_FILTER) => enter(&filter(program, false), failed, real),
        (SET_NO_NEW_PRIVS, _) => {
            before_losing();
            real()
        }
        _ => real(),
    }
}

/// seccomp(2), which libc has no name for.
pub fn seccomp(
    operation: c_uint,
    flags: c_uint,
    program: usize,
    real: impl Fn() -> isize,
) -> isize {
    const SET_MODE_STRICT: c_uint = 0;
    const SET_MODE_FILTER: c_uint = 1;
    const TSYNC: c_uint = 1;
    const NEW_LISTENER: c_uint = 8;
    match operation {
        SET_MODE_STRICT if flags == 0 && program == 0 => enter(&Entering::Strict, |n| n < 0, real),
        SET_MODE_FILTER => {
            let listens = flags & NEW_LISTENER != 0;
            // Without a listener a number above 0 is a thread that couldn't be bound.
            let failed = |n: isize| n < 0 || (n > 0 && !listens);
            let result = enter(&filter(program, flags & TSYNC != 0), failed, real);
            if listens && result >= 0 {
                protocol::calls::numbers::made_other(result as c_int);
            }
            result
        }
        _ => real(),
    }
}

/// A call after which files can't be opened any more that could be before.
pub fn losing(real: impl Fn() -> c_int) -> c_int {
    before_losing();
    real()
}

/// A limit is about to be set: the lock table and the trace take numbers, memory and perhaps files of some length.
pub fn limiting(resource: c_uint, is_new: bool) {
    const OURS: [c_uint; 4] = [
        libc::RLIMIT_NOFILE,
        libc::RLIMIT_AS,
        libc::RLIMIT_DATA,
        libc::RLIMIT_FSIZE,
    ];
    if is_new && OURS.contains(&resource) {
        protocol::who::process::enters_table();
        protocol::tell::trace::prepare();
    }
}

/// unshare(2).
pub fn unsharing(flags: c_int, real: impl Fn() -> c_int) -> c_int {
    if flags & libc::CLONE_FILES != 0 && protocol::calls::numbers::unsharing() {
        kernel::set_errno(libc::EPERM);
        return -1;
    }
    losing(real)
}
