//! Calls that are recorded because the policy asks for it (`trace = "all"`): what each costs is two looks at the
//! processor's counter, and stores. No system call, no mask; but for the first call on a file, whose path is written then.

use core::num::NonZeroU32;
use core::sync::atomic::Ordering::*;

use kernel::Moment;
use lock_table::FileId;
use trace::{Call, Contents, Kind, Record, Ring, Text};

use crate::tell::state::state;
use crate::tell::trace as rings;
use crate::who::lane::Recorded;
use crate::who::thread::Thread;
use crate::who::{process, scratch, thread};

/// A call that has ended.
pub struct Called {
    pub file: FileId,
    pub path: Text,
    pub call: Call,
    pub range: Option<(u64, u64)>,
    /// When it began, and how long it took: nanoseconds.
    pub begun: u64,
    pub took: u64,
}

/// The time, by the clock that records have.
#[inline(always)]
pub fn now() -> Moment {
    state().trace.clock.moment()
}

/// How long ago that was, in nanoseconds.
#[inline(always)]
pub fn since(began: Moment) -> u64 {
    state().trace.clock.since(began)
}

/// What the ring that is written to now calls this file, and by what that is known to be of this ring. Written there if
/// need be, for which a ring is made.
#[inline(never)]
pub fn path(id: FileId, fd: i32) -> (u32, Text) {
    let written = scratch::roomy_or_not_at_all(|| rings::name_file(id, fd));
    (rings_mark(), written.flatten().unwrap_or(Text::NONE))
}

/// Where calls on the file are recorded for as long as the process lives: it has a ring of its own, which knows the file
/// (see [`path`] for what it is `called`). None: that isn't so yet.
#[inline(never)]
pub fn place(file: FileId, called: u64) -> Option<Recorded> {
    let (path, mark) = (called as u32, (called >> 32) as u32);
    let is_of_ring = mark == rings_mark() && rings::has_own();
    let ring = NonZeroU32::new(mark).filter(|_| is_of_ring)?;
    Some(Recorded {
        file,
        ring,
        path: Text::from_number(path),
    })
}

/// Of one ring and one process; 0: there is no ring.
#[inline]
pub fn rings_mark() -> u32 {
    match state().trace.ring.load(Acquire) {
        0 => 0,
        at => (at >> 12) as u32 ^ process::pid(),
    }
}

/// Apart from who tells: a record takes room on the stack.
#[inline(never)]
pub fn tell(called: &Called) {
    match state().trace.at_hand() {
        Some(ring) => write(ring, thread::current(), called),
        None => rings::lose(),
    }
}

/// The same for who has found out before where that is, and has room. (The child of a handler's fork may have a ring that
/// doesn't know the file.)
#[inline(always)]
pub fn tell_again(thread: &Thread, recorded: &Recorded, called: Called) {
    let path = match recorded.ring.get() == rings_mark() {
        true => recorded.path,
        false => Text::NONE,
    };
    match state().trace.at_hand() {
        Some(ring) => write(ring, thread, &Called { path, ..called }),
        None => rings::lose(),
    }
}

#[inline(always)]
fn write(ring: Ring, thread: &Thread, called: &Called) {
    let record = Record {
        file: Some((called.file.dev, called.file.ino)),
        path: called.path,
        range: called.range,
        nanoseconds: Some(called.took),
        call: Some(called.call),
        ..Record::of(
            Kind::Call,
            called.begun,
            process::pid(),
            rings::number_of(thread),
        )
    };
    ring.write_here(&mut record.words());
}

/// Of a call that has begun then: what it moves.
#[inline(never)]
pub fn tell_contents(
    (file, path): (FileId, Text),
    begun: u64,
    range: Option<(u64, u64)>,
    contents: &Contents,
) {
    let Some(ring) = state().trace.at_hand() else {
        return rings::lose();
    };
    let thread = rings::number_of(thread::current());
    let record = Record {
        file: Some((file.dev, file.ino)),
        path,
        range,
        contents: Some(*contents),
        ..Record::of(Kind::Contents, begun, process::pid(), thread)
    };
    ring.write_words(&mut record.words());
}
