//! Calls that are recorded because the policy asks for it (`trace = "all"`): what each costs is two looks at the
//! processor's counter, and stores. No system call, no mask; but for the first call on a file, whose path is written then.

use core::sync::atomic::Ordering::*;

use lock_table::FileId;
use trace::{Call, Contents, Kind, Record, Text};

use crate::tell::state::state;
use crate::tell::trace as rings;
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
#[inline]
pub fn now() -> u64 {
    state().trace.clock.now()
}

/// What the ring that is written to now calls this file, and by what that is known to be of this ring. Written there if
/// need be, for which a ring is made.
#[inline(never)]
pub fn path(id: FileId, fd: i32) -> (u32, Text) {
    let written = scratch::roomy_or_not_at_all(|| rings::name_file(id, fd));
    (rings_mark(), written.flatten().unwrap_or(Text::NONE))
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
    let Some(ring) = state().trace.at_hand() else {
        return rings::lose();
    };
    let thread = thread::current();
    let thread = rings::number_of(thread);
    let record = Record {
        file: Some((called.file.dev, called.file.ino)),
        path: called.path,
        range: called.range,
        nanoseconds: Some(called.took),
        call: Some(called.call),
        ..Record::of(Kind::Call, called.begun, process::pid(), thread)
    };
    ring.write_words(&mut record.words());
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
