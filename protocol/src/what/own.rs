//! Numbers of our own: second descriptors, the lock table's probe, what was kept across exec.
//! For the program they don't exist. Where it takes one with dup2 all the same, ours moves away first,
//! and nobody acts through the old number any more when the program's call is made.

use core::sync::atomic::Ordering::*;

use kernel::high::raise_copy;

use crate::tell::ring::Numbers;
use crate::what::words::{
    self, OURS, UNKNOWN, description_of, ensure_own, is_ours, make, tag, word,
};
use crate::who::registry::{self, Registry};

/// The same, where the registry is held. Gives back what was thought to stand there: to be let go outside.
pub fn claim_in(_: &Registry, fd: i32) -> Option<u32> {
    let w = ensure_own(fd)?;
    description_of(w.swap(make(OURS, 0), AcqRel))
}

/// A copy of a descriptor of ours at a number of ours, `least` or above, out of the program's sight. None is taken
/// that the program is about to put something at: it marks those under the same lock (`replace`).
pub fn raise(fd: i32, least: i32, registry: &Registry) -> Option<(i32, Option<u32>)> {
    let high = raise_copy(fd, least, &mut |n| !words::is_under_way(n)).ok()?;
    Some((high, claim_in(registry, high)))
}

/// What an open of ours gave, out of the program's way and marked as ours. None: the program is about to put something
/// else at that number, and closes ours by that.
pub fn settle(opened: i32, registry: &Registry) -> Option<(i32, Option<u32>)> {
    if words::is_under_way(opened) {
        return None;
    }
    let high = raise(opened, opened + 1, registry);
    if high.is_some() {
        kernel::close(opened);
    }
    Some(high.unwrap_or_else(|| (opened, claim_in(registry, opened))))
}

/// The numbers by which a ring of the trace is made.
pub const OF_RING: &Numbers = &Numbers {
    settle: |opened, registry| {
        // What the word said of a number that was free stays pinned: we may be in the midst of a change.
        settle(opened, registry).map(|(number, _)| number)
    },
    give_up: |number, _| {
        kernel::close(number);
        disown(number);
    },
};

/// It was that, unless the program has taken the number.
pub fn close(fd: i32) {
    let _registry = registry::lock();
    if is_ours(fd) {
        kernel::close(fd);
        disown(fd);
    }
}

/// Closes what was opened to look at only (`O_PATH`). Opening that may make us wait, so it lay where any open of the
/// program's would: unless the program has put something else there.
pub fn close_looked_at(fd: i32) {
    close_opened_with(libc::O_PATH, fd);
}

/// The same of what was opened with a flag that no open of the program's has.
pub fn close_opened_with(flag: i32, fd: i32) {
    let _registry = registry::lock();
    let is_it = match kernel::get_flags(fd) {
        Ok(flags) => flags & flag as u32 != 0,
        Err(error) => error != libc::EBADF, // a sandbox
    };
    if is_it && !words::is_under_way(fd) {
        kernel::close(fd);
    }
}

/// A number of ours has been closed, or is the program's from now on.
pub fn disown(fd: i32) {
    let Some(w) = word(fd) else { return };
    let seen = w.load(Acquire);
    if tag(seen) == OURS {
        // Failing, the program has it already.
        let _ = w.compare_exchange(seen, make(UNKNOWN, 0), AcqRel, Acquire);
    }
}
