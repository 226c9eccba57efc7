//! What the program does with descriptor numbers: close, dup, fcntl. Our own numbers don't exist for it.

use core::sync::atomic::{AtomicBool, Ordering::AcqRel};

use kernel as raw;
use lock_table::USE_DIRECT;

use crate::calls::transfer::look_at;
use crate::calls::{layout, replace};
use crate::direct::TAKEN_OFF;
use crate::direct::{second, writeback};
use crate::hold::call;
use crate::tell::events;
use crate::what::descriptors::{self, Pinned, closed, closing, duplicated, forget};
use crate::what::file::{LEASED, STREAMED};
use crate::what::words::{is_ours, known_in};
use crate::what::{early, hands, names, seconds, words};
use crate::who::{due, outlived, process};

fn bad_descriptor() -> i32 {
    raw::set_errno(libc::EBADF);
    -1
}

/// A call that opens a file.
#[inline(never)]
pub fn opening(real: impl Fn() -> i32) -> i32 {
    if !process::follows_numbers() {
        return real();
    }
    let before = descriptors::sharings();
    let fd = with_room(&real);
    if fd < 0 {
        return fd;
    }
    if process::refuses() && names::would_be_fenced(fd) {
        raw::close(fd);
        raw::set_errno(libc::ENOLCK);
        return -1;
    }
    descriptors::opened(fd, before);
    fd
}

/// A call that makes a number; where the program has no more, we give ours up.
fn with_room(real: &impl Fn() -> i32) -> i32 {
    let errno = raw::errno();
    let fd = real();
    if fd < 0 && raw::errno() == libc::EMFILE && hands::shed() {
        // A success leaves errno alone, as the kernel does.
        raw::set_errno(errno);
        return real();
    }
    fd
}

/// A call that makes numbers and says with -1, or a null, that it can't; where there are no more, with ours.
pub fn making<R>(real: impl Fn() -> R, failed: impl Fn(&R) -> bool) -> R {
    let errno = raw::errno();
    let result = real();
    let none = failed(&result) && raw::errno() == libc::EMFILE;
    if none && process::follows_numbers() && hands::shed() {
        raw::set_errno(errno);
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
        descriptors::pass(fd);
    }
    fd
}

#[inline(never)]
pub fn close(fd: i32, real: impl Fn() -> i32) -> i32 {
    if process::follows_numbers() && is_ours(fd) {
        return bad_descriptor();
    }
    closing_elsewhere(fd, real)
}

/// A call that closes the number: forgotten before, because another thread may have it at once after.
pub fn closing_elsewhere<R>(fd: i32, real: impl Fn() -> R) -> R {
    if fd < 0 || !process::follows_numbers() {
        early::closed(fd);
        return real();
    }
    let fenced = matches!(words::peek(fd), words::Peek::Description { .. });
    let frame = process::active()
        .filter(|_| fenced)
        .and_then(|thread| Some((thread, call::begin(thread, true)?)));
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
/// keeps the one that it has.
pub fn unsharing() {
    outlived::leave();
    if raw::is_only_task() || process::active().is_none() {
        return;
    }
    static TOLD: AtomicBool = AtomicBool::new(false);
    if !TOLD.swap(true, AcqRel) {
        events::emit(&events::Event::uncovered(
            None,
            "a thread has descriptor numbers of its own (CLONE_FILES unshared): what it opens is taken for the process's",
        ));
    }
}

/// `close_range` and `closefrom`: everything in the range but ours.
#[inline(never)]
pub fn close_range(first: u32, last: u32, flags: i32, real: impl Fn(u32, u32, i32) -> i32) -> i32 {
    const UNSHARE: i32 = 2;
    if !process::follows_numbers() || flags & !UNSHARE != 0 || first > last {
        return real(first, last, flags);
    }
    let mut flags = flags;
    if flags & UNSHARE != 0 {
        unsharing();
    }
    if flags & UNSHARE != 0 && known_in(first, last).any(is_ours) {
        let unshared = raw::unshare_files();
        if unshared < 0 {
            return raw::libc_result(unshared) as i32;
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
    let new = look_at(old, |_, frame, pinned| {
        let new = with_room(&real);
        match new {
            ..0 => {}
            _ if words::still(old, pinned.seen) => {
                descriptors::describes(new, pinned.index);
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
    if new < 0 || old == new || raw::get_flags(old).is_err() {
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
        libc::F_SETFL => set_flags(fd, argument as i32, real),
        libc::F_GETFL => get_flags(fd, real),
        libc::F_SETLK | libc::F_SETLKW => posix_lock(fd, real),
        libc::F_SETLEASE if argument as i32 != libc::F_UNLCK => lease(fd, real),
        _ => real(),
    }
}

/// Turning `O_DIRECT` on or off changes what calls in flight through this description are: they end
/// before, and everybody knows of the new use before it begins.
fn set_flags(fd: i32, flags: i32, real: impl Fn() -> i32) -> i32 {
    let turns = |pinned: &Pinned| (flags ^ pinned.description.flags() as i32) & libc::O_DIRECT != 0;
    let needed = |pinned: &Pinned| {
        if turns(pinned) && flags & libc::O_DIRECT != 0 {
            pinned.file.add_use(pinned.file_index, USE_DIRECT, fd);
            due::look_if_due();
        }
        // Also while it is direct: a request without a second descriptor takes the flag off for a moment.
        (turns(pinned) || pinned.description.has(libc::O_DIRECT)) && pinned.file.locks()
    };
    let result = layout::alone(fd, &|| real() as isize, needed, |pinned| {
        let result = real();
        if result == 0
            && let Ok(now) = raw::get_flags(fd)
        {
            pinned.description.set_flags(now, fd);
        }
        result as isize
    });
    result as i32
}

/// While we have taken `O_DIRECT` off for one request it doesn't show.
fn get_flags(fd: i32, real: impl Fn() -> i32) -> i32 {
    let result = real();
    if result >= 0
        && let words::Peek::Description { index, .. } = words::peek(fd)
        && let Some(d) = descriptors::description(index)
        && !d.is_shared()
        && d.has(libc::O_DIRECT)
    {
        let taken_off = result & libc::O_DIRECT == 0;
        return result ^ if taken_off { TAKEN_OFF as i32 } else { 0 };
    }
    result
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
    let errno = raw::errno();
    let settled = look_at(fd, |thread, frame, pinned| {
        raw::set_errno(errno);
        // The error of another file isn't this call's.
        let same = known == Some(pinned.seen);
        same.then(|| writeback::after_sync(thread, frame, pinned.file, result as isize) as i32)
    });
    match settled.flatten() {
        Some(settled) => settled,
        None => {
            raw::set_errno(errno);
            result
        }
    }
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

/// As `uncovered`, but only where somebody uses the file past the page cache: otherwise the kernel
/// keeps the call coherent.
pub fn uncovered_if_mixed(fd: i32, what: &'static str) {
    look_at(fd, |_, _, pinned| {
        if pinned.file.locks() {
            tell_uncovered(fd, pinned, what);
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
