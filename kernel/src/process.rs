//! This process and this thread: who they are, their limits, barriers among them.

use core::cell::Cell;
use core::ffi::c_int;
use core::sync::atomic::{AtomicU32, AtomicU64};
#[cfg(not(target_arch = "x86_64"))]
use core::sync::atomic::{
    AtomicUsize,
    Ordering::{Relaxed, Release},
};

use crate::call::{Raw, syscall6};
use crate::{known, stat};

/// Replaces a word of the calling thread's own, unless a signal handler has changed it since: in one instruction, between
/// which and itself no handler comes, and without locking the bus. Whether it was replaced.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn replace_in_thread(word: &Cell<usize>, before: usize, to: usize) -> bool {
    let was_equal: u8;
    // SAFETY: reads and writes the bytes that the cell owns.
    unsafe {
        core::arch::asm!(
            "cmpxchg qword ptr [{at}], {to}",
            "sete {was_equal}",
            at = in(reg) word.as_ptr(),
            to = in(reg) to,
            was_equal = lateout(reg_byte) was_equal,
            inout("rax") before => _,
            options(nostack)
        );
    }
    was_equal != 0
}

/// The same by a pair of instructions, which a handler in between makes fail.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub fn replace_in_thread(word: &Cell<usize>, before: usize, to: usize) -> bool {
    // SAFETY: the bytes that the cell owns, aligned, used by this thread alone while the reference lives.
    let word = unsafe { AtomicUsize::from_ptr(word.as_ptr()) };
    word.compare_exchange(before, to, Relaxed, Relaxed).is_ok()
}

/// Somebody will soon write to the cache line there, if there is one: it is fetched meanwhile, for this processor alone. Nothing
/// waits for that, and nothing happens where no memory is.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
pub fn fetch_to_write(at: *const AtomicU64) {
    // SAFETY: it changes nothing that a program can see, and doesn't fault. (Where a processor doesn't know it, it does nothing.)
    unsafe {
        core::arch::asm!(
            "prefetchw byte ptr [{at}]",
            at = in(reg) at,
            options(nostack, preserves_flags, readonly)
        );
    }
}

#[cfg(any(not(target_arch = "x86_64"), miri))]
#[inline(always)]
pub fn fetch_to_write(_: *const AtomicU64) {}

/// Replaces a word that others write, too, by an instruction that doesn't lock the bus, with all that was written before:
/// what another processor writes to it in the few cycles that this takes may be lost. Whether it was replaced.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn replace_unlocked(word: &AtomicU32, before: u32, to: u32) -> bool {
    let was_equal: u8;
    // SAFETY: reads and writes the bytes of the word, whose other users know of it.
    unsafe {
        core::arch::asm!(
            "cmpxchg dword ptr [{at}], {to:e}",
            "sete {was_equal}",
            at = in(reg) word.as_ptr(),
            to = in(reg) to,
            was_equal = lateout(reg_byte) was_equal,
            inout("eax") before => _,
            options(nostack)
        );
    }
    was_equal != 0
}

/// The same, where an instruction can't do it: nothing is lost.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub fn replace_unlocked(word: &AtomicU32, before: u32, to: u32) -> bool {
    word.compare_exchange(before, to, Release, Relaxed).is_ok()
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
