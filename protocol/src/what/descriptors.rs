//! What a number stands for: found out at its first use (fstat, and `F_GETFL` where it isn't known what it was opened with), once, whichever way it came here.

use core::sync::atomic::Ordering::*;

use lock_table::FileId;

use crate::tell::counters;
use crate::what::descriptions::{
    self, Pinned, pin_index, pinned_at, sharings, unpin_index, use_of,
};
use crate::what::files::{self, Obtained};
use crate::what::identity::{identity, mark_of};
use crate::what::names::{self, Said};
use crate::what::words::{
    DESCRIPTION, FRESH, INHERITED, PASS, Peek, UNKNOWN, carried, description_of, ensure, make,
    peek, still, tag, word, word_at,
};
use crate::what::{fresh, replacing, words};
use crate::who::registry::Registry;
use crate::who::{due, process, registry, scratch};

/// How often a call begins anew because its number has come to stand for something else: as often as somebody
/// replaces it.
pub const TURNS: u32 = 100_000;

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
                let Some(description) = pin_index(index) else {
                    continue;
                };
                if still(fd, seen)
                    && let Some(pinned) = description.pinned(index, seen)
                {
                    return Some(pinned);
                }
                unpin_index(index);
            }
        }
    }
    None
}

/// The same for a call that uses nothing of it, and gives it to another number: also of what is inherited.
pub fn pin_unused(fd: i32) -> Option<Pinned> {
    inherited(fd).or_else(|| pin(fd))
}

/// What a number stands for that the process has from its parent and hasn't used, pinned.
pub fn inherited(fd: i32) -> Option<Pinned> {
    let seen = word(fd)?.load(Acquire);
    let index = description_of(seen).filter(|_| tag(seen) == INHERITED)?;
    let pinned = pin_index(index)?.pinned(index, seen);
    if still(fd, seen) && pinned.is_some() {
        return pinned;
    }
    unpin_index(index);
    None
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
        if tag(seen) == INHERITED {
            if !process::joins(&registry) {
                return None;
            }
            // Another thread may have joined, and this one have made a copy of the number since.
            words::changes_to(w, INHERITED, DESCRIPTION);
            return Some(());
        }
        if !matches!(seen & 0xff, UNKNOWN | FRESH) {
            return Some(());
        }
        let stat = kernel::fstat_at_once(fd).ok()?;
        // One look for both: a fork in between must not make it private.
        let now = sharings();
        let is_fresh = seen & 0xff == FRESH && carried(seen) == now;
        // Asked without the registry: about this file, if the number has not changed hands since.
        let known = said.filter(|(then, s): &(u64, Said)| *then == seen && s.is_of(&stat));
        let known = known.map(|(_, s)| s);
        let flags = is_fresh.then(|| fresh::flags(fd, seen)).flatten();
        let asked = Asked {
            fd,
            stat: &stat,
            said: known.as_ref(),
            flags,
            foreign: !is_fresh,
            sharings: now,
            registry: &registry,
        };
        let describe = || describe(&asked);
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
        let stat = kernel::fstat_at_once(fd).ok()?;
        let known = said.filter(|s: &Said| s.is_of(&stat));
        let asked = Asked {
            fd,
            stat: &stat,
            said: known.as_ref(),
            flags: None,
            foreign: true,
            sharings: sharings(),
            registry: &registry,
        };
        let describe = || describe(&asked);
        match scratch::roomy_in(&registry, describe) {
            Described::Description(index) => return pinned_at(index, seen),
            Described::NotFenced(_) => return None,
            Described::AskFirst => {
                drop(registry);
                said = Some(names::ask(fd, &stat));
            }
        }
    }
    None
}

/// What a number is looked at with.
struct Asked<'a> {
    fd: i32,
    stat: &'a kernel::Stat,
    /// What the policy says of it, if it was asked.
    said: Option<&'a Said>,
    /// What it was opened with, if that is known.
    flags: Option<u32>,
    /// It came from elsewhere.
    foreign: bool,
    sharings: u32,
    registry: &'a Registry,
}

fn describe(asked: &Asked) -> Described {
    describe_file(asked).unwrap_or(Described::NotFenced(0))
}

fn describe_file(asked: &Asked) -> Option<Described> {
    let &Asked {
        fd, stat, registry, ..
    } = asked;
    let id = identity(stat)?;
    let flags = match asked.flags {
        Some(known) => known,
        None => kernel::get_flags(fd).ok()?,
    };
    if flags & libc::O_PATH as u32 != 0 {
        return None;
    }
    let bits = use_of(flags);
    let found = files::Found {
        id,
        stat,
        fd,
        said: asked.said.copied(),
        registry,
    };
    let (file_index, new) = match files::obtain(&found, bits)? {
        Obtained::Record { index, new } => (index, new),
        Obtained::AskFirst => return Some(Described::AskFirst),
        Obtained::NotFenced(said) => return Some(Described::NotFenced(said.mark())),
    };
    let mut flags = flags;
    if new {
        found_fenced(id);
        // Who shares it tells those who are registered before he turns it. We are only since the look above.
        if asked.foreign {
            flags = kernel::get_flags(fd).unwrap_or(flags);
        }
        if use_of(flags) != bits {
            files::get(file_index)?.add_use(file_index, use_of(flags), fd);
        }
    }
    let sharing = (asked.foreign, asked.sharings);
    let index = descriptions::new(file_index, flags, sharing, registry)?;
    counters::note_use(id, fd, taken_off(index, flags, bits, fd, registry));
    Some(Described::Description(index))
}

/// A routed file's description isn't direct, before anybody can act through it. In which mode it is used.
#[inline(never)]
fn taken_off(index: u32, flags: u32, bits: u32, fd: i32, registry: &Registry) -> u32 {
    let Some(description) = descriptions::description(index) else {
        return bits;
    };
    let file = files::get(description.file_index());
    if !file.is_some_and(|file| file.settings().is_routed()) {
        return bits;
    }
    description.set_flags_in(registry, flags, fd);
    use_of(description.flags())
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
            && kernel::fstat(number as i32).is_ok_and(|s| identity(&s) == Some(id))
        {
            let _ = w.compare_exchange(seen, make(UNKNOWN, 0), AcqRel, Acquire);
        }
    }
}
