//! Calls by an address that mean the file behind it: `madvise(MADV_REMOVE)` punches a hole there, `msync` is a sync.
//!
//! Others that take an address need nothing. What they store (MADV_POPULATE_WRITE, `process_vm_writev`, `/proc/PID/mem`) goes
//! through a mapping that may be written, and that is registered (P5): through others the kernel stores into private
//! copies at most. What they write back or drop (MADV_PAGEOUT, MADV_COLD, MADV_DONTNEED, MADV_COLLAPSE) the kernel may at
//! any time, and keeps what is dirty; what they read in (`mlock`, MADV_WILLNEED, MADV_POPULATE_READ) a load may, too.

use libc::{FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, iovec};
use lock_table::{FileId, Mode, page};

use crate::calls::layout::Change;
use crate::direct::writeback::{after_sync, pay};
use crate::hold::call;
use crate::hold::ranges::{self, Got};
use crate::hold::slots::release;
use crate::hold::terms::Terms;
use crate::tell::events;
use crate::what::data::{Data, MOST};
use crate::what::places::{any, with};
use crate::what::state::Place;
use crate::what::{file::File, files};
use crate::who::thread::{Frame, Thread};
use crate::who::{process, registry};

/// The real call for a part of what was asked for: an address and a length.
pub type Real<'a> = &'a dyn Fn(usize, usize) -> isize;

/// MADV_REMOVE: punches what is shown there, one mapping after the other, as the kernel does. It changes the file's
/// layout, and each part is held as that (P3).
#[cold]
#[inline(never)]
pub fn remove(at: usize, len: usize, real: Real) -> isize {
    in_one_frame(&|| real(at, len), &|thread, frame| {
        remove_within(thread, frame, (at, len), real)
    })
}

/// However many parts there are, their waits share one limit.
fn in_one_frame(whole: &dyn Fn() -> isize, act: &dyn Fn(&Thread, &Frame) -> isize) -> isize {
    let Some(thread) = process::active().filter(|_| any()) else {
        return whole();
    };
    let Some(frame) = call::begin(thread, false) else {
        events::emit_uncovered(None, -1, "MADV_REMOVE: calls nest too deep");
        return whole();
    };
    let result = act(thread, frame);
    call::end(thread, frame);
    result
}

fn remove_within(thread: &Thread, frame: &Frame, (at, len): (usize, usize), real: Real) -> isize {
    let page = page() as usize;
    let whole = len.checked_next_multiple_of(page);
    let end = whole.and_then(|len| at.checked_add(len));
    match end.filter(|end| at.is_multiple_of(page) && *end != at) {
        Some(end) => remove_parts(thread, frame, (at, end), real),
        None => real(at, len), // the kernel refuses it, or has nothing to do
    }
}

fn remove_parts(thread: &Thread, frame: &Frame, (at, end): (usize, usize), real: Real) -> isize {
    let (mut from, mut holes) = (at, false);
    while from < end {
        let to = match hold(thread, frame, from, end) {
            Ok(to) => to,
            Err(error) => return kernel::libc_result(-error as isize),
        };
        let result = real(from, to - from);
        let missing = result < 0 && kernel::errno() == libc::ENOMEM;
        if result < 0 && !missing {
            return result;
        }
        // The kernel passes over what isn't mapped, and says so at the end.
        holes |= missing;
        from = to;
    }
    match holes {
        true => kernel::libc_result(-libc::ENOMEM as isize),
        false => 0,
    }
}

/// A file, and what of it is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shown {
    file: u32,
    id: FileId,
    offset: u64,
}

/// What lies at an address: so far one file is shown, byte after byte, or none that is fenced.
struct Stretch {
    end: usize,
    shown: Option<(Shown, Terms)>,
}

fn stretch(from: usize, end: usize) -> Stretch {
    let registry = registry::lock();
    with(&registry, |places| {
        let at = |address: usize| places.iter().filter(move |p| p.is_at(address));
        let first = at(from).find_map(|p| Some((p, files::get(p.file)?)));
        let Some((first, file)) = first else {
            let next = places.iter().map(|p| p.start).filter(|s| *s > from).min();
            let end = next.unwrap_or(end).min(end);
            return Stretch { end, shown: None };
        };
        let offset = first.shows_at(from);
        let mut to = first.end;
        // A mapping may stand here in several places.
        while let Some(next) =
            at(to).find(|p| to < end && p.file == first.file && p.shows_at(from) == offset)
        {
            to = next.end;
        }
        let shown = Shown {
            file: first.file,
            id: file.id(),
            offset,
        };
        Stretch {
            end: to.min(end),
            shown: Some((shown, Terms::of(file, -1))),
        }
    })
}

/// Holds what the next part shows, and says where that ends. Another thread may put something else there meanwhile: then
/// it is let go (P4). In the call itself none may: what is punched then not even its program knows.
fn hold(thread: &Thread, frame: &Frame, from: usize, end: usize) -> Result<usize, i32> {
    const TRIES: u32 = 16;
    for _ in 0..TRIES {
        release(frame);
        let Stretch { end: to, shown } = stretch(from, end);
        let Some((shown, terms)) = shown else {
            return Ok(to);
        };
        let hole = Change::Allocate {
            mode: FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
            offset: shown.offset as i64,
            len: (to - from) as i64,
        };
        let (first, last) = hole.range(0);
        let claim = terms.claim(Mode::Layout, first, last);
        if let Got::Refused(error) = ranges::take(thread, frame, &terms, &claim, false) {
            return Err(error);
        }
        let now = stretch(from, end);
        if now.end >= to && now.shown.is_some_and(|(now, _)| now == shown) {
            return Ok(to);
        }
    }
    events::emit_uncovered(None, -1, "MADV_REMOVE: the mapping would not hold still");
    Ok(stretch(from, end).end)
}

/// process_madvise with MADV_REMOVE, which takes this process's memory only, since Linux 6.13. `part` is given one element.
#[cold]
#[inline(never)]
pub fn remove_each(
    elements: (*const iovec, usize),
    part: Real,
    whole: &dyn Fn() -> isize,
) -> isize {
    in_one_frame(whole, &|thread, frame| {
        remove_elements(thread, frame, elements, part, whole)
    })
}

fn remove_elements(
    thread: &Thread,
    frame: &Frame,
    elements: (*const iovec, usize),
    part: Real,
    whole: &dyn Fn() -> isize,
) -> isize {
    let data = Data::Vector(elements.0, elements.1);
    let refused = || data.any_element(|_, len| isize::try_from(len).is_err());
    if data.bytes().is_none_or(|bytes| bytes == 0) || refused() {
        return whole();
    }
    let (mut done, mut result, mut is_first) = (0, 0, true);
    data.any_element(|base, len| {
        let len = len.min(MOST as usize - done);
        let is_first = core::mem::take(&mut is_first);
        result = match len {
            // The kernel looks at an empty element only where it begins with that.
            0 if is_first && !(base as usize).is_multiple_of(page() as usize) => {
                kernel::libc_result(-libc::EINVAL as isize)
            }
            0 => 0,
            _ => remove_within(thread, frame, (base as usize, len), part),
        };
        done += if result < 0 { 0 } else { len };
        result < 0
    });
    match done {
        0 => result,
        done => done as isize,
    }
}

/// msync: and then what we owe the files that are shown there, as after an fsync.
#[inline(never)]
pub fn sync(at: usize, len: usize, flags: i32, real: impl Fn() -> i32) -> i32 {
    let result = real();
    let end = at.saturating_add(len);
    match process::active() {
        Some(thread) if flags & libc::MS_SYNC != 0 && any() => {
            let errno = kernel::errno();
            match result {
                0 => owed(at, end, errno),
                _ => told(thread, at, end, errno),
            }
        }
        _ => result,
    }
}

fn owed(at: usize, end: usize, errno: i32) -> i32 {
    let registry = registry::lock();
    let owed = with(&registry, |places| {
        let files = places.iter().filter(|p| p.overlaps(at, end));
        files
            .filter_map(|p| files::get(p.file))
            .map(pay)
            .find(|owed| *owed != 0)
    });
    drop(registry);
    kernel::set_errno(owed.unwrap_or(errno));
    if owed.is_some() { -1 } else { 0 }
}

/// The kernel says an error of the one file that is shown. Of several, it isn't known whose it is: what is owed stays.
fn told(thread: &Thread, at: usize, end: usize, errno: i32) -> i32 {
    if let Some((index, file)) = only_file(at, end) {
        if let Some(frame) = call::begin(thread, false) {
            kernel::set_errno(errno);
            after_sync(thread, frame, file, -1);
            call::end(thread, frame);
        }
        files::release(index, &registry::lock());
    }
    kernel::set_errno(errno);
    -1
}

/// With one reference more: the mapping may go.
fn only_file(at: usize, end: usize) -> Option<(u32, &'static File)> {
    let all = stretch(at, end);
    let (shown, _) = all.shown.filter(|_| all.end == end)?;
    let registry = registry::lock();
    let file = files::get(shown.file)?;
    let is_there = |places: &mut Vec<_>| places.iter().any(|p: &Place| p.file == shown.file);
    let same = with(&registry, is_there) && file.id() == shown.id;
    same.then(|| {
        files::retain(file);
        (shown.file, file)
    })
}
