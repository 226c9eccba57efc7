//! Numbers of our own: second descriptors, the lock table's probe, the trace, what was kept across exec.
//! For the program they don't exist. Where it takes one with dup2 all the same, ours moves away first,
//! and nobody acts through the old number any more when the program's call is made.

use core::ffi::CStr;
use core::sync::atomic::Ordering::*;

use crate::direct::second;
use crate::raw;
use crate::tell::events::{self, Event};
use crate::tell::trace;
use crate::what::descriptors::{self, OURS, UNKNOWN, make, tag, unpin_index, word};
use crate::what::{files, replace};
use crate::who::registry::{self, Registry};
use crate::who::{exec, process};
use kernel::high::raise_copy;

#[inline]
pub fn is_ours(fd: i32) -> bool {
    word(fd).is_some_and(|w| tag(w.load(Acquire)) == OURS)
}

/// Marks a descriptor of our own, which the program must not see or close. In the constructor.
pub fn claim(fd: i32) {
    let stale = claim_in(&registry::lock(), fd);
    stale.into_iter().for_each(unpin_index);
}

/// The same, where the registry is held. Gives back what was thought to stand there: to be let go outside.
pub fn claim_in(_: &Registry, fd: i32) -> Option<u32> {
    let w = descriptors::ensure(fd)?;
    descriptors::description_of(w.swap(make(OURS, 0), AcqRel))
}

/// A copy of a descriptor of ours at a number of ours, `least` or above, out of the program's sight. None is taken
/// that the program is about to put something at: it marks those under the same lock (`replace`).
pub fn raise(fd: i32, least: i32, registry: &Registry) -> Option<(i32, Option<u32>)> {
    let high = raise_copy(fd, least, &mut |n| !replace::is_under_way(n)).ok()?;
    Some((high, claim_in(registry, high)))
}

/// What an open of ours gave, out of the program's way and marked as ours. None: the program is about to put something
/// else at that number, and closes ours by that.
pub fn settle(opened: i32, registry: &Registry) -> Option<(i32, Option<u32>)> {
    if replace::is_under_way(opened) {
        return None;
    }
    let high = raise(opened, opened + 1, registry);
    if high.is_some() {
        raw::close(opened);
    }
    Some(high.unwrap_or_else(|| (opened, claim_in(registry, opened))))
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
        settled = settle(opened, &registry);
        if settled.is_some() {
            break;
        }
    }
    drop(registry);
    let (number, stale) = settled?;
    stale.into_iter().for_each(unpin_index);
    Some(number)
}

/// It was that, unless the program has taken the number.
pub fn close(fd: i32) {
    let _registry = registry::lock();
    if is_ours(fd) {
        raw::close(fd);
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
    let is_it = match raw::get_flags(fd) {
        Ok(flags) => flags & flag as u32 != 0,
        Err(error) => error != libc::EBADF, // a sandbox
    };
    if is_it && !replace::is_under_way(fd) {
        raw::close(fd);
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

/// How long calls that act through the number are waited for, in nanoseconds. They are bounded as a call on a
/// file is; longer lasts only what a device or a server keeps.
const PATIENCE: u64 = 30_000_000_000;

/// The program wants this number for itself. Err: somebody acts through it still, and goes on doing so; dup2 says
/// EBUSY as it does in a race with open.
pub fn surrender(fd: i32) -> Result<(), i32> {
    let registry = registry::lock();
    let moved = move_away(fd, &registry);
    drop(registry);
    let dropped = match moved {
        Ok((stale, dropped)) => {
            stale.into_iter().for_each(unpin_index);
            dropped
        }
        Err(error) => return Err(error),
    };
    if let Some(index) = dropped {
        events::emit(&Event::uncovered(
            index,
            "dup2 onto our descriptor drops POSIX locks",
        ));
    }
    let deadline = kernel::now_ns().saturating_add(PATIENCE);
    while !is_at_rest(fd) {
        if kernel::now_ns() >= deadline {
            return Err(libc::EBUSY);
        }
        raw::sleep_ms(1);
    }
    Ok(())
}

fn is_at_rest(fd: i32) -> bool {
    !second::is_in_hand(fd)
        && !events::is_telling()
        && process::table().is_none_or(|t| t.probe_is_at_rest())
}

/// What ours at this number is good for is done through a copy from now on, or made anew at the next need. Gives back
/// what is to be let go outside the registry, and the file whose POSIX locks go with the number.
#[allow(clippy::type_complexity)]
fn move_away(fd: i32, registry: &Registry) -> Result<(Option<u32>, Option<u32>), i32> {
    let second = files::all().find_map(|(index, file)| {
        let cell = second::cells(file)
            .into_iter()
            .find(|cell| cell.load(SeqCst) == fd + 1)?;
        Some((index, file, cell))
    });
    let own_calls = |to| process::active().is_some_and(|thread| second::move_own(thread, fd, to));
    if let Some((index, file, cell)) = second {
        // A handler's dup2 in the middle of a direct call: that call needs it still.
        let copy = match own_calls(-1) {
            true => Some(raise(fd, 0, registry).ok_or(libc::EBUSY)?),
            false => None,
        };
        let (to, stale) = copy.unwrap_or((-1, None));
        cell.store(to + 1, SeqCst);
        own_calls(to);
        let dropped = file.has(files::POSIX_LOCKED).then_some(index);
        return Ok((stale, dropped));
    }
    if exec::surrender(fd) {
        return Ok((None, None)); // its file's locks go with it
    }
    let probe = process::table().filter(|t| t.probe_fd() == fd);
    if probe.is_none() && !trace::is_at(fd) {
        return Ok((None, None));
    }
    let (to, stale) = raise(fd, 0, registry).unwrap_or((-1, None));
    match probe {
        Some(table) => table.set_probe_fd(to),
        None => trace::move_to(to),
    }
    Ok((stale, None))
}
