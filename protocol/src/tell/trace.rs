//! The trace: a folder with a ring for each process. Ours is made at the first record, or before the process gives up what
//! that takes. A forked child makes its own; until then, and where it can't (a sandbox, another root), it writes to its
//! parent's: a record says whose it is. A child that has our memory (vfork) writes to ours.
//!
//! What can't be written is lost, counted and said once. The program's own calls never wait for it, nor fail.

use core::ffi::CStr;
use core::sync::atomic::Ordering::*;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use kernel::text::Text;
use lock_table::FileId;
use rustix::io::Errno;
use trace::{Alone, Other, Record, Ring};

use crate::tell::counters::{self, Counter};
use crate::tell::ring::{MAKING, NONE, Numbers, OWN, Trace};
use crate::tell::state::state;
use crate::tell::told::{Once, first_time};
use crate::tell::vocabulary::{Event, Kind};
use crate::who::process::{self, Standing};
use crate::who::registry::{self, Registry};
use crate::who::thread::Thread;
use crate::who::{scratch, thread};

/// How long a disk that is full isn't tried again, in nanoseconds.
const PAUSE: u64 = 1_000_000_000;
/// How long somebody who makes the ring is waited for, in milliseconds.
const PATIENCE: u32 = 1000;

pub fn is_on() -> bool {
    state().trace.folder.get().is_some()
}

/// In the constructor. Err: why nothing can be written there.
pub fn open(path: &CStr) -> Result<(), &'static str> {
    let there = kernel::fstatat(libc::AT_FDCWD, path.as_ptr(), 0);
    match there {
        Ok(stat) if stat.is_directory() => {}
        Ok(stat) if stat.is_regular() => {
            return Err(
                "a trace is a folder, and a file stands there: remove it, or name another place",
            );
        }
        Ok(_) => return Err("a trace is a folder, and something else stands there"),
        Err(_) if kernel::make_directory(path) == 0 => {}
        // Another process of the run may have made it meanwhile.
        Err(_) if kernel::fstatat(libc::AT_FDCWD, path.as_ptr(), 0).is_ok() => {}
        Err(_) => return Err("the trace's folder can't be made there"),
    }
    let filesystem = kernel::filesystem_magic_at(path).unwrap_or(0) as u64;
    if policy::copies_on_write(policy::filesystem_name(filesystem)) {
        return Err(
            "a trace can't lie on btrfs or another filesystem that copies on write: where such a disk fills up, a store to a \
             mapped file kills the program: name a folder elsewhere, as in /dev/shm",
        );
    }
    let path = std::ffi::OsStr::from_bytes(path.to_bytes());
    // The program may change its directory.
    let absolute = std::path::absolute(path).map_err(|_| "the current directory isn't known")?;
    let absolute = CString::new(absolute.as_os_str().as_bytes());
    let _ = (state().trace.folder).set(Box::new(absolute.map_err(|_| "it holds a NUL byte")?));
    Ok(())
}

/// In the constructor, before the first ring: what calls move will be recorded.
pub fn has_room_for_contents() {
    state().trace.is_roomy.store(true, Relaxed);
}

/// In the constructor: how numbers are taken, once there is who knows them.
pub fn takes_numbers_by(numbers: &'static Numbers) {
    let _ = state().trace.numbers.set(numbers);
}

/// Whether the ring is ours: no other takes its place.
pub(super) fn has_own() -> bool {
    state().trace.stage.load(Acquire) == OWN
}

/// Before the process gives up what it takes to make a ring.
pub fn prepare() {
    if is_on() && state().trace.at_hand().is_none() {
        scratch::roomy_or_not_at_all(ring);
    }
}

/// In a forked child: what there is, is its parent's.
pub fn is_inherited() {
    let trace = &state().trace;
    trace.stage.store(NONE, Relaxed);
    trace.again_at.store(0, Relaxed);
    trace.lost.store(0, Relaxed);
    trace.clock.forget_in_child();
}

/// Whether a ring of ours is mapped at that address.
pub fn is_at(address: usize) -> bool {
    let trace = &state().trace;
    [&trace.ring, &trace.of_parent].iter().any(|ring| {
        let at = ring.load(Acquire);
        at != 0 && address.wrapping_sub(at) < trace.shape().bytes()
    })
}

/// The ring, made if need be. Where there is room, with signals blocked.
fn ring() -> Option<Ring> {
    let trace = &state().trace;
    let folder = trace.folder.get()?;
    if trace.stage.load(Acquire) == OWN || kernel::now_ns() < trace.again_at.load(Relaxed) {
        return trace.at_hand();
    }
    match trace.stage.compare_exchange(NONE, MAKING, AcqRel, Acquire) {
        Ok(_) => make(trace, folder),
        Err(OWN) => {}
        Err(_) if trace.at_hand().is_none() => await_maker(trace),
        Err(_) => {}
    }
    trace.at_hand()
}

/// Apart: the name of a program takes room.
#[cold]
#[inline(never)]
fn make(trace: &Trace, folder: &CStr) {
    let mut room = [0u8; kernel::NAME];
    let program = process::program_in(&mut room);
    let numbers = StandStill::now();
    let owner = (process::pid(), program);
    let mut ring = || Ring::make(folder, owner, trace.shape(), &numbers);
    let made = match ring() {
        // The program has taken all numbers.
        Err(Errno::MFILE) => kernel::high::beyond_the_limit(&mut ring).unwrap_or(Err(Errno::MFILE)),
        made => made,
    };
    drop(numbers);
    match made {
        Ok(ring) => {
            ring.dropped(trace.lost.load(Relaxed));
            let before = trace.ring.swap(ring.address(), AcqRel);
            trace.of_parent.store(before, Release);
            trace.stage.store(OWN, Release);
        }
        Err(error) => {
            trace.why.store(error.raw_os_error(), Relaxed);
            let again_at = kernel::now_ns().saturating_add(PAUSE);
            trace.again_at.store(again_at, Relaxed);
            trace.stage.store(NONE, Release);
        }
    }
}

/// While a ring is made: the program can put nothing else at the numbers that this takes, or would have its file made the
/// ring. (A child that has our memory has numbers of its own.)
struct StandStill(Option<(Registry, &'static Numbers)>);

impl StandStill {
    fn now() -> StandStill {
        let numbers = state().trace.numbers.get();
        let shared = process::standing() != Standing::VforkChild;
        let numbers = numbers.filter(|_| shared);
        StandStill(numbers.map(|numbers| (registry::lock_or_go_on(), numbers)))
    }
}

impl trace::Numbers for StandStill {
    fn settle(&self, opened: i32) -> Result<i32, Errno> {
        match &self.0 {
            Some((registry, numbers)) => (numbers.settle)(opened, registry).ok_or(Errno::BUSY),
            None => Alone.settle(opened),
        }
    }
    fn give_up(&self, number: i32) {
        match &self.0 {
            Some((registry, numbers)) => (numbers.give_up)(number, registry),
            None => Alone.give_up(number),
        }
    }
}

/// Another thread makes it, or a child of ours that may have been killed in the midst of that.
#[cold]
fn await_maker(trace: &Trace) {
    for _ in 0..PATIENCE {
        if trace.stage.load(Acquire) != MAKING {
            return;
        }
        kernel::sleep_ms(1);
    }
    let _ = trace.stage.compare_exchange(MAKING, NONE, AcqRel, Relaxed);
}

/// Whether the ring knows already by which path the file was met, if it is one; which path.
fn path_in(ring: Ring, event: &Event) -> Option<trace::Text> {
    let known = || event.file.and_then(|id| ring.path_of((id.dev, id.ino)));
    match event.fd {
        // The number leads to it.
        0.. if event.kind == Kind::Mixed => None,
        0.. => known(),
        _ => Some(known().unwrap_or(trace::Text::NONE)),
    }
}

/// Whether writing it takes no look at the path.
pub fn knows(event: &Event) -> bool {
    let ring = state().trace.at_hand();
    ring.is_some_and(|ring| path_in(ring, event).is_some())
}

/// Writes it if that takes no system call. Whether it is written. Apart from who tells: a record takes room on the stack.
#[inline(never)]
pub fn write_at_once(event: &Event) -> bool {
    let Some(ring) = state().trace.at_hand().filter(|_| has_own()) else {
        return false;
    };
    let Some(path) = path_in(ring, event) else {
        return false;
    };
    put(ring, event, path);
    true
}

/// Writes it; the path may be empty if the ring [knows](knows) it. Where there is room, with signals blocked.
pub fn write(event: &Event, path: &[u8]) {
    if !is_on() {
        return;
    }
    let Some(ring) = ring() else {
        return lose();
    };
    let path = match path {
        [] => path_in(ring, event).unwrap_or(trace::Text::NONE),
        path => {
            let text = ring.text(path);
            if let Some(id) = event.file {
                ring.is_called((id.dev, id.ino), text);
            }
            text
        }
    };
    put(ring, event, path);
}

/// A child that has our memory is another one.
#[inline(always)]
pub(super) fn number_of(thread: &Thread) -> u32 {
    match thread.after_vfork.get() {
        0 => thread.tid.get(),
        _ => kernel::gettid().unwrap_or(0),
    }
}

/// What the ring calls the file behind a number, of which it is told if need be. Where there is room, with signals blocked.
pub(super) fn name_file(id: FileId, fd: i32) -> Option<trace::Text> {
    let (ring, file) = (ring()?, (id.dev, id.ino));
    if let Some(known) = ring.path_of(file) {
        return Some(known);
    }
    let mut buffer = [0u8; 1024];
    let text = ring.text(kernel::path_of(fd, &mut buffer));
    ring.is_called(file, text);
    Some(text)
}

fn put(ring: Ring, event: &Event, path: trace::Text) {
    let texts = [
        event.mode,
        event.other_mode,
        event.reason,
        event.done,
        event.hint,
    ];
    let [mode, other_mode, reason, done, hint] = texts.map(|text| ring.text(text.as_bytes()));
    let thread = thread::current();
    let record = Record {
        time: kernel::now_ns(),
        process: process::pid(),
        thread: number_of(thread),
        kind: event.kind.in_trace(),
        file: event.file.map(|id| (id.dev, id.ino)),
        path,
        range: event.range,
        mode,
        other: event.other.map(|other| Other {
            process: other.pid,
            program: other.comm,
            mode: other_mode,
        }),
        reason,
        done,
        hint,
        nanoseconds: event.nanoseconds,
        call: None,
        contents: None,
    };
    ring.write_words(&mut record.words());
}

/// A record that can't be written.
pub fn lose() {
    if !is_on() {
        return;
    }
    counters::count(Counter::TraceLost, 1);
    match state().trace.at_hand() {
        Some(ring) => ring.dropped(1),
        None => {
            state().trace.lost.fetch_add(1, Relaxed);
        }
    }
}

/// Whether records were lost, and nobody has been told.
pub fn loses_first() -> bool {
    let trace = &state().trace;
    let loses = trace.lost.load(Relaxed) != 0 && trace.at_hand().is_none();
    loses && first_time(Once::TraceLost)
}

/// And why.
pub fn why_lost() -> Text<160> {
    let why = Why(state().trace.why.load(Relaxed));
    Text::of(format_args!(
        "no ring can be made in the trace's folder: {why}"
    ))
}

/// The kernel's errors, as far as there is something to do about them.
struct Why(i32);

impl core::fmt::Display for Why {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let said = match self.0 {
            libc::ENOSPC | libc::EDQUOT => "the disk is full",
            libc::EFBIG => "files may not be so long (RLIMIT_FSIZE, ulimit -f)",
            libc::EACCES | libc::EPERM => "it may not be written to",
            libc::EROFS => "its filesystem is read-only",
            libc::ENOENT | libc::ENOTDIR => "it is gone",
            libc::ENOMEM => "no memory is left (ulimit -v?)",
            libc::EMFILE | libc::ENFILE => "no descriptor is free",
            libc::ENOSYS => "a sandbox doesn't allow it",
            error => return write!(out, "error {error}"),
        };
        out.write_str(said)
    }
}
