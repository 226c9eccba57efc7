//! What moves blocks under pages: truncate, fallocate in every mode, `O_TRUNC`.
//!
//! The range is held as `layout`, rounded out to units (the kernel zeroes partial blocks through the
//! cache), to the end of time where bytes beyond it move or vanish (P3).

use core::cell::Cell;
use core::ffi::c_char;
use core::sync::atomic::Ordering::Relaxed;

use lock_table::{FileId, Mode, unit};

use crate::calls::{by_name, leases, recorded};
use crate::hold::call::under_frame;
use crate::hold::ranges::{self, Got};
use crate::hold::slots::release;
use crate::hold::terms::{END_OF_TIME, Terms};
use crate::hold::unmixed::unmixed;
use crate::hold::{beyond, call, way_back};
use crate::tell::events;
use crate::what::descriptions::Pinned;
use crate::what::{files, identity, names, own, uses, words};
use crate::who::process;
use crate::who::thread::Thread;

#[derive(Clone, Copy)]
pub enum Change {
    /// To this size.
    Truncate(i64),
    Allocate {
        mode: i32,
        offset: i64,
        len: i64,
    },
}

const FALLOC_FL_KEEP_SIZE: i32 = 1;
const FALLOC_FL_COLLAPSE_RANGE: i32 = 8;
const FALLOC_FL_INSERT_RANGE: i32 = 0x20;
/// Allocate, keep size, punch hole, zero range, unshare range, write zeroes: they stay within their range.
const STAY: i32 = 1 | 2 | 0x10 | 0x40 | 0x80;

fn floor(offset: u64) -> u64 {
    offset / unit() * unit()
}

impl Change {
    /// First and last byte that may change in a file of this size.
    pub(crate) fn range(self, size: u64) -> (u64, u64) {
        match self {
            Change::Truncate(to) => (floor(size.min(u64::try_from(to).unwrap_or(0))), END_OF_TIME),
            Change::Allocate { offset, len, .. } if offset < 0 || len <= 0 => (0, END_OF_TIME),
            Change::Allocate { mode, offset, len } => {
                let (offset, len) = (offset as u64, len as u64);
                let last = offset.saturating_add(len - 1);
                let moves = mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE) != 0;
                let extends = mode & FALLOC_FL_KEEP_SIZE == 0 && last >= size;
                if mode & !(STAY | FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE) != 0 {
                    (0, END_OF_TIME)
                } else if moves || extends {
                    (floor(offset.min(size)), END_OF_TIME)
                } else {
                    (floor(offset), floor(last).saturating_add(unit() - 1))
                }
            }
        }
    }
}

impl Change {
    /// The bytes that the program has named, first and last; to the end of time where those beyond move.
    fn names(self) -> Option<(u64, u64)> {
        match self {
            Change::Truncate(to) => Some((u64::try_from(to).ok()?, END_OF_TIME)),
            Change::Allocate { mode, offset, len } => {
                let (first, len) = (u64::try_from(offset).ok()?, u64::try_from(len).ok()?);
                if mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE) != 0 {
                    return Some((first, END_OF_TIME));
                }
                Some((first, first.saturating_add(len.checked_sub(1)?)))
            }
        }
    }

    fn extends(self, size: u64) -> bool {
        let moves = FALLOC_FL_KEEP_SIZE | FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE;
        match self {
            Change::Truncate(to) => u64::try_from(to).is_ok_and(|to| to > size),
            Change::Allocate { mode, offset, len } => {
                mode & moves == 0
                    && offset.saturating_add(len) as u64 > size
                    && offset >= 0
                    && len > 0
            }
        }
    }
}

/// ftruncate and fallocate.
#[inline(never)]
pub fn change(fd: i32, what: Change, real: impl Fn() -> isize) -> isize {
    let make = || held_apart(fd, what, &real);
    recorded::around(fd, recorded::LAYOUT, || what.names(), |n| n, make)
}

fn held_apart(fd: i32, what: Change, real: &impl Fn() -> isize) -> isize {
    if let Ok(n) = unmixed::<true>(fd, Mode::Layout, real) {
        return n;
    }
    let relied = Cell::new(false);
    let result = under_frame(fd, false, real, |thread, frame, pinned| {
        let file = pinned.file;
        let terms = Terms::of(file, fd);
        relied.set(pinned.description.has(libc::O_DIRECT));
        for _ in 0..16 {
            release(frame);
            let (first, last) = what.range(file.size_guess.load(Relaxed));
            let claim = terms.claim(Mode::Layout, first, last);
            pinned.rely_on_ranges(fd);
            if let Got::Refused(error) = ranges::take(thread, frame, &terms, &claim, false) {
                return Some(kernel::libc_result(-error as isize));
            }
            if !pinned.ranges_stand() {
                continue;
            }
            let size =
                identity::size_through(fd, file).filter(|_| words::still(fd, pinned.seen))?;
            file.size_guess.store(size, Relaxed);
            let (first, last) = what.range(size);
            if claim.first <= first && claim.last >= last {
                if what.extends(size) && !terms.known.observe() {
                    beyond::clear(fd, file, size);
                }
                return Some(real());
            }
        }
        let reason = "the file's size would not hold still";
        let (id, refused) = (pinned.file.id(), terms.known.refuses_uncovered());
        let failed = events::emit_uncovered_call(Some(id), fd, reason, refused);
        Some(failed.unwrap_or_else(real))
    });
    way_back::after_relying(fd, relied.get());
    result
}

/// A call that nobody else's on this file may overlap, where that is needed.
pub fn alone(
    fd: i32,
    real: &dyn Fn() -> isize,
    needed: impl Fn(&Pinned) -> bool,
    act: impl Fn(&Pinned) -> isize,
) -> isize {
    let relied = Cell::new(false);
    let result = under_frame(fd, false, real, |thread, frame, pinned| {
        let terms = Terms::of(pinned.file, fd);
        let claim = terms.claim(Mode::Layout, 0, END_OF_TIME);
        while needed(pinned) {
            relied.set(pinned.description.has(libc::O_DIRECT));
            pinned.rely_on_ranges(fd);
            if let Got::Refused(error) = ranges::take(thread, frame, &terms, &claim, false) {
                return Some(kernel::libc_result(-error as isize));
            }
            if pinned.ranges_stand() {
                break;
            }
            release(frame);
        }
        words::still(fd, pinned.seen).then(|| act(pinned))
    });
    way_back::after_relying(fd, relied.get());
    result
}

/// A file's name, and how it is opened by that.
struct Name {
    dir: i32,
    path: *const c_char,
    flags: i32,
    /// The call ends where its opening is interrupted; a stream's does more than that.
    is_one_call: bool,
}

/// A call that changes a file's layout by its name: look, wait for leases, lock, call.
fn by_name(name: &Name, real: &dyn Fn() -> isize) -> (Option<FileId>, isize) {
    let (dir, path) = (name.dir, name.path);
    let follow = match name.flags & libc::O_NOFOLLOW {
        0 => 0,
        _ => libc::AT_SYMLINK_NOFOLLOW,
    };
    let stat = kernel::fstatat(dir, path, follow).ok();
    let id = stat
        .filter(kernel::Stat::is_regular)
        .as_ref()
        .and_then(identity::identity);
    let (Some(thread), Some(id)) = (process::active(), id) else {
        return (None, real());
    };
    // As by a number: the record's settings, or what the policy says by the name.
    let terms = match files::find(id) {
        Some(known) => Some(Terms::of(known, -1)),
        None => by_name::ask_by_path(dir, path).map(|settings| Terms::said(id, &settings)),
    };
    let Some(terms) = terms.filter(|_| process::enters_table()) else {
        return (None, real());
    };
    if let Err(error) = leases::are_given_up(&terms, dir, path, name.flags)
        && name.is_one_call
    {
        return (None, kernel::libc_result(-error as isize));
    }
    let make = || held_by_name(thread, id, &terms, real);
    let result = match terms.known.records_contents() {
        true => recorded::emptied(id, (dir, path, follow), &make),
        false => make(),
    };
    (Some(id), result)
}

#[inline(always)]
fn held_by_name(thread: &Thread, id: FileId, terms: &Terms, real: &dyn Fn() -> isize) -> isize {
    let Some(frame) = call::begin(thread, false) else {
        return real();
    };
    let claim = terms.claim(Mode::Layout, 0, END_OF_TIME);
    let relies = uses::rely_for_a_while(id, terms.known.observe());
    let result = match ranges::take(thread, frame, terms, &claim, false) {
        Got::Go => real(),
        Got::Refused(error) => kernel::libc_result(-error as isize),
    };
    call::end(thread, frame);
    uses::relied(relies);
    result
}

/// truncate(2). `path` is the program's pointer.
pub fn truncate_path(path: *const c_char, real: impl Fn() -> isize) -> isize {
    if refused_by_name(libc::AT_FDCWD, path) {
        return kernel::libc_result(-libc::ENOLCK as isize);
    }
    if process::active().is_none() {
        return real();
    }
    let name = Name {
        dir: libc::AT_FDCWD,
        path,
        flags: libc::O_WRONLY,
        is_one_call: true,
    };
    by_name(&name, &real).1
}

/// Whether a stream on this file may not be opened; errno says so.
pub fn stream_is_refused(path: *const c_char) -> bool {
    let refused = refused_by_name(libc::AT_FDCWD, path);
    if refused {
        kernel::set_errno(libc::ENOLCK);
    }
    refused
}

/// A stream opened for writing empties the file too.
pub fn truncating_stream<R>(path: *const c_char, real: impl Fn() -> *mut R) -> *mut R {
    if process::active().is_none() {
        return real();
    }
    let name = Name {
        dir: libc::AT_FDCWD,
        path,
        flags: libc::O_WRONLY,
        is_one_call: false,
    };
    match by_name(&name, &|| real() as isize).1 {
        -1 => core::ptr::null_mut(),
        stream => stream as *mut R,
    }
}

/// Before anything is lost: whether this file would be fenced, and can't be.
pub fn refused_by_name(dir: i32, path: *const c_char) -> bool {
    if !process::refuses() {
        return false;
    }
    let fd = kernel::open_path(dir, path);
    // With no number free it can't be known: rather one refused for nothing.
    let refused = match fd {
        0.. => names::would_be_fenced(fd as i32),
        error => error == -(libc::EMFILE as isize),
    };
    own::close_looked_at(fd as i32);
    refused
}

/// An open that empties the file, if it is there.
pub fn open_truncating(
    dir: i32,
    path: *const c_char,
    flags: i32,
    real: impl Fn() -> isize,
) -> isize {
    if refused_by_name(dir, path) {
        return kernel::libc_result(-libc::ENOLCK as isize);
    }
    if process::active().is_none() {
        return real();
    }
    let name = Name {
        dir,
        path,
        flags: flags & (libc::O_ACCMODE | libc::O_NOFOLLOW),
        is_one_call: true,
    };
    let (seen, fd) = by_name(&name, &real);
    if fd >= 0
        && let Some(seen) = seen
        && kernel::fstat(fd as i32)
            .ok()
            .as_ref()
            .and_then(identity::identity)
            != Some(seen)
    {
        events::emit_uncovered(None, fd as i32, "another file took the name during O_TRUNC");
    }
    fd
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn allocate(mode: i32, offset: u64, len: u64) -> Change {
        Change::Allocate {
            mode,
            offset: offset as i64,
            len: len as i64,
        }
    }

    #[test]
    fn truncate_holds_from_the_lower_end_to_the_end_of_time() {
        let shrink = Change::Truncate(3 * MIB as i64);
        assert_eq!(shrink.range(100 * MIB), (2 * MIB, END_OF_TIME));
        let grow = Change::Truncate(100 * MIB as i64);
        assert_eq!(grow.range(5 * MIB + 1), (4 * MIB, END_OF_TIME));
        assert_eq!(Change::Truncate(-1).range(5 * MIB), (0, END_OF_TIME));
    }

    #[test]
    fn punch_and_zero_stay_within_their_units() {
        let keep = FALLOC_FL_KEEP_SIZE;
        assert_eq!(
            allocate(keep | 2, 5 * MIB, 1).range(100 * MIB),
            (4 * MIB, 6 * MIB - 1)
        );
        // Zeroing past the end grows the file, unless the size is to be kept.
        assert_eq!(
            allocate(0x10, 5 * MIB, 9 * MIB).range(7 * MIB),
            (4 * MIB, END_OF_TIME)
        );
        assert_eq!(
            allocate(0x10 | keep, 5 * MIB, 9 * MIB).range(7 * MIB),
            (4 * MIB, 14 * MIB - 1)
        );
    }

    #[test]
    fn collapse_and_insert_move_everything_behind_them() {
        for mode in [FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE] {
            assert_eq!(
                allocate(mode, 9 * MIB, MIB).range(100 * MIB),
                (8 * MIB, END_OF_TIME)
            );
        }
    }

    #[test]
    fn what_the_kernel_will_refuse_or_we_do_not_know_takes_the_whole_file() {
        assert_eq!(allocate(0, u64::MAX, 1).range(MIB), (0, END_OF_TIME));
        assert_eq!(allocate(0, 0, 0).range(MIB), (0, END_OF_TIME));
        assert_eq!(
            allocate(0x4000, 9 * MIB, 1).range(100 * MIB),
            (0, END_OF_TIME)
        );
    }
}
