//! Read and write, in all their forms: which range, in which mode, and the real call under it.

use core::cell::Cell;
use core::sync::atomic::{Ordering::*, compiler_fence, fence};

use kernel as raw;
use lock_table::{Mode, unit};

use crate::direct::beyond;
use crate::direct::{Held, Outcome, Request, TAKEN_OFF, Under};
use crate::hold::ranges::{self, END_OF_TIME, Got, Terms, Wait};
use crate::hold::{call, cancellation, give_back};
use crate::tell::events;
use crate::what::data::{Position, Transfer};
use crate::what::descriptors::{self, Pinned, TURNS};
use crate::what::file::BLOCK_DEVICE;
use crate::what::files;
use crate::what::words::{self, Peek};
use crate::who::thread::{Frame, Thread};
use crate::who::{outlived, process};

const RWF_NOAPPEND: i32 = 0x20;
/// A file in one mode (P10): say in the table what this call does, without waiting, and make it. None: the
/// file is mixed (or not looked at yet), and the call must take its range.
#[inline]
pub fn unmixed(fd: i32, mode: Mode, real: &impl Fn() -> isize) -> Option<isize> {
    let Some(thread) = process::active() else {
        return Some(real());
    };
    let (seen, index) = match words::peek(fd) {
        Peek::Pass => return Some(real()),
        Peek::Ours => return Some(raw::libc_result(-libc::EBADF as isize)),
        Peek::Unknown | Peek::Tells => return None,
        Peek::Description { seen, index } => (seen, index),
    };
    let file_index = descriptors::description(index)?.file_index();
    let file = files::get(file_index)?;
    let known = file.settings();
    if file.locks() || known.atomic() || known.observe() {
        return None;
    }
    let frame = thread.enter(give_back::abandoned)?;
    frame.cancel_state.set(cancellation::UNTOUCHED);
    let Some(slot) = ranges::slot_of(thread, frame) else {
        thread.leave();
        return None;
    };
    let terms = Terms {
        id: file.id(),
        fd,
        atomic: false,
        observe: false,
        proceed_on_timeout: false,
        refuse_on_table_error: false,
        timeout_ns: 0,
    };
    ranges::announce(slot, frame, &terms.claim(mode, 0, END_OF_TIME));
    // The store above and the look below may pass each other in this processor: the opener that makes
    // the file mixed sets `locks`, has every processor pass a barrier (membarrier), and only then looks
    // at the slots. The compiler must keep their order.
    compiler_fence(SeqCst);
    // And what was read of the file's record was read before the number is looked at again.
    fence(Acquire);
    let result = (!file.locks() && words::still(fd, seen)).then(real);
    ranges::release(frame);
    thread.leave();
    result
}

#[inline]
pub fn transfer(call: &Transfer, real: impl Fn() -> isize) -> isize {
    let mode = if call.write {
        Mode::BufferedWrite
    } else {
        Mode::BufferedRead
    };
    match unmixed(call.fd, mode, &real) {
        Some(n) => n,
        None => look_closer(call, mode, &real),
    }
}

/// The same below a call that has left little of the stack.
#[inline(never)]
pub fn transfer_below(call: &Transfer, real: &dyn Fn() -> isize) -> isize {
    let mode = mode_of(call.write, false);
    match unmixed_apart(call.fd, mode, real) {
        Some(n) => n,
        None => look_closer(call, mode, real),
    }
}

#[inline(never)]
fn unmixed_apart(fd: i32, mode: Mode, real: &dyn Fn() -> isize) -> Option<isize> {
    unmixed(fd, mode, &real)
}

/// The number is used for the first time, or the file is mixed.
#[inline(never)]
fn look_closer(call: &Transfer, mode: Mode, real: &dyn Fn() -> isize) -> isize {
    match words::peek(call.fd) {
        Peek::Unknown => {
            if let Some(n) = first_use(call.fd, mode, real) {
                return n;
            }
        }
        Peek::Tells => {
            if !call.write {
                outlived::before_reading();
            }
            return real();
        }
        _ => {}
    }
    under_frame(call.fd, true, real, |thread, frame, pinned| {
        let allowed = is_allowed(call, pinned);
        match call.data.bytes() {
            // Nothing to move, or the kernel will refuse it: no range.
            None | Some(0) => Some(real()),
            Some(_) if !allowed => Some(real()),
            Some(len) => under_range(call, len, thread, frame, pinned, real),
        }
    })
}

/// Whether the number was opened for what the call does: there is a fourth access mode, which is for ioctl alone.
pub fn is_allowed(call: &Transfer, pinned: &Pinned) -> bool {
    let access = pinned.description.flags() as i32 & libc::O_ACCMODE;
    let needed = if call.write {
        libc::O_WRONLY
    } else {
        libc::O_RDONLY
    };
    access == needed || access == libc::O_RDWR
}

/// Finds out what the number stands for. None: look closer all the same.
#[inline(never)]
fn first_use(fd: i32, mode: Mode, real: &dyn Fn() -> isize) -> Option<isize> {
    match descriptors::pin(fd) {
        None => return Some(real()),
        Some(pinned) => pinned.unpin(),
    }
    unmixed(fd, mode, &real)
}

/// The frame around every call that takes a range: the description pinned, cancellation held off.
/// `body` says None when the number turned out to stand for something else; then all begins anew.
pub fn under_frame(
    fd: i32,
    cancellation_point: bool,
    real: &dyn Fn() -> isize,
    body: impl Fn(&Thread, &Frame, &Pinned) -> Option<isize>,
) -> isize {
    let Some(thread) = process::active() else {
        return real();
    };
    let mut waited = 0;
    for _ in 0..TURNS {
        let Some(frame) = call::begin(thread, cancellation_point) else {
            events::emit_uncovered(None, fd, "calls nest too deep");
            return real();
        };
        frame.waited.set(waited);
        let pinned = descriptors::pin(fd);
        let done = match &pinned {
            Some(pinned) => {
                frame.pinned.set(pinned.index);
                body(thread, frame, pinned)
            }
            None => Some(real()),
        };
        waited = frame.waited.get();
        call::end(thread, frame);
        match (done, pinned) {
            (Some(result), _) => return result,
            (None, Some(pinned)) => descriptors::forget_seen(fd, pinned.seen),
            (None, None) => {}
        }
    }
    events::emit_uncovered(None, fd, "the number stands for another file each time");
    real()
}

/// A look at what the number stands for, which holds nothing when it is over. None: it isn't fenced.
pub fn look_at<R>(fd: i32, look: impl FnOnce(&Thread, &Frame, &Pinned) -> R) -> Option<R> {
    let thread = process::active()?;
    if let Peek::Pass | Peek::Ours | Peek::Tells = words::peek(fd) {
        return None;
    }
    let frame = call::begin(thread, false)?;
    let result = descriptors::pin(fd).map(|pinned| {
        frame.pinned.set(pinned.index);
        look(thread, frame, &pinned)
    });
    call::end(thread, frame);
    result
}

/// What one look at the descriptor says about the call.
pub struct View {
    flags: u32,
    pub append: bool,
    pub direct: bool,
    /// The start, where it can be known beforehand.
    start: Option<u64>,
}

#[inline(never)]
fn view(call: &Transfer, thread: &Thread, frame: &Frame, pinned: &Pinned) -> View {
    let d = pinned.description;
    let shared = d.is_shared();
    if shared
        && let Ok(now) = raw::get_flags(call.fd)
        && !is_taken_off(d.flags(), now)
    {
        d.set_flags(now, call.fd);
    }
    let flags = d.flags();
    let wants = flags & libc::O_APPEND as u32 != 0 && call.flags & RWF_NOAPPEND == 0;
    let append = call.write && (wants || call.flags & libc::RWF_APPEND != 0);
    let start = match call.at {
        Position::At(offset) => Some(offset as u64),
        // Another process may move it: any place.
        Position::Offset if shared => None,
        Position::Offset => {
            let no_wait = call.flags & libc::RWF_NOWAIT != 0;
            if lock_offset(thread, frame, pinned, no_wait) {
                u64::try_from(raw::lseek(call.fd, 0, libc::SEEK_CUR)).ok()
            } else {
                None
            }
        }
    };
    View {
        flags,
        append,
        direct: flags & libc::O_DIRECT as u32 != 0,
        start,
    }
}

/// Take the file offset for this call. Without waiting inside another call of this thread: somebody may hold the
/// offset and wait for what that one holds.
fn lock_offset(thread: &Thread, frame: &Frame, pinned: &Pinned, no_wait: bool) -> bool {
    let (d, tid) = (pinned.description, thread.tid.get());
    let mut locked = d.lock_offset(tid, None);
    let alone = thread.outer_slots(frame.slot.get()).next().is_none();
    if !locked && alone && !no_wait {
        let wait = Wait::begin(frame, pinned.file.lock_timeout_ns());
        locked = d.lock_offset(tid, Some(wait.deadline));
        wait.end(frame);
    }
    if locked {
        frame.offset_locked.set(pinned.index);
    }
    locked
}

/// Take the range and make the call. None: the number stands for another file now.
fn under_range(
    call: &Transfer,
    len: u64,
    thread: &Thread,
    frame: &Frame,
    pinned: &Pinned,
    real: &dyn Fn() -> isize,
) -> Option<isize> {
    let terms = Terms::of(pinned.file, call.fd);
    let no_wait = call.flags & libc::RWF_NOWAIT != 0;
    let mut held = Held::Pages;
    for attempt in 0..16 {
        if attempt > 8 {
            held = Held::WholeFile;
        }
        if matches!(call.at, Position::At(offset) if offset < 0) {
            return Some(real());
        }
        let who = (thread, frame, &terms);
        let (view, under) = match attempt_at(call, len, who, pinned, &mut held, no_wait) {
            Ok(stands) => stands,
            Err(Attempt::Refused(error)) => return Some(raw::libc_result(-error as isize)),
            Err(Attempt::Replaced) => return None,
            Err(Attempt::Again) => continue,
        };
        if terms.observe || !view.direct {
            return Some(real());
        }
        match under.directly(call, &view, (thread, frame, &terms), pinned, real)? {
            Outcome::Done(n) => return Some(n),
            Outcome::Needs(more) => held = held.max(more),
        }
    }
    let reason = "the file's size would not hold still";
    events::emit_uncovered(Some(pinned.file.id()), call.fd, reason);
    Some(real())
}

/// Why an attempt to hold what a call needs has failed.
pub enum Attempt {
    Refused(i32),
    /// The number stands for another file now.
    Replaced,
    /// The file, or the descriptor, has changed meanwhile.
    Again,
}

/// Takes the range that the call touches, as far as can be known, and looks whether that was right.
#[inline(always)]
pub fn attempt_at(
    call: &Transfer,
    len: u64,
    (thread, frame, terms): (&Thread, &Frame, &Terms),
    pinned: &Pinned,
    held: &mut Held,
    no_wait: bool,
) -> Result<(View, Under), Attempt> {
    let file = pinned.file;
    let endless = file.has(BLOCK_DEVICE);
    ranges::release(frame);
    give_back::offset(frame);
    let v = view(call, thread, frame, pinned);
    // Whoever may have to move a shared offset by hand must be alone with it.
    if v.direct && v.start.is_none() && !v.append {
        *held = Held::WholeFile;
    }
    let guess = file.size_guess.load(Relaxed);
    let guess = if endless { u64::MAX } else { guess };
    let (first, last) = range_of(call.write, v.append, v.start, len, guess);
    let claim = match held {
        Held::Pages => terms.claim(mode_of(call.write, v.direct), first, last),
        Held::Units => {
            let (first, last) = in_units(first, last);
            terms.claim(mode_of(call.write, v.direct), first, last)
        }
        Held::WholeFile => terms.claim(Mode::Layout, 0, END_OF_TIME),
    };
    if let Got::Refused(error) = ranges::take(thread, frame, terms, &claim, no_wait) {
        return Err(Attempt::Refused(error));
    }
    // Under the range (P4): is it still this file, and did we guess its end and our place right? Whoever puts another
    // one at the number changes its word first, and then waits for who holds a range.
    let seen =
        descriptors::size_through(call.fd, file).filter(|_| words::still(call.fd, pinned.seen));
    let Some(seen) = seen else {
        return Err(Attempt::Replaced);
    };
    let size = if endless { u64::MAX } else { seen };
    file.size_guess.store(size, Relaxed);
    let (first, last) = range_of(call.write, v.append, v.start, len, size);
    if claim.first > first || claim.last < last || has_moved(call, &v, pinned) {
        return Err(Attempt::Again);
    }
    if call.write && last == END_OF_TIME && !endless && !terms.observe {
        beyond::clear(call.fd, file, size);
    }
    let under = Under {
        size,
        touches_from: first,
        len,
        held: *held,
        holds: (claim.first, claim.last),
    };
    Ok((v, under))
}

/// Whether somebody who shares the description has taken `O_DIRECT` off it for one request of his.
fn is_taken_off(known: u32, now: u32) -> bool {
    known & libc::O_DIRECT as u32 != 0 && now ^ known == TAKEN_OFF
}

impl Under {
    /// A direct call. Apart from `under_range`, which waits with a deep stack below it.
    #[inline(never)]
    fn directly(
        &self,
        call: &Transfer,
        v: &View,
        who: (&Thread, &Frame, &Terms),
        pinned: &Pinned,
        real: &dyn Fn() -> isize,
    ) -> Option<Outcome> {
        let request = self.request(call, v, who, pinned)?;
        Some(match call.write {
            true => match request.write(real) {
                Ok(outcome) => outcome,
                Err(again) => Outcome::Done(request.written_again(&again)),
            },
            false => request.read(real),
        })
    }

    /// The call as a direct request. None: nobody knows where it begins.
    #[inline(always)]
    pub fn request<'a>(
        &'a self,
        call: &'a Transfer,
        v: &View,
        (thread, frame, terms): (&'a Thread, &'a Frame, &'a Terms),
        pinned: &'a Pinned,
    ) -> Option<Request<'a>> {
        let position = match v.start {
            _ if v.append => self.size,
            Some(start) => start,
            None => u64::try_from(raw::lseek(call.fd, 0, libc::SEEK_CUR)).ok()?,
        };
        Some(Request {
            call,
            pinned,
            position,
            flags: v.flags,
            moves_offset: call.at == Position::Offset,
            append: v.append,
            landed: Cell::new(None),
            under: self,
            thread,
            frame,
            terms,
        })
    }
}

/// Whether the descriptor changed while we waited: its flags, its offset, or who shares it.
fn has_moved(call: &Transfer, v: &View, pinned: &Pinned) -> bool {
    let shared = pinned.description.is_shared();
    if shared && raw::get_flags(call.fd).is_ok_and(|now| now != v.flags) {
        // Under a range nobody is in that moment: he was killed in it.
        if raw::get_flags(call.fd).is_ok_and(|now| is_taken_off(v.flags, now)) {
            raw::set_flags(call.fd, v.flags);
        }
        return true;
    }
    if !shared && pinned.description.flags() != v.flags {
        return true;
    }
    match v.start {
        Some(start) if call.at == Position::Offset => {
            shared || raw::lseek(call.fd, 0, libc::SEEK_CUR) != start as isize
        }
        _ => false,
    }
}

pub(crate) fn mode_of(write: bool, direct: bool) -> Mode {
    match (direct, write) {
        (false, false) => Mode::BufferedRead,
        (false, true) => Mode::BufferedWrite,
        (true, false) => Mode::DirectRead,
        (true, true) => Mode::DirectWrite,
    }
}

/// First and last byte that the call may touch in a file of this size. Whatever may extend the file
/// begins at the last unit of the old end, because the kernel zeroes the old last block through the cache (P3).
pub(crate) fn range_of(
    write: bool,
    append: bool,
    start: Option<u64>,
    len: u64,
    size: u64,
) -> (u64, u64) {
    let end_unit = size / unit() * unit();
    if append {
        return (end_unit, END_OF_TIME);
    }
    let Some(start) = start else {
        return (0, END_OF_TIME);
    };
    let last = start.saturating_add(len - 1);
    if write && last >= size {
        (start.min(end_unit), END_OF_TIME)
    } else {
        (start, last)
    }
}

/// What a request through the cache may dirty: the folios that it touches (P6).
pub(crate) fn in_units(first: u64, last: u64) -> (u64, u64) {
    (first / unit() * unit(), last | (unit() - 1))
}

/// `lseek` moves the offset that other calls of this process read under the offset lock.
pub fn seek(fd: i32, real: impl Fn() -> i64) -> i64 {
    if words::is_ours(fd) {
        return raw::libc_result(-libc::EBADF as isize) as i64;
    }
    let locks = matches!(words::peek(fd), Peek::Description { index, .. }
        if descriptors::description(index).and_then(|d| files::get(d.file_index())).is_some_and(|f| f.locks()));
    let Some(thread) = process::active().filter(|_| locks) else {
        return real();
    };
    let Some(frame) = call::begin(thread, false) else {
        return real();
    };
    if let Some(pinned) = descriptors::pin(fd) {
        frame.pinned.set(pinned.index);
        if !pinned.description.is_shared() {
            lock_offset(thread, frame, &pinned, false);
        }
    }
    let result = real();
    call::end(thread, frame);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn range(write: bool, start: Option<u64>, append: bool, len: u64, size: u64) -> (u64, u64) {
        range_of(write, append, start, len, size)
    }

    #[test]
    fn a_call_inside_the_file_touches_its_own_bytes() {
        assert_eq!(range(true, Some(10), false, 5, MIB), (10, 14));
        assert_eq!(range(false, Some(10), false, 5, MIB), (10, 14));
        assert_eq!(range(false, Some(MIB), false, 5, MIB), (MIB, MIB + 4));
    }

    #[test]
    fn a_write_that_may_extend_begins_at_the_last_unit_of_the_old_end() {
        assert_eq!(
            range(true, Some(90 * MIB), false, 1, 5 * MIB),
            (4 * MIB, END_OF_TIME)
        );
        assert_eq!(
            range(true, Some(3 * MIB), false, 4 * MIB, 5 * MIB),
            (3 * MIB, END_OF_TIME)
        );
        assert_eq!(range(true, None, true, 1, 5 * MIB), (4 * MIB, END_OF_TIME));
    }

    #[test]
    fn an_unknown_place_is_any_place() {
        assert_eq!(range(true, None, false, 1, 5 * MIB), (0, END_OF_TIME));
    }

    #[test]
    fn the_end_of_time_does_not_overflow() {
        assert_eq!(
            range(false, Some(u64::MAX - 1), false, 100, 0),
            (u64::MAX - 1, END_OF_TIME)
        );
        assert_eq!(
            range(true, Some(7), false, MOST_OF_ALL, u64::MAX),
            (7, MOST_OF_ALL + 6)
        );
    }

    const MOST_OF_ALL: u64 = 0x7fff_f000;
}
