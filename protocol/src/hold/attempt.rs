//! Taking what a transfer needs: its range as far as that can be known beforehand, and under it the look whether that was
//! right.

use core::sync::atomic::Ordering::Relaxed;

use lock_table::{Claim, Mode};

use crate::hold::extents::{in_units, mode_of, range_of};
use crate::hold::ranges::{self, Got};
use crate::hold::slots::release;
use crate::hold::terms::{END_OF_TIME, Terms};
use crate::hold::view::{View, has_moved, view};
use crate::hold::{beyond, give_back};
use crate::what::data::Transfer;
use crate::what::descriptions::Pinned;
use crate::what::file::File;
use crate::what::{identity, words};
use crate::who::thread::{Frame, Holds, Thread};

/// What an attempt has found. With its caller, so that there is one of it: who waits stands on a small stack, perhaps.
#[derive(Default)]
pub struct Stands {
    pub view: View,
    pub under: Under,
}

/// What holds under the range.
#[derive(Default)]
pub struct Under {
    /// The end of the file, where it was looked at, and with it what stands behind the number.
    pub size: Option<u64>,
    /// From where the kernel may touch pages on behalf of this write (it zeroes a partial last block).
    pub touches_from: u64,
    /// How many bytes are asked for.
    pub len: u64,
    /// How much is held, or is to be held, beyond the pages of the range.
    pub held: Held,
    /// The first and last byte that are held.
    pub holds: (u64, u64),
}

/// How wide a range is held.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    #[default]
    Pages,
    /// Rounded out to units: a write through the cache may dirty a whole large folio (P6).
    Units,
    /// The whole file, and nobody else: `O_DIRECT` may be taken off the program's own descriptor.
    WholeFile,
}

/// Why an attempt to hold what a call needs has failed.
pub enum Attempt {
    Refused(i32),
    /// The number stands for another file now.
    Replaced,
    /// The file, or the descriptor, has changed meanwhile.
    Again,
}

/// Who looks at the file's length, and with it at what stands behind the number.
#[derive(Clone, Copy)]
pub enum Look {
    /// A write that isn't known to be in the file (P12).
    WhereNeeded,
    /// Every write, but one that ends here or before: so far the file reaches as long as the range is held, and what stands
    /// behind the number is known.
    Beyond(u64),
}

/// Takes the range that the call touches, as far as can be known, and looks whether that was right. A read needs no look
/// at the file here: what it does beside its real call, it looks for itself (`Request::size`).
#[inline(always)]
pub fn attempt_at(
    call: &Transfer,
    len: u64,
    who: (&Thread, &Frame, &Terms),
    pinned: &Pinned,
    stands: &mut Stands,
    no_wait: bool,
    look: Look,
) -> Result<(), Attempt> {
    let file = pinned.file;
    let terms = who.2;
    let Stands { view: v, under } = stands;
    first_look(call, who, pinned, (v, &mut under.held));
    let guess = guess_of(file);
    let (first, last) = range_of(call.write, v.append, v.start, len, guess);
    let own = own_bytes(call, v, len, under.held);
    let mut claim = claim(call, v.direct, terms, under.held, (first, last));
    let relies = relies(pinned, call.fd, &claim);
    let keeps = if call.write && !is_in(file, own, look) {
        let seems_in = own.filter(|_| last < guess);
        take_to_look(who, file, &mut claim, seems_in, no_wait, look)?
    } else {
        take(who, &claim, no_wait)?;
        false
    };
    let thought = Thought {
        claim,
        guess,
        own,
        look,
        keeps,
        relies,
    };
    was_right(call, len, who, pinned, stands, &thought)
}

/// What was thought before the range was held.
struct Thought {
    claim: Claim,
    guess: u64,
    own: Option<(u64, u64)>,
    look: Look,
    keeps: bool,
    relies: bool,
}

/// Under the range (P4): is it still this file, and did we guess its end and our place right? Whoever puts another one at
/// the number changes its word first, and then waits for who holds a range. Apart from its caller, below which calls wait.
#[inline(never)]
fn was_right(
    call: &Transfer,
    len: u64,
    (_, frame, terms): (&Thread, &Frame, &Terms),
    pinned: &Pinned,
    stands: &mut Stands,
    thought: &Thought,
) -> Result<(), Attempt> {
    if !words::still(call.fd, pinned.seen) {
        return Err(Attempt::Replaced);
    }
    let (file, Stands { view: v, under }) = (pinned.file, stands);
    let Thought { claim, own, .. } = thought;
    under.size = match known(call, file, *own, thought.look) {
        Some(size) => size,
        None => {
            let keeps = thought.keeps.then_some((frame, claim));
            Some(size_now(call, pinned, keeps)?)
        }
    };
    let guessed = thought.guess;
    let (first, last) = match (under.size, *own) {
        (None, Some(own)) => own,
        (size, _) => range_of(call.write, v.append, v.start, len, size.unwrap_or(guessed)),
    };
    let stand = !thought.relies || pinned.ranges_stand();
    if claim.first > first || claim.last < last || !stand || has_moved(call, v, pinned) {
        return Err(Attempt::Again);
    }
    let ends = under
        .size
        .filter(|_| last == END_OF_TIME && !terms.known.observe());
    if let Some(size) = ends {
        beyond::clear(call.fd, file, size);
    }
    under.touches_from = first;
    under.len = len;
    under.holds = (claim.first, claim.last);
    Ok(())
}

/// Whether it relies on everybody's ranges, and has said so: what may extend the file, because nobody else is to be there;
/// and any call where others only announce themselves, and give way to nobody (P10).
#[inline(always)]
fn relies(pinned: &Pinned, fd: i32, wanted: &Claim) -> bool {
    let relies = wanted.last == END_OF_TIME || pinned.file.is_direct_alone();
    if relies {
        pinned.rely_on_ranges(fd);
    }
    relies
}

/// What one look at the descriptor says, with nothing held but perhaps its offset.
#[inline(always)]
fn first_look(
    call: &Transfer,
    (thread, frame, _): (&Thread, &Frame, &Terms),
    pinned: &Pinned,
    (v, held): (&mut View, &mut Held),
) {
    release(frame);
    give_back::offset(frame);
    *v = view(call, thread, frame, pinned);
    // Whoever may have to move a shared offset by hand must be alone with it.
    if v.direct && v.start.is_none() && !v.append {
        *held = Held::WholeFile;
    }
}

/// The size when last seen.
#[inline(always)]
fn guess_of(file: &File) -> u64 {
    match file.is_block_device() {
        true => u64::MAX,
        false => file.size_guess.load(Relaxed),
    }
}

#[inline(always)]
fn take(
    (thread, frame, terms): (&Thread, &Frame, &Terms),
    claim: &Claim,
    no_wait: bool,
) -> Result<(), Attempt> {
    match ranges::take(thread, frame, terms, claim, no_wait) {
        Got::Go => Ok(()),
        Got::Refused(error) => Err(Attempt::Refused(error)),
    }
}

/// The same of a write that needs a look. If it seems to be in the file, with these bytes of its own, then to the end of its
/// unit, where that can be had at once: what is seen under it is kept, and so the writes that follow in a row need none (P12).
/// What it is then, and whether it is kept.
#[inline(never)]
fn take_to_look(
    who: (&Thread, &Frame, &Terms),
    file: &File,
    wanted: &mut Claim,
    seems_in: Option<(u64, u64)>,
    no_wait: bool,
    look: Look,
) -> Result<bool, Attempt> {
    let is_alone = matches!(look, Look::WhereNeeded) && !who.2.known.observe();
    let keeps = is_alone && file.may_be_seen();
    if let Some((first, last)) = seems_in.filter(|_| keeps) {
        let end = file.size_guess.load(Relaxed).saturating_sub(1).max(last);
        let needed = core::mem::replace(&mut wanted.last, in_units(first, last).1.min(end));
        if take(who, wanted, true).is_ok() {
            return Ok(keeps);
        }
        wanted.last = needed;
    }
    take(who, wanted, no_wait)?;
    Ok(keeps)
}

/// The bytes of a write that needs no look if they are in the file: one that does nothing but what the program asked for, at
/// a place that is known.
#[inline(always)]
fn own_bytes(call: &Transfer, v: &View, len: u64, held: Held) -> Option<(u64, u64)> {
    let is_taken_past = v.direct && v.flags & libc::O_DIRECT as u32 == 0;
    if !call.write || v.append || held != Held::Pages || is_taken_past {
        return None;
    }
    let start = v.start?;
    Some((start, start.checked_add(len - 1)?))
}

/// How long the file is, where that needs no look: not known, or so long at least. None: it does.
#[inline(always)]
fn known(call: &Transfer, file: &File, own: Option<(u64, u64)>, look: Look) -> Option<Option<u64>> {
    match look {
        _ if !call.write => Some(None),
        _ if !is_in(file, own, look) => None,
        Look::WhereNeeded => Some(None),
        Look::Beyond(end) => Some(Some(end)),
    }
}

/// Whether they are known to be.
#[inline(always)]
fn is_in(file: &File, own: Option<(u64, u64)>, look: Look) -> bool {
    own.is_some_and(|(_, last)| match look {
        Look::WhereNeeded => last < file.reaches(),
        Look::Beyond(end) => last < end,
    })
}

/// A look at what stands behind the number, and how long that is; kept under this claim, if it is held.
#[inline(never)]
fn size_now(
    call: &Transfer,
    pinned: &Pinned,
    keeps: Option<(&Frame, &Claim)>,
) -> Result<u64, Attempt> {
    let file = pinned.file;
    let seen = identity::end_through(call.fd, file).ok_or(Attempt::Replaced)?;
    file.size_guess.store(seen, Relaxed);
    if let Some((_, claim)) = keeps.filter(|(frame, _)| frame.holds.get() == Holds::Alone) {
        file.was_seen(seen, claim.last);
    }
    Ok(seen)
}

/// As wide as it is to be held.
#[inline(always)]
fn claim(
    call: &Transfer,
    direct: bool,
    terms: &Terms,
    held: Held,
    (first, last): (u64, u64),
) -> Claim {
    let mode = mode_of(call.write, direct);
    match held {
        Held::Pages => terms.claim(mode, first, last),
        Held::Units => {
            let (first, last) = in_units(first, last);
            terms.claim(mode, first, last)
        }
        Held::WholeFile => terms.claim(Mode::Layout, 0, END_OF_TIME),
    }
}
