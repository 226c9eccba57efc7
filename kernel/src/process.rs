//! This process and this thread: who they are, their limits, barriers among them.

use core::ffi::c_int;

use crate::call::{Raw, syscall6};
use crate::{known, stat};

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

pub fn getpid() -> u32 {
    u32::try_from(call!(SYS_getpid)).unwrap_or_else(|_| known::pid())
}

/// None: a sandbox doesn't let us ask.
pub fn gettid() -> Option<u32> {
    u32::try_from(call!(SYS_gettid)).ok()
}

/// RLIMIT_FSIZE: how long this process may make a file.
pub fn file_size_limit() -> u64 {
    soft_limit(libc::RLIMIT_FSIZE).unwrap_or(u64::MAX)
}

/// None: it can't be asked for.
pub fn soft_limit(resource: libc::__rlimit_resource_t) -> Option<u64> {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let done = call!(SYS_prlimit64, 0, resource, 0, &raw mut limit);
    (done == 0).then_some(limit.rlim_cur)
}

/// Whether nobody else uses this memory: the kernel grants this only then, and does nothing else.
pub fn is_only_task() -> bool {
    match call!(SYS_unshare, libc::CLONE_THREAD) {
        granted if granted == 0 || granted == -(libc::EINVAL as isize) => granted == 0,
        // It isn't there, or is refused.
        _ => stat::fstatat(libc::AT_FDCWD, c"/proc/self/task".as_ptr(), 0)
            .is_ok_and(|t| t.links <= 3),
    }
}

pub fn unshare_files() -> Raw {
    call!(SYS_unshare, libc::CLONE_FILES)
}

const MEMBARRIER_GLOBAL_EXPEDITED: c_int = 2;
const MEMBARRIER_REGISTER_GLOBAL_EXPEDITED: c_int = 4;

/// Make every thread of every registered process pass a full memory barrier.
pub fn membarrier() -> bool {
    call!(SYS_membarrier, MEMBARRIER_GLOBAL_EXPEDITED, 0, 0) == 0
}

pub fn membarrier_register() -> bool {
    call!(SYS_membarrier, MEMBARRIER_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0
}
