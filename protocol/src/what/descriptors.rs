//! Descriptor numbers and open file descriptions.
//!
//! What a number stands for is found out at its first use (fstat and `F_GETFL`), once,
//! whichever way it came here. `dup` shares the description, as in the kernel.

use core::ffi::CStr;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

use kernel as raw;
use kernel::arena::Arena;
use kernel::arena::Zeroed;
use lock_table::{FileId, USE_BUFFERED, USE_DIRECT};

use crate::tell::counters;
use crate::what::file::File;
use crate::what::files::{self, Obtained};
use crate::what::identity::{identity, mark_of};
use crate::what::names::{self, Said};
use crate::what::words::{
    DESCRIPTION, FRESH, PASS, Peek, REPLACED, TELLS, UNKNOWN, carried, description_of, ensure,
    make, peek, still, tag, word, word_at, words,
};
use crate::what::{file, own, replacing, seconds, words};
use crate::who::registry::Registry;
use crate::who::{due, registry, scratch};

#[derive(Default)]
pub struct Description {
    refs: AtomicU32,
    file: AtomicU32,
    /// The open flags as `F_GETFL` gave them, followed through `F_SETFL`.
    flags: AtomicU32,
    /// The generation of sharing in which it was opened: an older one may be shared with a child.
    shared_since: AtomicU32,
    /// Came from elsewhere: inherited, received, or opened where we did not see it.
    foreign: AtomicU32,
    /// The offset lock: the holder's thread id.
    offset_lock: AtomicU32,
    next_free: AtomicU32,
    _pad: AtomicU32,
}

// SAFETY: atomics only.
unsafe impl Zeroed for Description {}

static DESCRIPTIONS: Arena<Description> = Arena::new();
static FREE: AtomicU32 = AtomicU32::new(0);
/// Counts the moments at which descriptions may have become shared with another process.
static SHARINGS: AtomicU32 = AtomicU32::new(0);

/// How often a call begins anew because its number has come to stand for something else: as often as somebody
/// replaces it.
pub const TURNS: u32 = 100_000;

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
    DESCRIPTIONS.get(index)
}

/// A description that is pinned.
pub fn pinned_at(index: u32, seen: u64) -> Option<Pinned> {
    let description = description(index).filter(|_| index != 0)?;
    let file_index = description.file_index();
    Some(Pinned {
        index,
        description,
        file_index,
        file: files::get(file_index)?,
        seen,
    })
}

/// The description behind a number, pinned; None: not ours to fence. Apart from its callers, below which some go deep.
#[inline(never)]
pub fn pin(fd: i32) -> Option<Pinned> {
    for _ in 0..TURNS {
        match peek(fd) {
            Peek::Pass | Peek::Ours | Peek::Tells => return None,
            Peek::Unknown if replacing::is_over(fd) => {
                resolve(fd)?;
                due::look_if_due();
            }
            Peek::Unknown => return look_once(fd),
            Peek::Description { seen, index } => {
                let d = description(index)?;
                let raised = d
                    .refs
                    .fetch_update(AcqRel, Acquire, |r| (r != 0).then_some(r + 1));
                if raised.is_err() {
                    continue;
                }
                if still(fd, seen) {
                    let file_index = d.file.load(Relaxed);
                    if let Some(file) = files::get(file_index) {
                        return Some(Pinned {
                            index,
                            description: d,
                            file_index,
                            file,
                            seen,
                        });
                    }
                }
                unpin_index(index);
            }
        }
    }
    None
}

pub fn unpin_index(index: u32) {
    let Some(d) = description(index) else { return };
    if d.refs.fetch_sub(1, AcqRel) != 1 {
        return;
    }
    let registry = registry::lock();
    let file_index = d.file.load(Relaxed);
    if let Some(file) = files::get(file_index)
        && file.descriptions.fetch_sub(1, AcqRel) == 1
    {
        // The program itself has just closed a descriptor of this inode, so its POSIX locks
        // are gone already: now is the one time when ours may be closed.
        seconds::close_all(file);
        file.flags
            .fetch_and(!(file::POSIX_LOCKED | file::LEASED), AcqRel);
    }
    files::release(file_index, &registry);
    d.next_free.store(FREE.load(Acquire), Release);
    FREE.store(index, Release);
}

/// Find out what an unknown number stands for. None: not fenced (for now).
#[cold]
fn resolve(fd: i32) -> Option<()> {
    let w = ensure(fd)?;
    // What the policy says of it, and for which word it was asked.
    let mut said = None;
    for _ in 0..64 {
        let registry = registry::lock();
        let seen = w.load(Acquire);
        if !matches!(seen & 0xff, UNKNOWN | FRESH) {
            return Some(());
        }
        let stat = raw::fstat_at_once(fd).ok()?;
        // One look for both: a fork in between must not make it private.
        let now = SHARINGS.load(Acquire);
        let fresh = seen & 0xff == FRESH && carried(seen) == now;
        // Asked without the registry: about this file, if the number has not changed hands since.
        let known = said.filter(|(then, s): &(u64, Said)| *then == seen && s.is_of(&stat));
        let known = known.map(|(_, s)| s);
        let describe = || describe(fd, &stat, known, (!fresh, now), &registry);
        let new = match scratch::roomy_in(&registry, describe) {
            Described::Description(index) => make(DESCRIPTION, index),
            Described::NotFenced(mark) => make(PASS, mark),
            Described::AskFirst => {
                drop(registry);
                said = Some((seen, names::ask(fd, &stat)));
                continue;
            }
        };
        let stored = w.compare_exchange(seen, new, AcqRel, Acquire).is_ok();
        drop(registry);
        match description_of(new) {
            // Closed or reused underneath: the next look starts anew.
            Some(index) if !stored => unpin_index(index),
            Some(index) => known.iter().for_each(|s| s.compare(index, fd)),
            None if stored => known.iter().for_each(|s| s.look_for_others(fd)),
            None => {}
        }
        return Some(());
    }
    None
}

enum Described {
    Description(u32),
    /// With what marks the file, if it is the policy that leaves it out.
    NotFenced(u32),
    AskFirst,
}

/// What a number stands for that is being replaced, for one call: its word says nothing of it.
#[cold]
fn look_once(fd: i32) -> Option<Pinned> {
    let w = word(fd)?;
    let mut said = None;
    for _ in 0..64 {
        let registry = registry::lock();
        let seen = w.load(Acquire);
        let stat = raw::fstat_at_once(fd).ok()?;
        let known = said.filter(|s: &Said| s.is_of(&stat));
        let shared = (true, SHARINGS.load(Acquire));
        let describe = || describe(fd, &stat, known, shared, &registry);
        match scratch::roomy_in(&registry, describe) {
            Described::Description(index) => {
                let description = description(index)?;
                let file_index = description.file_index();
                return Some(Pinned {
                    index,
                    description,
                    file_index,
                    file: files::get(file_index)?,
                    seen,
                });
            }
            Described::NotFenced(_) => return None,
            Described::AskFirst => {
                drop(registry);
                said = Some(names::ask(fd, &stat));
            }
        }
    }
    None
}

fn describe(
    fd: i32,
    stat: &raw::Stat,
    said: Option<Said>,
    (foreign, sharings): (bool, u32),
    registry: &Registry,
) -> Described {
    match describe_file(fd, stat, said, (foreign, sharings), registry) {
        Some(described) => described,
        None => Described::NotFenced(0),
    }
}

fn describe_file(
    fd: i32,
    stat: &raw::Stat,
    said: Option<Said>,
    (foreign, sharings): (bool, u32),
    registry: &Registry,
) -> Option<Described> {
    let id = identity(stat)?;
    let flags = raw::get_flags(fd).ok()?;
    if flags & libc::O_PATH as u32 != 0 {
        return None;
    }
    let bits = use_of(flags);
    let found = files::Found {
        id,
        stat,
        fd,
        said,
        registry,
    };
    let (file_index, new) = match files::obtain(&found, bits)? {
        Obtained::Record { index, new } => (index, new),
        Obtained::AskFirst => return Some(Described::AskFirst),
        Obtained::NotFenced(said) => return Some(Described::NotFenced(said.mark())),
    };
    if new {
        found_fenced(id);
    }
    let index = match FREE.load(Acquire) {
        0 => DESCRIPTIONS.fresh()?,
        free => {
            FREE.store(description(free)?.next_free.load(Acquire), Release);
            free
        }
    };
    let d = description(index)?;
    let file = files::get(file_index)?;
    file.descriptions.fetch_add(1, AcqRel);
    counters::note_use(id, fd, bits);
    d.file.store(file_index, Relaxed);
    d.flags.store(flags, Relaxed);
    d.foreign.store(foreign.into(), Relaxed);
    d.shared_since.store(sharings, Relaxed);
    d.offset_lock.store(0, Relaxed);
    d.refs.store(1, Release);
    Some(Described::Description(index))
}

/// The file has a record now.
pub fn found_fenced(id: FileId) {
    if names::fences_by_path() {
        look_again(mark_of(id), id);
    }
}

/// Numbers that the policy left out by a name that they have, of a file that is fenced by another: they will be
/// looked at again, and find its record.
fn look_again(mark: u32, id: FileId) {
    for (number, w) in (0..words::end()).filter_map(|n| Some((n, word_at(n)?))) {
        let seen = w.load(Acquire);
        if seen & 0xff == PASS
            && carried(seen) == mark
            && raw::fstat(number as i32).is_ok_and(|s| identity(&s) == Some(id))
        {
            let _ = w.compare_exchange(seen, make(UNKNOWN, 0), AcqRel, Acquire);
        }
    }
}

/// A number by which this process knows the file, other than this one.
pub fn another_number(file: u32, than: i32) -> Option<i32> {
    let is = |n: &i32| {
        let known = word(*n).and_then(|w| description_of(w.load(Acquire)));
        known
            .and_then(description)
            .is_some_and(|d| d.file_index() == file)
    };
    (0..words::end() as i32).find(|n| *n != than && is(n))
}

fn use_of(flags: u32) -> u32 {
    if flags & libc::O_DIRECT as u32 != 0 {
        USE_DIRECT
    } else {
        USE_BUFFERED
    }
}

/// The moment before an open, for [`opened`].
pub fn sharings() -> u32 {
    SHARINGS.load(Acquire)
}

/// The number was opened by the program's call: a description of its own, unless sharing has happened since.
pub fn opened(fd: i32, before: u32) {
    replace(fd, make(FRESH, before));
}

/// What stood behind the number is gone, or may be; look again at its next use.
pub fn forget(fd: i32) {
    if word(fd).is_some() {
        replace(fd, make(UNKNOWN, 0));
    }
}

/// Forget what was seen, if that still stands there.
pub fn forget_seen(fd: i32, seen: u64) {
    if let Some(w) = word(fd)
        && tag(seen) != REPLACED
        && w.compare_exchange(seen, make(UNKNOWN, 0), AcqRel, Acquire)
            .is_ok()
        && let Some(index) = description_of(seen)
    {
        unpin_index(index);
    }
}

fn replace(fd: i32, new: u64) {
    if let Some(index) = ensure(fd).and_then(|w| exchange(w, new)) {
        unpin_index(index);
    }
}

/// Changes the word; gives back the description that it carried. Whoever replaces the number has the last word.
fn exchange(w: &AtomicU64, new: u64) -> Option<u32> {
    let mut seen = w.load(Acquire);
    loop {
        let to = match tag(seen) {
            REPLACED => replacing::disturbed(seen),
            _ => new,
        };
        match w.compare_exchange(seen, to, AcqRel, Acquire) {
            Ok(_) if tag(seen) == REPLACED => {
                // A reference that the new word would have had.
                return description_of(new);
            }
            Ok(_) => return description_of(seen),
            Err(moved) => seen = moved,
        }
    }
}

/// The number stands for this description, of which it takes over a reference.
pub fn describes(fd: i32, index: u32) {
    replace(fd, make(DESCRIPTION, index));
}

/// The number stands for something that is never fenced: a socket, a pipe.
pub fn pass(fd: i32) {
    replace(fd, make(PASS, 0));
}

/// Takes the number's description away before a close; hand the result to [`closed`] afterwards.
pub fn closing(fd: i32) -> Option<u32> {
    exchange(word(fd)?, make(UNKNOWN, 0))
}

pub fn closed(description: Option<u32>) {
    if let Some(index) = description {
        unpin_index(index);
    }
}

/// Marks a descriptor of our own, which the program must not see or close. In the constructor.
pub fn claim(fd: i32) {
    let stale = own::claim_in(&registry::lock(), fd);
    stale.into_iter().for_each(unpin_index);
}

/// Opens a file of the kernel's for a while: nobody waits for that, so the registry is held. Else the program could put
/// something at the number, and we would read and close that.
pub fn open_for_a_while(path: &CStr, flags: i32) -> Option<i32> {
    const TRIES: u32 = 16;
    let registry = registry::lock();
    let mut settled = None;
    for _ in 0..TRIES {
        let opened = raw::open(path, flags) as i32;
        if opened < 0 {
            break;
        }
        settled = own::settle(opened, &registry);
        if settled.is_some() {
            break;
        }
    }
    drop(registry);
    let (number, stale) = settled?;
    stale.into_iter().for_each(unpin_index);
    Some(number)
}

/// `new` is now a duplicate of `old`.
pub fn duplicated(old: i32, new: i32) {
    if new < 0 || old == new {
        return;
    }
    if let Peek::Tells = peek(old) {
        replace(new, make(TELLS, 0));
        return;
    }
    match pin(old) {
        // The pin becomes the new number's reference.
        Some(p) => describes(new, p.index),
        None => forget(new),
    }
}

/// Numbers that we have met and not looked at: what stands behind them is found out at their first use. Or also those
/// that the process may have come with.
pub fn not_looked_at(unmet_too: bool) -> impl Iterator<Item = i32> {
    let unknown = move |n: &u32| {
        word_at(*n).is_some_and(|w| {
            let seen = w.load(Acquire);
            matches!(seen & 0xff, UNKNOWN | FRESH) && (unmet_too || seen != 0)
        })
    };
    (0..words::end()).filter(unknown).map(|n| n as i32)
}

/// Whether the number has been looked at and was opened past the page cache.
pub fn is_direct(fd: i32) -> bool {
    match peek(fd) {
        Peek::Description { index, .. } => {
            description(index).is_some_and(|d| d.has(libc::O_DIRECT))
        }
        _ => false,
    }
}

/// From now on every description may be shared with another process (fork, spawn, `SCM_RIGHTS`).
pub fn all_shared() {
    SHARINGS.fetch_add(1, AcqRel);
}

/// In a forked child: what the parent's other threads had pinned or locked is nobody's here.
pub fn recount_in_child() {
    let live = || {
        (1..DESCRIPTIONS.end())
            .filter_map(description)
            .filter(|d| d.refs.load(Relaxed) != 0)
    };
    for d in live() {
        d.offset_lock.store(0, Relaxed);
        d.refs.store(1, Relaxed);
    }
    replacing::recount_in_child();
    for d in words()
        .map(|w| w.load(Relaxed))
        .filter_map(description_of)
        .filter_map(description)
    {
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
}

impl Description {
    pub fn file_index(&self) -> u32 {
        self.file.load(Relaxed)
    }

    pub fn flags(&self) -> u32 {
        self.flags.load(Acquire)
    }

    pub fn has(&self, flag: i32) -> bool {
        self.flags() & flag as u32 != 0
    }

    /// Whether another process may hold it too: its offset and flags can change under us.
    pub fn is_shared(&self) -> bool {
        self.foreign.load(Relaxed) != 0 || self.shared_since.load(Relaxed) != SHARINGS.load(Acquire)
    }

    /// Take the flags as the kernel has them now.
    pub fn set_flags(&self, flags: u32, fd: i32) {
        self.flags.store(flags, Release);
        let index = self.file_index();
        if let Some(file) = files::get(index) {
            file.add_use(index, use_of(flags), fd);
        }
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
                raw::futex_wait_private(&self.offset_lock, marked);
            }
        }
    }

    pub fn unlock_offset(&self) {
        if self.offset_lock.swap(0, Release) & WAITED_FOR != 0 {
            // All of them: the one that takes it has forgotten who else waits.
            raw::futex_wake_all_private(&self.offset_lock);
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

/// The file's size, if the number stands for it still. Apart from calls below which others go deep: what the kernel
/// tells of a file takes room on the stack.
#[inline(never)]
pub fn size_through(fd: i32, file: &File) -> Option<u64> {
    let stat = raw::fstat(fd).ok()?;
    stands_for(&stat, file).then_some(stat.size)
}

/// The file's id seen through the number now, for a call that is about to rely on it.
pub fn stands_for(stat: &raw::Stat, file: &File) -> bool {
    identity(stat) == Some(file.id())
}
