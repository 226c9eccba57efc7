//! Open file descriptions, as the kernel calls what `open` makes and `dup` shares: their flags, whether another process may
//! have them too, and the lock of their offset.

use core::sync::atomic::Ordering::*;

use lock_table::{USE_BUFFERED, USE_DIRECT};

use crate::what::file::{self, File};
use crate::what::state::{Description, state};
use crate::what::{files, routes, seconds};
use crate::who::forking;
use crate::who::registry::{self, Registry};

/// A description in use, kept from being recycled until [`unpin_index`].
#[derive(Clone, Copy)]
pub struct Pinned {
    pub index: u32,
    pub description: &'static Description,
    pub file_index: u32,
    pub file: &'static File,
    /// The number's word.
    pub seen: u64,
}

pub fn description(index: u32) -> Option<&'static Description> {
    state().descriptions.get(index)
}

/// A description that is pinned.
pub fn pinned_at(index: u32, seen: u64) -> Option<Pinned> {
    description(index)
        .filter(|_| index != 0)?
        .pinned(index, seen)
}

/// A new one, with one reference. Foreign: it came from elsewhere.
pub fn new(
    file_index: u32,
    flags: u32,
    (foreign, sharings): (bool, u32),
    _: &Registry,
) -> Option<u32> {
    let index = match state().changing.free_description.load(Acquire) {
        0 => state().descriptions.fresh()?,
        free => {
            state()
                .changing
                .free_description
                .store(description(free)?.next_free.load(Acquire), Release);
            free
        }
    };
    let d = description(index)?;
    let file = files::get(file_index)?;
    file.descriptions.fetch_add(1, AcqRel);
    file.counts(flags, 1);
    d.file.store(file_index, Relaxed);
    d.flags.store(flags, Relaxed);
    d.foreign.store(foreign.into(), Relaxed);
    d.shared_since.store(sharings, Relaxed);
    d.offset_lock.store(0, Relaxed);
    d.routed.store(0, Relaxed);
    d.refs.store(1, Release);
    Some(index)
}

/// One reference more, unless it has gone meanwhile.
pub fn pin_index(index: u32) -> Option<&'static Description> {
    let d = description(index)?;
    let raised = d
        .refs
        .fetch_update(AcqRel, Acquire, |r| (r != 0).then_some(r + 1));
    raised.is_ok().then_some(d)
}

pub fn unpin_index(index: u32) {
    let Some(d) = description(index) else { return };
    if d.refs.fetch_sub(1, AcqRel) == 1 {
        goes(index, d, &registry::lock());
    }
}

/// The same where others have one. False: there is none less.
#[inline]
pub fn unpin_if_others_stay(index: u32) -> bool {
    let lowers = |r: u32| (r > 1).then(|| r - 1);
    description(index).is_some_and(|d| d.refs.fetch_update(AcqRel, Acquire, lowers).is_ok())
}

/// The same within the registry.
pub fn unpin_in(index: u32, registry: &Registry) {
    if let Some(d) = description(index)
        && d.refs.fetch_sub(1, AcqRel) == 1
    {
        goes(index, d, registry);
    }
}

/// The last reference has gone.
fn goes(index: u32, d: &Description, registry: &Registry) {
    let file_index = d.file.load(Relaxed);
    if let Some(file) = files::get(file_index) {
        file.counts(d.flags(), -1);
        if file.descriptions.fetch_sub(1, AcqRel) == 1 {
            // The program itself has just closed a descriptor of this inode, so its POSIX locks
            // are gone already: now is the one time when ours may be closed.
            seconds::close_all(file);
            file.flags
                .fetch_and(!(file::POSIX_LOCKED | file::LEASED), AcqRel);
        }
    }
    files::release(file_index, registry);
    d.next_free
        .store(state().changing.free_description.load(Acquire), Release);
    state().changing.free_description.store(index, Release);
}

pub fn use_of(flags: u32) -> u32 {
    if flags & libc::O_DIRECT as u32 != 0 {
        USE_DIRECT
    } else {
        USE_BUFFERED
    }
}

/// The moment before an open, for [`opened`].
pub fn sharings() -> u32 {
    forking::sharings().load(Acquire)
}

/// From now on every description may be shared with another process (fork, spawn, `SCM_RIGHTS`).
pub fn all_shared() {
    forking::sharings().fetch_add(1, AcqRel);
}

/// In a forked child, whose numbers stand for these: what the parent's other threads had pinned or locked is nobody's
/// here.
pub fn recount_in_child(numbers: impl Iterator<Item = u32>) {
    let live = || {
        (1..state().descriptions.end())
            .filter_map(description)
            .filter(|d| d.refs.load(Relaxed) != 0)
    };
    for d in live() {
        d.offset_lock.store(0, Relaxed);
        d.refs.store(1, Relaxed);
    }
    for d in numbers.filter_map(description) {
        d.refs.fetch_add(1, Relaxed);
    }
    // One that was being closed while the parent forked has no number: it is kept, unused.
    for d in live().filter(|d| d.refs.load(Relaxed) > 1) {
        d.refs.fetch_sub(1, Relaxed);
    }
}

impl Pinned {
    pub fn unpin(self) {
        unpin_index(self.index);
    }

    /// Before a call takes a range in which nobody else's may be, also not one that announces itself only (P10): nobody
    /// makes such a one. Where this one goes through the cache, that is known already.
    #[inline]
    pub fn rely_on_ranges(&self, fd: i32) {
        if self.description.has(libc::O_DIRECT) && !self.file.settings().observe() {
            self.file.rely_on_ranges(self.file_index, fd);
        }
    }

    /// Whether that stands, asked under the range: then it stands as long as that is held.
    #[inline]
    pub fn ranges_stand(&self) -> bool {
        !self.description.has(libc::O_DIRECT)
            || self.file.settings().observe()
            || self.file.is_relied_on()
    }
}

impl Description {
    /// The same, of one that has been looked up.
    #[inline]
    pub fn pinned(&'static self, index: u32, seen: u64) -> Option<Pinned> {
        let file_index = self.file_index();
        Some(Pinned {
            index,
            description: self,
            file_index,
            file: files::get(file_index)?,
            seen,
        })
    }

    pub fn file_index(&self) -> u32 {
        self.file.load(Relaxed)
    }

    pub fn flags(&self) -> u32 {
        self.flags.load(Acquire)
    }

    pub fn has(&self, flag: i32) -> bool {
        self.flags() & flag as u32 != 0
    }

    /// Whether it was opened for reading, or for writing: there is a fourth access mode, which is for ioctl alone.
    pub fn allows(&self, write: bool) -> bool {
        let needed = if write {
            libc::O_WRONLY
        } else {
            libc::O_RDONLY
        };
        let access = self.flags() as i32 & libc::O_ACCMODE;
        access == needed || access == libc::O_RDWR
    }

    /// Whether its requests are the program's direct ones, which go through the cache. Another process may have
    /// changed that.
    pub fn is_routed(&self, fd: i32) -> bool {
        if self.is_shared()
            && let Some(marked) = routes::is_marked(fd)
        {
            self.set_routed(marked);
        }
        self.routed.load(Acquire) != 0
    }

    pub fn set_routed(&self, on: bool) {
        self.routed.store(on.into(), Release);
    }

    /// Whether another process may hold it too: its offset and flags can change under us.
    pub fn is_shared(&self) -> bool {
        self.foreign.load(Relaxed) != 0
            || self.shared_since.load(Relaxed) != forking::sharings().load(Acquire)
    }

    /// Take the flags as the kernel has them now.
    pub fn set_flags(&self, flags: u32, fd: i32) {
        if use_of(flags) == use_of(self.flags()) && !routes::may_be() {
            self.flags.store(flags, Release);
            return;
        }
        self.set_flags_in(&registry::lock(), flags, fd);
    }

    /// The same within the registry, where a description comes to be used in another mode.
    #[inline(never)]
    pub fn set_flags_in(&self, registry: &Registry, flags: u32, fd: i32) {
        let index = self.file_index();
        let Some(file) = files::get(index) else {
            return;
        };
        let (flags, is_routed) = routes::taken_off(file, flags, fd);
        if is_routed {
            self.set_routed(true);
        }
        file.add_use(index, use_of(flags), fd);
        file.counts(flags, 1);
        file.counts(self.flags.swap(flags, AcqRel), -1);
        file.end_uses(registry);
    }

    /// Take the file offset for one call. False: this very thread has it (a signal handler's call), or
    /// it was not to be had before the deadline, or at once where waiting could close a circle.
    pub fn lock_offset(&self, tid: u32, deadline: Option<u64>) -> bool {
        loop {
            let holder = match self.offset_lock.compare_exchange(0, tid, Acquire, Relaxed) {
                Ok(_) => return true,
                Err(holder) => holder,
            };
            let waits = deadline.is_some_and(|d| kernel::now_ns() < d);
            if holder & !WAITED_FOR == tid || !waits {
                return false;
            }
            let marked = holder | WAITED_FOR;
            if holder == marked
                || self
                    .offset_lock
                    .compare_exchange(holder, marked, Relaxed, Relaxed)
                    .is_ok()
            {
                kernel::futex_wait_private(&self.offset_lock, marked);
            }
        }
    }

    pub fn unlock_offset(&self) {
        if self.offset_lock.swap(0, Release) & WAITED_FOR != 0 {
            // All of them: the one that takes it has forgotten who else waits.
            kernel::futex_wake_all_private(&self.offset_lock);
        }
    }
}

/// Thread ids stay below 2^22.
const WAITED_FOR: u32 = 1 << 31;

pub fn unlock_offset_of(index: u32) {
    if let Some(d) = description(index) {
        d.unlock_offset();
    }
}
