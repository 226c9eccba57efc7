//! What the table is made of: words, fences, time, sleep, and the locks by which the kernel says who lives. One version
//! for programs; one for each model checker (`--cfg loom`, `--cfg shuttle`), which puts its own in their place and so
//! checks the code that programs run. Miri runs that of programs, but for what only a kernel has.

#[cfg(any(loom, shuttle))]
pub(crate) use checked::*;
#[cfg(not(any(loom, shuttle)))]
pub(crate) use real::*;

/// Under a checker tables are small and spins short, or it would never end.
pub(crate) const CHECKED: bool = cfg!(any(loom, shuttle, miri));

/// What a futex wait said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Slept {
    /// Woken, or the word had moved, or a signal came: look again.
    Woken,
    TimedOut,
}

#[cfg(not(any(loom, shuttle)))]
mod real {
    use super::Slept;
    use crate::cells::Header;
    pub(crate) use core::hint::spin_loop;
    use core::ptr::NonNull;
    #[cfg(not(miri))]
    pub(crate) use core::sync::atomic::compiler_fence;
    pub(crate) use core::sync::atomic::{
        AtomicBool, AtomicI32, AtomicU32, AtomicU32 as W32, AtomicU64, AtomicU64 as W64,
        AtomicUsize, fence,
    };
    use kernel::may;
    pub(crate) use kernel::now_ns;
    #[cfg(not(miri))]
    pub(crate) use kernel::{block_signals, restore_signals};
    use rustix::thread::futex;

    /// A futex call of ours, as a sandbox is asked for it.
    fn may_futex(word: &W32, operation: i32) -> bool {
        let asked = [word.as_ptr() as usize, operation as usize, 0, 0, 0, 0];
        may(libc::SYS_futex as usize, &asked)
    }

    pub(crate) fn yield_now() {
        if may(libc::SYS_sched_yield as usize, &[0; 6]) {
            rustix::thread::sched_yield();
        }
    }

    /// Room in a cell that nobody uses. Atomic, as all shared bytes are.
    pub(crate) type Gap<const WORDS: usize> = [W64; WORDS];

    /// A membarrier makes these real fences (I8), and so is one where there is none.
    #[cfg(miri)]
    pub(crate) use core::sync::atomic::fence as compiler_fence;

    #[cfg(miri)]
    pub(crate) fn block_signals() {}

    #[cfg(miri)]
    pub(crate) fn restore_signals((): ()) {}

    /// A mapped table.
    #[cfg_attr(miri, derive(Clone))]
    pub(crate) struct Bytes(NonNull<u8>);

    // SAFETY: the mapping is reached through atomics only.
    unsafe impl Send for Bytes {}
    // SAFETY: as above.
    unsafe impl Sync for Bytes {}

    impl Bytes {
        /// # Safety
        /// `base` must be a shared, page-aligned mapping, writable unless it is only read, that outlives this, of as many bytes as the layout
        /// says that the caller reaches it by.
        pub(crate) unsafe fn new(base: NonNull<u8>) -> Bytes {
            Bytes(base)
        }

        #[cfg(not(miri))]
        pub(crate) fn base(&self) -> NonNull<u8> {
            self.0
        }

        #[inline]
        pub(crate) fn header(&self) -> &Header {
            // SAFETY: the mapping starts with a page that holds a header, made of atomics (see `new`).
            unsafe { self.0.cast::<Header>().as_ref() }
        }

        /// # Safety
        /// So many cells of `T`, which is made of atomics, must lie at `start`, aligned and inside the mapping.
        #[inline]
        pub(crate) unsafe fn array<T>(&self, start: u64, count: u32) -> &[T] {
            // SAFETY: the caller's promise.
            unsafe {
                core::slice::from_raw_parts(
                    self.0.add(start as usize).cast::<T>().as_ptr(),
                    count as usize,
                )
            }
        }
    }

    /// A word that somebody may sleep on.
    #[repr(transparent)]
    pub(crate) struct FutexWord(W32);

    impl core::ops::Deref for FutexWord {
        type Target = W32;

        #[inline]
        fn deref(&self) -> &W32 {
            &self.0
        }
    }

    impl FutexWord {
        /// Sleeps while the word is `seen`, at most so long.
        pub(crate) fn sleep(&self, seen: u32, ns: u64) -> Slept {
            let timeout = rustix::fs::Timespec {
                tv_sec: (ns / 1_000_000_000) as i64,
                tv_nsec: (ns % 1_000_000_000) as _,
            };
            if !may_futex(&self.0, libc::FUTEX_WAIT) {
                core::hint::spin_loop();
                return Slept::Woken;
            }
            // Not FUTEX_PRIVATE: the owner may be another process.
            match futex::wait(&self.0, futex::Flags::empty(), seen, Some(&timeout)) {
                Err(rustix::io::Errno::TIMEDOUT) => Slept::TimedOut,
                _ => Slept::Woken,
            }
        }

        /// Its owner puts another in the place of what he knows to be there. The mark of one who lies down to sleep in the
        /// few cycles that this takes may be lost: he looks again after 50 ms at the latest.
        #[inline(always)]
        pub(crate) fn replace(&self, before: u32, to: u32) -> bool {
            #[cfg(not(miri))]
            return kernel::replace_unlocked(&self.0, before, to);
            #[cfg(miri)]
            return (self.0)
                .compare_exchange(before, to, Ordering::Release, Ordering::Relaxed)
                .is_ok();
        }

        #[cold]
        pub(crate) fn wake(&self) {
            if !may_futex(&self.0, libc::FUTEX_WAKE) {
                return; // who sleeps looks again at the latest after 50 ms
            }
            // The result says only how many woke. Everybody may: a wake is a hint to look again.
            let _ = futex::wake(&self.0, futex::Flags::empty(), i32::MAX as u32);
        }
    }
}

#[cfg(any(loom, shuttle))]
#[path = "checked.rs"]
mod checked;
