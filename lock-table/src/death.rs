//! Who lives, and what is done for the dead.
//!
//! A process lives as long as its byte of the table is locked. The lock belongs to an open file description that only
//! a mapping keeps: no descriptor that the program could close, nothing that a fork inherits (`MADV_DONTFORK`), and
//! the kernel lets go at SIGKILL and at exec, after the process's I/O in flight has drained. While `live` has the
//! description's descriptor open, no other thread may fork, or the child would keep the lock: the caller sees to that.
//!
//! A forked child that may not open the table again (setuid, chroot, a user namespace) has no description of its own.
//! It locks its byte for itself, as a POSIX lock, through the probe that it inherited: a lock that its children don't
//! have, that conflicts with those of descriptions, its parent's on the same one too, and that the kernel lets go at the
//! same moments, after the process's memory has gone. So with all its locks. It may not close any descriptor of the
//! table from then on, or all of them would go; where the program makes it (dup2 onto the probe), `relive` follows.
//!
//! The dead's byte is locked through the probe descriptor by whoever cleans, so one does; a cleaner that is killed
//! lets go, and the next one starts over. Two threads of one process share the probe's description and would both get
//! the lock: a flag of this process's own keeps the second away.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use rustix::fd::{BorrowedFd, RawFd};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};

use crate::Table;
use crate::matrix::Mode;
use crate::primitive::{block_signals, now_ns, restore_signals, yield_now};
use crate::reading::Reading;
use crate::slots::{Slot, word};
use kernel::locks::Holder;

/// The bytes stand far beyond the file's contents.
const BYTES: u64 = 1 << 40;
/// The kernel makes a whole page of it, however large that is.
const PART_OF_A_PAGE: usize = 4096;
/// A process's state while somebody who has its byte cleans up after it, or was killed at it.
const BEING_CLEANED: u32 = 2;
/// How long who finds a pool empty waits for those who clean, in nanoseconds.
const PATIENCE: u64 = 100_000_000;

/// What `reap` cleaned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reaped {
    pub processes: u32,
    pub slots: u32,
    /// Those of the slots that were in use: what the dead was in the middle of.
    pub claims: u32,
    pub mappings: u32,
    pub uses: u32,
    /// Ranges of direct writes among the slots, remembered for repair.
    pub unverified: u32,
}

impl Reaped {
    fn add(&mut self, other: Reaped) {
        self.processes = self.processes.saturating_add(other.processes);
        self.slots = self.slots.saturating_add(other.slots);
        self.claims = self.claims.saturating_add(other.claims);
        self.mappings = self.mappings.saturating_add(other.mappings);
        self.uses = self.uses.saturating_add(other.uses);
        self.unverified = self.unverified.saturating_add(other.unverified);
    }
}

fn byte(owner: u32) -> u64 {
    BYTES.saturating_add(u64::from(owner))
}

/// Locks the bytes of so many processes at once: none of them lives, and none signs in as long as `fd` is open.
pub(crate) fn lock_all(fd: RawFd, processes: u32) -> Result<(), Errno> {
    kernel::locks::lock_bytes(Holder::Description, fd, byte(1), u64::from(processes))
}

/// Locks a process's byte through `fd`.
pub(crate) fn lock(holder: Holder, fd: RawFd, owner: u32) -> Result<(), Errno> {
    kernel::locks::lock_byte(holder, fd, byte(owner))
}

#[inline(never)]
fn unlock(holder: Holder, fd: RawFd, owner: u32) {
    let _ = kernel::locks::unlock_byte(holder, fd, byte(owner)); // who can lock can unlock
}

/// Ties the locks of the description behind `fd` to the life of this process: the caller closes `fd` right after.
pub(crate) fn live(fd: BorrowedFd<'_>) -> Result<NonNull<u8>, Errno> {
    // SAFETY: a new mapping at an address of the kernel's choice; never read or written.
    let page = unsafe {
        rustix::mm::mmap(
            core::ptr::null_mut(),
            PART_OF_A_PAGE,
            ProtFlags::empty(),
            MapFlags::SHARED,
            fd,
            0,
        )?
    };
    // SAFETY: advice about the page just mapped.
    if let Err(e) = unsafe { rustix::mm::madvise(page, PART_OF_A_PAGE, Advice::LinuxDontFork) } {
        die(page as usize);
        return Err(e);
    }
    NonNull::new(page.cast()).ok_or(Errno::NOMEM)
}

/// Undoes `live`.
pub(crate) fn die(page: usize) {
    // SAFETY: the page is one that `live` mapped, and nobody has its address but the table.
    let _ = unsafe { rustix::mm::munmap(page as *mut _, PART_OF_A_PAGE) };
}

#[cfg(not(any(loom, shuttle, miri)))]
impl Table {
    /// Whose this process's locks are.
    pub(crate) fn holder(&self) -> Holder {
        if self.locks_for_itself.load(Relaxed) {
            Holder::Process
        } else {
            Holder::Description
        }
    }

    /// The program has closed a descriptor of ours that has been moved (`set_probe_fd`): what hung on it is taken again.
    /// False: somebody was quicker, and has cleaned up after this process, or is about to: it isn't registered any more.
    pub fn relive(&self) -> bool {
        let Some(me) = self.me().filter(|_| self.holder() == Holder::Process) else {
            return true;
        };
        let locked = lock(Holder::Process, self.probe_fd(), me).is_ok();
        let there = |p: &crate::cells::ProcessCell| p.state.load(Acquire) == 1;
        let lives = locked && self.mem.process(me).is_some_and(there);
        if !lives {
            self.me.store(0, Release);
            if locked {
                unlock(Holder::Process, self.probe_fd(), me);
            }
        }
        lives
    }

    /// Does the process with this number (index plus one) live? When it can't be known, it does.
    pub(crate) fn lives(&self, owner: u32) -> bool {
        // One's own lock is in nobody's way.
        let own = self.holder() == Holder::Process && Some(owner) == self.me();
        own || self.with_probe(|probe| {
            kernel::locks::byte_is_locked(self.holder(), probe, byte(owner)).unwrap_or(true)
        })
    }

    /// Is the probe what it should be? The program may have closed it and opened something else at its number: then
    /// everybody would seem dead. Our own byte is known to be locked.
    fn probe_works(&self, probe: RawFd) -> bool {
        let own = |me| {
            self.holder() == Holder::Process
                || kernel::locks::byte_is_locked(Holder::Description, probe, byte(me))
                    .unwrap_or(true)
        };
        self.me().is_none_or(own) && self.is_table(probe)
    }

    /// Does `clean` with the byte of a dead process, unless somebody else has it.
    fn with_dead(&self, owner: u32, clean: impl FnOnce()) {
        self.with_probe(|probe| {
            if self.lock_dead(probe, owner) {
                clean();
                unlock(self.holder(), probe, owner);
            }
        });
    }

    // Not parts of their callers: what they ask the kernel with lies on a stack that may be small.
    #[inline(never)]
    fn lock_dead(&self, probe: RawFd, owner: u32) -> bool {
        self.probe_works(probe) && lock(self.holder(), probe, owner).is_ok()
    }
}

impl Table {
    /// Cleans up after every dead process. A byte that is busy or a probe that doesn't answer is left for later.
    pub fn reap(&self) -> Reaped {
        let mut all = Reaped::default();
        for (owner, process) in (1u32..).zip(self.mem.processes()) {
            if process.state.load(Acquire) != 0 && Some(owner) != self.me() && !self.lives(owner) {
                all.add(self.reap_one(owner));
            }
        }
        all
    }

    /// What a pool gives, or gives after the dead have given back what they had of it.
    pub(crate) fn or_reap<T>(&self, from_pool: impl Fn() -> Option<T>) -> Option<T> {
        self.me()?; // not registered: nothing is for us
        self.or_reap_within(0, from_pool)
    }

    /// The same; and for so long it looks again although nobody seems to clean. Between locking the dead's byte and
    /// saying that he cleans, and between saying that he is done and unlocking it, a cleaner doesn't show.
    pub(crate) fn or_reap_within<T>(
        &self,
        grace_ns: u64,
        from_pool: impl Fn() -> Option<T>,
    ) -> Option<T> {
        from_pool().or_else(|| {
            let begun = now_ns();
            loop {
                self.reap();
                // Perhaps somebody else is at it, and the dead seems to live as long. Asked before the pool: who is
                // done by now has given it all.
                let is_cleaned = self.somebody_cleans();
                let got = from_pool();
                let waited = now_ns().saturating_sub(begun);
                let goes_on = waited < grace_ns || (is_cleaned && waited < PATIENCE);
                if got.is_some() || !goes_on {
                    return got;
                }
                yield_now();
            }
        })
    }

    fn somebody_cleans(&self) -> bool {
        let mut all = self.mem.processes().iter();
        all.any(|process| process.state.load(Acquire) == BEING_CLEANED)
    }

    /// Cleans up after one process if it is dead and nobody else does.
    #[cold]
    pub(crate) fn reap_one(&self, owner: u32) -> Reaped {
        if Some(owner) == self.me() {
            return Reaped::default();
        }
        // A handler that jumped out from here would leave the dead's byte locked, and so alive to everybody.
        let signals = block_signals();
        let mut done = Reaped::default();
        let alone = self.reaping.compare_exchange(false, true, Acquire, Relaxed);
        if alone.is_ok() {
            self.with_dead(owner, || {
                if let Some(process) = self.mem.process(owner)
                    && process.state.load(Relaxed) != 0
                {
                    process.state.store(BEING_CLEANED, Release);
                }
                done = self.clean(owner);
            });
            self.reaping.store(false, Release);
        }
        restore_signals(signals);
        self.reaped.fetch_add(u32::from(done.claims != 0), Relaxed);
        done
    }

    /// How many dead that still held something this process has cleaned up after since it was last asked: for
    /// reports. (Who ends in peace leaves his entries too.)
    pub fn take_reaped(&self) -> u32 {
        match self.reaped.load(Relaxed) {
            0 => 0,
            _ => self.reaped.swap(0, Relaxed),
        }
    }

    /// Frees all that a dead process left. The caller has its byte. Everything here may be done twice, or half and
    /// then again; the process's own entry goes last, so that a cleaner's death leaves it to be found.
    #[inline(never)]
    pub(crate) fn clean(&self, owner: u32) -> Reaped {
        let mut done = Reaped::default();
        self.clean_slots(owner, &mut done);
        done.mappings = self.mem.mappings().clean(owner);
        done.uses = self.mem.uses().clean(owner);
        if let Some(process) = self.mem.process(owner)
            && process.state.swap(0, AcqRel) != 0
        {
            done.processes = 1;
        }
        done
    }

    #[inline(never)]
    fn clean_slots(&self, owner: u32, done: &mut Reaped) {
        for (base, cells) in self.mem.used_slots() {
            for (index, cell) in (base..).zip(cells) {
                if cell.owner.load(Acquire) != owner {
                    continue;
                }
                if let Reading::Claim { found, .. } = self.read_slot(index, cell)
                    && found.claim.mode == Mode::DirectWrite
                    && found.word & word::STATE == word::HELD
                {
                    // Before the slot is freed: a kill in between remembers it twice rather than never.
                    self.remember_unverified(&found.claim);
                    done.unverified = done.unverified.saturating_add(1);
                }
                let now = cell.state.load(Relaxed);
                // A new generation: whoever still reads the old claim sees that it ended (I4, I5).
                let was = cell.state.swap(word::next(now, word::FREE), AcqRel);
                if was & word::WAITERS != 0 {
                    cell.state.wake();
                }
                done.claims = done
                    .claims
                    .saturating_add(u32::from(was & word::STATE != word::FREE));
                cell.waiting_on.store(0, Relaxed);
                self.clear_hints(Slot(index), cell);
                // I2: into the pool last.
                let _ = cell.owner.compare_exchange(owner, 0, Release, Relaxed);
                done.slots = done.slots.saturating_add(1);
            }
        }
    }
}
