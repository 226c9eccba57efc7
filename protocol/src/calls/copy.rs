//! copy_file_range: what it reads and what it writes are held together (see `together`), the source as a buffered read, the
//! destination as a change of layout, because the kernel may share blocks instead of copying bytes.

use core::cell::Cell;

use lock_table::Mode;
use trace::What;

use crate::calls::piece::{Copy, Made, One, Piece, moved_to, place};
use crate::calls::recorded::Recording;
use crate::calls::{contents, past, range, recorded};
use crate::hold::unmixed::unmixed_apart;
use crate::what::data::MOST;
use crate::what::descriptors;
use crate::who::process;
use crate::who::thread::Thread;

/// `piece` is the real call.
#[inline(never)]
pub fn copy(c: &Copy, piece: Piece) -> isize {
    match process::may_record() {
        true => told(c, piece),
        false => made(c, piece),
    }
}

/// Apart from its caller: who isn't recorded needs no room for that.
#[inline(never)]
fn told(c: &Copy, piece: Piece) -> isize {
    let (from, to) = (recorded::begin(c.from), recorded::begin(c.to));
    if from.is_none() && to.is_none() {
        return made(c, piece);
    }
    // Where it begins: it may move what says so.
    let places = (place(c.from, c.at), place(c.to, c.into));
    if let Some(to) = to.as_ref().and_then(Recording::summed) {
        let mode = range::mode_of(true, to.is_direct);
        let reach = places
            .1
            .map(|first| (first, first.saturating_add((c.len as u64).max(1) - 1)));
        contents::announce(&to, (What::Copy, mode), reach);
    }
    let n = made(c, piece);
    let sides = [(from, places.0, false), (to, places.1, true)];
    for (recording, place, write) in sides {
        let Some(recording) = recording else { continue };
        let len = if n > 0 { n as u64 } else { c.len as u64 };
        let range = place.map(|first| (first, first.saturating_add(len.saturating_sub(1))));
        let mode = range::mode_of(write, recording.is_direct);
        recording.ended().tell(What::Copy, mode, range, n);
    }
    n
}

#[inline(never)]
fn made(c: &Copy, piece: Piece) -> isize {
    let asked = || piece(c.from, c.at, c.to, c.into, c.len);
    let Some(thread) = process::active() else {
        return asked();
    };
    let fenced = [c.from, c.to].map(is_fenced);
    if fenced == [false; 2] || c.len == 0 {
        return asked();
    }
    let past = past::is_copied(c);
    if past && let Some(n) = past::copy(c, thread, piece) {
        return n;
    }
    if !past && let Some(n) = both_unmixed(c.from, (c.to, Mode::Layout), &asked) {
        return n;
    }
    let places = (place(c.from, c.at), place(c.to, c.into));
    let (Some(at), Some(into)) = places else {
        return asked(); // the kernel says why not
    };
    in_pieces(c, (at, into), thread, piece, &asked)
}

/// Finds out what the number stands for.
#[inline(never)]
pub(super) fn is_fenced(fd: i32) -> bool {
    descriptors::pin(fd).map(|pinned| pinned.unpin()).is_some()
}

/// Both files in one mode, or not fenced: say in the table what the call does, without waiting, and make it. None: one is
/// mixed.
#[inline(never)]
pub(super) fn both_unmixed(
    from: i32,
    (to, mode): (i32, Mode),
    real: &dyn Fn() -> isize,
) -> Option<isize> {
    let mixed = Cell::new(false);
    let inner = || {
        unmixed_apart::<true>(to, mode, real).unwrap_or_else(|_| {
            mixed.set(true);
            0
        })
    };
    unmixed_apart::<true>(from, Mode::BufferedRead, &inner)
        .ok()
        .filter(|_| !mixed.get())
}

/// Apart from its caller, as `make` is from its own: below both a wait goes deep.
#[inline(never)]
fn in_pieces(
    c: &Copy,
    (at, into): (u64, u64),
    thread: &Thread,
    piece: Piece,
    asked: &dyn Fn() -> isize,
) -> isize {
    let len = (c.len as u64).min(MOST);
    let (mut done, mut waited) = (0, 0);
    while done < len {
        let one = One {
            numbers: [c.from, c.to],
            places: [at.saturating_add(done), into.saturating_add(done)],
            len: len - done,
            done,
        };
        let (n, asked_for) = match one.under_frames(thread, &mut waited, piece) {
            Made::Copied(n, asked_for) => (n, asked_for),
            // Not begun, and for the kernel to refuse.
            Made::AsAsked if done == 0 => return asked(),
            Made::AsAsked => break,
        };
        if n <= 0 {
            if done == 0 {
                return n;
            }
            break;
        }
        done = done.saturating_add(n as u64);
        if (n as u64) < asked_for {
            break;
        }
    }
    let moved = moved_to(c.from, c.at, at.saturating_add(done)).and(moved_to(
        c.to,
        c.into,
        into.saturating_add(done),
    ));
    match moved {
        Ok(()) => done as isize,
        Err(error) => kernel::libc_result(-error as isize),
    }
}
