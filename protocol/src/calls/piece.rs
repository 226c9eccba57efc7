//! A part of a copy: what is read and what is written held together, and the call made.
//!
//! A direct descriptor's side goes through the page cache, by the second descriptor: the kernel would do a part of it past
//! the cache and a part through it. What was written so is on the device when the call returns, as if it had gone directly.

use core::sync::atomic::Ordering::Relaxed;

use lock_table::{Mode, USE_BUFFERED};

use crate::calls::layout::Change;
use crate::direct::alignment::alignment;
use crate::direct::second::{self, InHand};
use crate::direct::writeback::owe;
use crate::hold::ranges::Got;
use crate::hold::slots::release;
use crate::hold::terms::END_OF_TIME;
use crate::hold::together::{Part, take_both};
use crate::hold::{beyond, call};
use crate::tell::events;
use crate::what::descriptions::Pinned;
use crate::what::descriptors;
use crate::what::identity::size_through;
use crate::what::seconds::For;
use crate::what::words;
use crate::who::due;
use crate::who::thread::{Frame, Thread};

/// The call with other numbers, places and length: as libc gives it.
pub type Piece<'a> = &'a dyn Fn(i32, *mut i64, i32, *mut i64, usize) -> isize;

/// How much is copied under one hold: others get in between.
const PIECE: u64 = 16 << 20;

/// One copy_file_range, as the program asked for it; a null place: at the file offset, which moves.
pub struct Copy {
    pub from: i32,
    pub at: *mut i64,
    pub to: i32,
    pub into: *mut i64,
    pub len: usize,
}

/// Where one side begins. None: nobody can say.
pub(super) fn place(fd: i32, given: *mut i64) -> Option<u64> {
    let at = match given.is_null() {
        true => kernel::lseek(fd, 0, libc::SEEK_CUR) as i64,
        false => {
            let mut at = [0i64];
            kernel::copy_from_program(given, &mut at).ok()?;
            at[0]
        }
    };
    u64::try_from(at).ok()
}

/// Where one side has come to.
pub(super) fn moved_to(fd: i32, given: *mut i64, at: u64) -> Result<(), i32> {
    match given.is_null() {
        true => {
            kernel::lseek(fd, at as i64, libc::SEEK_SET);
            Ok(())
        }
        false => kernel::copy_to_program(&[at as i64], given),
    }
}

/// A part of a copy, under one hold.
pub struct One {
    /// From and to, as in all pairs below.
    pub numbers: [i32; 2],
    pub places: [u64; 2],
    /// What is left.
    pub len: u64,
    /// What is done already.
    pub done: u64,
}

pub enum Made {
    /// So many bytes, of so many that were asked for.
    Copied(isize, u64),
    /// The kernel should hear it as the program has said it.
    AsAsked,
}

impl One {
    pub fn under_frames(&self, thread: &Thread, waited: &mut u64, piece: Piece) -> Made {
        for _ in 0..descriptors::TURNS {
            let Some(frame) = call::begin(thread, true) else {
                break;
            };
            frame.waited.set(*waited);
            let made = match call::begin_within(thread) {
                Some(other) => {
                    let made = self.pinned(thread, [frame, other], piece);
                    call::end(thread, other);
                    made
                }
                None => None,
            };
            *waited = frame.waited.get();
            call::end(thread, frame);
            if let Some(made) = made {
                return made;
            }
        }
        events::emit_uncovered(
            None,
            self.numbers[1],
            "copy_file_range: calls nest too deep",
        );
        Made::AsAsked
    }

    /// None: a number stands for something else by now.
    fn pinned(&self, thread: &Thread, frames: [&Frame; 2], piece: Piece) -> Option<Made> {
        let sides = [
            descriptors::pin(self.numbers[0]),
            descriptors::pin(self.numbers[1]),
        ];
        for (frame, side) in frames.iter().zip(&sides) {
            frame.pinned.set(side.as_ref().map_or(0, |side| side.index));
        }
        let [from, to] = &sides;
        // What the kernel refuses, it refuses as the program has said it: we'd go another way.
        let access = |side: &Pinned| side.description.flags() as i32;
        let reads = from
            .as_ref()
            .is_none_or(|s| access(s) & libc::O_ACCMODE != libc::O_WRONLY);
        let writes = to.as_ref().is_none_or(|s| {
            access(s) & libc::O_ACCMODE != libc::O_RDONLY && access(s) & libc::O_APPEND == 0
        });
        if !reads || !writes {
            return Some(Made::AsAsked);
        }
        for (side, number) in sides.iter().zip(self.numbers) {
            if let Some(side) = side.as_ref().filter(|side| is_direct(side)) {
                side.file
                    .add_lasting_use(side.file_index, USE_BUFFERED, number);
                due::look_if_due();
            }
        }
        self.held(thread, frames, &sides, piece)
    }

    fn held(
        &self,
        thread: &Thread,
        frames: [&Frame; 2],
        sides: &[Option<Pinned>; 2],
        piece: Piece,
    ) -> Option<Made> {
        let [from, to] = sides;
        let len = self.one_hold(from, to);
        for _ in 0..16 {
            let guess = to.as_ref().map_or(0, |to| to.file.size_guess.load(Relaxed));
            let span = self.span(len, guess);
            let parts = [
                from.as_ref().map(|side| {
                    part(
                        frames[0],
                        side,
                        self.numbers[0],
                        reading(side),
                        self.source(len),
                    )
                }),
                to.as_ref()
                    .map(|side| part(frames[1], side, self.numbers[1], Mode::Layout, span)),
            ];
            if let Got::Refused(error) = take(thread, &parts) {
                return Some(Made::Copied(kernel::libc_result(-error as isize), len));
            }
            for (side, number) in sides.iter().zip(self.numbers) {
                if let Some(side) = side
                    && !words::still(number, side.seen)
                {
                    return None;
                }
            }
            if let Some(side) = to {
                let size = size_through(self.numbers[1], side.file)?;
                side.file.size_guess.store(size, Relaxed);
                let (first, last) = self.span(len, size);
                if first < span.0 || last > span.1 {
                    frames.into_iter().for_each(release);
                    continue;
                }
                if self.places[1].saturating_add(len) > size && !observes(side) {
                    beyond::clear(self.numbers[1], side.file, size);
                }
            }
            let n = self.make(frames, sides, len, piece);
            return Some(Made::Copied(n, len));
        }
        events::emit_uncovered(
            None,
            self.numbers[1],
            "the file's size would not hold still",
        );
        Some(Made::Copied(self.make(frames, sides, len, piece), len))
    }

    /// How much at a time. All that was asked for where that must be in one piece: within one file, where the kernel
    /// refuses ranges that overlap, and under `isolation = "atomic"`.
    fn one_hold(&self, from: &Option<Pinned>, to: &Option<Pinned>) -> u64 {
        let same = match (from, to) {
            (Some(from), Some(to)) => from.file_index == to.file_index,
            _ => false,
        };
        let atomic = [from, to]
            .into_iter()
            .flatten()
            .any(|s| s.file.settings().atomic());
        if same || atomic {
            self.len
        } else {
            self.len.min(PIECE)
        }
    }

    fn source(&self, len: u64) -> (u64, u64) {
        let at = self.places[0];
        (at, at.saturating_add(len - 1))
    }

    /// First and last byte that may change in a destination of this size.
    fn span(&self, len: u64, size: u64) -> (u64, u64) {
        let (Ok(offset), Ok(len)) = (i64::try_from(self.places[1]), i64::try_from(len)) else {
            return (0, END_OF_TIME);
        };
        let mode = 0;
        Change::Allocate { mode, offset, len }.range(size)
    }

    /// The call, with second descriptors in the place of direct ones.
    #[inline(never)]
    fn make(
        &self,
        frames: [&Frame; 2],
        sides: &[Option<Pinned>; 2],
        len: u64,
        piece: Piece,
    ) -> isize {
        let [from, to] = sides;
        let ([from_frame, to_frame], [from_number, to_number], [at, into]) =
            (frames, self.numbers, self.places);
        let read = from
            .as_ref()
            .and_then(|side| self.cached(from_frame, side, from_number, (at, For::Reading)));
        let write = to
            .as_ref()
            .and_then(|side| self.cached(to_frame, side, to_number, (into, For::Writing)));
        let [mut at, mut into] = self.places.map(|place| place as i64);
        let (at, into) = (&raw mut at, &raw mut into);
        let n = through(&read, from_number, |from| {
            through(&write, to_number, |to| {
                piece(from, at, to, into, len as usize)
            })
        });
        let errno = kernel::errno();
        if let Some(write) = &write
            && n > 0
        {
            // As if it had gone directly: on the device when the call returns.
            let synced = write.act(|fd| kernel::sync_range(fd, self.places[1], n as u64));
            owe(write.file, synced);
        }
        read.into_iter().chain(write).for_each(InHand::done);
        kernel::set_errno(errno);
        n
    }

    /// The second descriptor, for a direct one.
    fn cached<'a>(
        &self,
        frame: &'a Frame,
        side: &'a Pinned,
        number: i32,
        (place, purpose): (u64, For),
    ) -> Option<InHand<'a>> {
        // What isn't aligned the kernel refuses, or does through the cache by itself.
        let unit = alignment(side.file, number).offset.max(1);
        let is_aligned = place.is_multiple_of(unit) && self.len >= unit;
        if !is_direct(side) || observes(side) || !is_aligned {
            return None;
        }
        let second = second::borrow(frame, side.file, number, purpose);
        let what = "copy_file_range with a direct descriptor, where the library can't open the file once more";
        if second.is_none() && side.file.is_news(what) && self.done == 0 {
            events::emit_uncovered(Some(side.file.id()), number, what);
        }
        second
    }
}

fn part<'a>(frame: &'a Frame, side: &Pinned, fd: i32, mode: Mode, range: (u64, u64)) -> Part<'a> {
    Part {
        frame,
        file: side.file,
        fd,
        mode,
        range,
    }
}

/// Without a second descriptor it goes directly.
fn reading(side: &Pinned) -> Mode {
    match is_direct(side) {
        true => Mode::DirectRead,
        false => Mode::BufferedRead,
    }
}

fn is_direct(side: &Pinned) -> bool {
    side.description.has(libc::O_DIRECT)
}

fn observes(side: &Pinned) -> bool {
    side.file.settings().observe()
}

/// What is fenced of the two.
#[inline(never)]
fn take(thread: &Thread, parts: &[Option<Part>; 2]) -> Got {
    match parts {
        [Some(one), Some(other)] => take_both(thread, [one, other]),
        [Some(part), None] | [None, Some(part)] => part.take(thread),
        [None, None] => Got::Go,
    }
}

/// By the second descriptor, if there is one.
fn through(second: &Option<InHand>, fd: i32, call: impl Fn(i32) -> isize) -> isize {
    let Some(second) = second else {
        return call(fd);
    };
    // `act` may say an error of its own, as the kernel does.
    match second.act(|fd| match call(fd) {
        -1 => -(kernel::errno() as isize),
        n => n,
    }) {
        n if n < 0 => kernel::libc_result(n),
        n => n,
    }
}
