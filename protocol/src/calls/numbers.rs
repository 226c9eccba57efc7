//! What the program does with descriptor numbers: close, dup, fcntl. Our own numbers don't exist for it.

use core::sync::atomic::Ordering::AcqRel;

use kernel::errors;

use crate::calls::{flags, recorded, replace};
use crate::direct::{second, writeback};
use crate::hold::call::{self, look_at, look_at_unused};
use crate::tell::events;
use crate::tell::told::{Once, first_time};
use crate::what::changes::{self, closed, closing, duplicated, forget};
use crate::what::descriptions::{self, Pinned};
use crate::what::file::{LEASED, STREAMED};
use crate::what::words::{is_ours, known_in};
use crate::what::{early, hands, names, routes, seconds, words};
use crate::who::{outlived, process, scratch};

fn bad_descriptor() -> i32 {
    kernel::set_errno(libc::EBADF);
    -1
}

/// A call that opens a file, with these flags, if they are known.
#[inline(never)]
pub fn opening(flags: Option<i32>, real: impl Fn() -> i32) -> i32 {
    if !process::follows_numbers() {
        return real();
    }
    let before = descriptions::sharings();
    let fd = with_room(&real);
    if fd < 0 {
        return fd;
    }
    if process::refuses() && names::would_be_fenced(fd) {
        kernel::close(fd);
        kernel::set_errno(libc::ENOLCK);
        return -1;
    }
    changes::opened(fd, before, flags);
    scratch::look_for_handlers();
    if routes::may_be() {
        // Before the program can ask for its flags, or hand it on.
        look_at(fd, |_, _, _| ());
    }
    fd
}

/// A call that makes a number; where the program has no more, we give ours up.
fn with_room(real: &impl Fn() -> i32) -> i32 {
    let errno = kernel::errno();
    let fd = real();
    if fd < 0 && kernel::errno() == libc::EMFILE && hands::shed() {
        // A success leaves errno alone, as the kernel does.
        kernel::set_errno(errno);
        return real();
    }
    fd
}

/// A call that makes numbers and says with -1, or a null, that it can't; where there are no more, with ours.
pub fn making<R>(real: impl Fn() -> R, failed: impl Fn(&R) -> bool) -> R {
    let errno = kernel::errno();
    let result = real();
    let none = failed(&result) && kernel::errno() == libc::EMFILE;
    if none && process::follows_numbers() && hands::shed() {
        kernel::set_errno(errno);
        return real();
    }
    result
}

/// Made or closed inside libc: whatever we knew is stale.
pub fn made_elsewhere(fd: i32) -> i32 {
    if fd >= 0 && process::follows_numbers() {
        forget(fd);
    }
    fd
}

/// Made by a call that never gives a file. Not looked at again: a sandbox may refuse that later.
pub fn made_other(fd: i32) -> i32 {
    if fd >= 0 && process::follows_numbers() {
        changes::pass(fd);
    }
    fd
}

#[inline(never)]
pub fn close(fd: i32, real: impl Fn() -> i32) -> i32 {
    if !process::follows_numbers() {
        early::closed(fd);
        return real();
    }
    if is_ours(fd) {
        return bad_descriptor();
    }
    forgetting(fd, real)
}

/// A call that closes the number: forgotten before, because another thread may have it at once after.
pub fn closing_elsewhere<R>(fd: i32, real: impl Fn() -> R) -> R {
    if fd < 0 || !process::follows_numbers() {
        early::closed(fd);
        return real();
    }
    forgetting(fd, real)
}

#[inline(always)]
fn forgetting<R>(fd: i32, real: impl Fn() -> R) -> R {
    let thread = words::is_description(fd).then(process::active).flatten();
    let frame = thread.and_then(|thread| Some((thread, call::begin(thread, true)?)));
    let Some((thread, frame)) = frame else {
        closed(closing(fd));
        return real();
    };
    // In the frame, so that a cancelled or jumped-out-of call gives it back all the same.
    frame.pinned.set(closing(fd).unwrap_or(0));
    let result = real();
    call::end(thread, frame);
    result
}

/// The calling thread is about to get a table of numbers of its own: there is one here for the whole process. Alone it
/// keeps the one that it has. Whether it is not to get one.
pub fn unsharing() -> bool {
    if kernel::is_only_task() || process::active().is_none() {
        outlived::leave();
        return false;
    }
    let refused = process::refuses_uncovered();
    if !refused {
        outlived::leave();
    }
    if first_time(Once::OwnNumbers) {
        let event = events::Event::of(None, &errors::OWN_NUMBERS);
        let done = if refused { "EPERM" } else { event.done };
        events::emit(&events::Event { done, ..event });
    }
    refused
}

/// `close_range` and `closefrom`: everything in the range but ours.
#[inline(never)]
pub fn close_range(first: u32, last: u32, flags: i32, real: impl Fn(u32, u32, i32) -> i32) -> i32 {
    const UNSHARE: i32 = 2;
    if !process::follows_numbers() || flags & !UNSHARE != 0 || first > last {
        return real(first, last, flags);
    }
    let mut flags = flags;
    if flags & UNSHARE != 0 && unsharing() {
        return kernel::libc_result(-libc::EPERM as isize) as i32;
    }
    if flags & UNSHARE != 0 && known_in(first, last).any(is_ours) {
        let unshared = kernel::unshare_files();
        if unshared < 0 {
            return kernel::libc_result(unshared) as i32;
        }
        flags &= !UNSHARE;
    }
    // Forgotten before they are closed: another thread may get the number at once.
    for fd in known_in(first, last).filter(|fd| !is_ours(*fd)) {
        closed(closing(fd));
    }
    let mut from = first;
    for fd in known_in(first, last) {
        let number = fd as u32;
        if is_ours(fd) {
            if number > from {
                let result = real(from, number - 1, flags);
                if result != 0 {
                    return result;
                }
            }
            from = number.saturating_add(1);
        }
    }
    if from <= last {
        real(from, last, flags)
    } else {
        0
    }
}

/// Calls that only ask about a number: ours are not there.
pub fn asking(fd: i32, real: impl Fn() -> i32) -> i32 {
    if process::follows_numbers() && is_ours(fd) {
        return bad_descriptor();
    }
    real()
}

/// The same for a call with two numbers.
pub fn asking_both(one: i32, other: i32, real: impl Fn() -> isize) -> isize {
    if process::follows_numbers() && (is_ours(one) || is_ours(other)) {
        return bad_descriptor() as isize;
    }
    real()
}

pub fn dup(old: i32, real: impl Fn() -> i32) -> i32 {
    if !process::follows_numbers() {
        return real();
    }
    if is_ours(old) {
        return bad_descriptor();
    }
    // Before the call: afterwards the number may be another's.
    let new = look_at_unused(old, |_, frame, pinned| {
        let new = with_room(&real);
        match new {
            ..0 => {}
            _ if words::still(old, pinned.seen) => {
                changes::describes(new, pinned.index, pinned.seen);
                // The reference is the number's now.
                frame.pinned.set(0);
            }
            _ => forget(new),
        }
        new
    });
    new.unwrap_or_else(|| {
        let new = with_room(&real);
        duplicated(old, new);
        new
    })
}

/// dup2 and dup3: the number asked for may be one of ours; then ours moves.
#[inline(never)]
pub fn dup_to(old: i32, new: i32, real: impl Fn() -> i32) -> i32 {
    if !process::follows_numbers() {
        return real();
    }
    if is_ours(old) {
        return bad_descriptor();
    }
    if new < 0 || old == new || kernel::get_flags(old).is_err() {
        return real(); // changes nothing
    }
    replace::number(new, Some(old), real, |result| *result < 0, -1)
}

/// A call that closes what is behind the number and puts something there that isn't known.
pub fn reopening<R>(number: i32, real: impl Fn() -> R, refused: R) -> R {
    if number < 0 || !process::follows_numbers() {
        return real();
    }
    replace::number(number, None, real, |_| false, refused)
}

/// What `fcntl` asks. Every command passes its argument on; these concern us.
#[inline(never)]
pub fn fcntl(fd: i32, command: i32, argument: usize, real: impl Fn() -> i32) -> i32 {
    if !process::follows_numbers() {
        if matches!(command, libc::F_SETLK | libc::F_SETLKW) {
            early::locked(fd);
        }
        return real();
    }
    if is_ours(fd) {
        return bad_descriptor();
    }
    match command {
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => dup(fd, real),
        libc::F_SETFL => flags::set(fd, argument as i32, real),
        libc::F_GETFL => flags::get(fd, real),
        libc::F_SETLK | libc::F_SETLKW => posix_lock(fd, real),
        libc::F_SETLEASE if argument as i32 != libc::F_UNLCK => lease(fd, real),
        _ => real(),
    }
}

/// Closing any descriptor of the file, also one of ours, would drop this lock.
pub fn posix_lock(fd: i32, real: impl Fn() -> i32) -> i32 {
    early::locked(fd);
    if process::follows_numbers() {
        if is_ours(fd) {
            return bad_descriptor();
        }
        look_at(fd, |_, _, pinned| {
            second::before_posix_lock(pinned.file, fd, pinned.description.flags());
        });
    }
    real()
}

fn lease(fd: i32, real: impl Fn() -> i32) -> i32 {
    look_at(fd, |_, _, pinned| {
        if seconds::numbers(pinned.file).next().is_some() {
            events::emit(&events::Event {
                fd,
                done: "the lease sees the second descriptor",
                ..events::Event::uncovered(
                    Some(pinned.file.id()),
                    "a lease on a file that is read or written directly",
                )
            });
        }
        pinned.file.flags.fetch_or(LEASED, AcqRel);
    });
    real()
}

/// fsync, fdatasync, sync_file_range: and then what we owe.
#[inline(never)]
pub fn sync(fd: i32, real: impl Fn() -> i32) -> i32 {
    let is = (trace::What::Sync, trace::Mode::None);
    recorded::around(fd, is, || None, |n| n as isize, || synced(fd, &real))
}

fn synced(fd: i32, real: &impl Fn() -> i32) -> i32 {
    if process::follows_numbers() && is_ours(fd) {
        return bad_descriptor();
    }
    let known = match words::peek(fd) {
        words::Peek::Description { seen, .. } => Some(seen),
        // Also of a number that is made for nothing else: what the file owes is told to any of its descriptors.
        words::Peek::Unknown => look_at(fd, |_, _, pinned| pinned.seen),
        _ => None,
    };
    let result = real();
    if known.is_none() {
        return result;
    }
    let errno = kernel::errno();
    let settled = look_at(fd, |thread, frame, pinned| {
        kernel::set_errno(errno);
        // The error of another file isn't this call's.
        let same = known == Some(pinned.seen);
        same.then(|| writeback::after_sync(thread, frame, pinned.file, result as isize) as i32)
    });
    match settled.flatten() {
        Some(settled) => settled,
        None => {
            kernel::set_errno(errno);
            result
        }
    }
}

/// Whether the number stands for a file that may be fenced.
pub fn may_be_fenced(fd: i32) -> bool {
    !process::fences() || look_at(fd, |_, _, _| ()).is_some()
}

/// A stream of libc's is open on the number: its reads and writes can't be hooked by name.
pub fn streamed(fd: i32) {
    early::streamed(fd);
    look_at(fd, |_, _, pinned| {
        pinned.file.mark(STREAMED);
        if pinned.file.locks() {
            pinned.file.tell_streamed(pinned.file_index, fd);
        }
    });
}

/// A call that this library doesn't cover meets the file.
pub fn uncovered(fd: i32, what: &'static str) {
    look_at(fd, |_, _, pinned| tell_uncovered(fd, pinned, what));
}

fn tell_uncovered(fd: i32, pinned: &Pinned, what: &'static str) {
    if pinned.file.is_news(what) {
        events::emit_uncovered(Some(pinned.file.id()), fd, what);
    }
}
