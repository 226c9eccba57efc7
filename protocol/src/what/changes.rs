//! How numbers change hands: opened, closed, duplicated, taken for our own. `dup` shares the description, as in the
//! kernel.

use core::ffi::CStr;
use core::sync::atomic::{AtomicU64, Ordering::*};

use crate::what::descriptions::{self, description, unpin_index};
use crate::what::descriptors::pin_unused;
use crate::what::words::{
    DESCRIPTION, FRESH, INHERITED, PASS, Peek, REPLACED, TELLS, UNKNOWN, description_of, ensure,
    make, peek, tag, word, word_at, words,
};
use crate::what::{fresh, own, replacing, words};
use crate::who::registry;

/// The number was opened by the program's call, with these flags, if they are known: a description of its own, unless
/// sharing has happened since.
pub fn opened(fd: i32, before: u32, flags: Option<i32>) {
    let word = make(FRESH, before);
    fresh::note(fd, word, flags);
    replace(fd, word);
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

/// The number stands for this description, of which it takes over a reference; `like`: the word of another number that does.
pub fn describes(fd: i32, index: u32, like: u64) {
    let tag = if tag(like) == INHERITED {
        INHERITED
    } else {
        DESCRIPTION
    };
    replace(fd, make(tag, index));
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
        let opened = kernel::open(path, flags) as i32;
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
    match pin_unused(old) {
        // The pin becomes the new number's reference.
        Some(p) => describes(new, p.index, p.seen),
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

/// In a forked child.
pub fn recount_in_child() {
    replacing::recount_in_child();
    let words = words().map(|w| w.load(Relaxed));
    descriptions::recount_in_child(words.filter_map(description_of));
}
