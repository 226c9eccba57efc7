//! The trace: a file that records are appended to, or a pipe that somebody reads them from. Writing one never waits and
//! never raises a signal in the program; what can't be written whole is dropped, counted, and said once.

use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::*};

use lock_table::summary::Counter;

use crate::raw;
use crate::tell::events::{self, Event, Kind};
use crate::what::own;

static FD: AtomicI32 = AtomicI32::new(-1);
/// How long the file may become; a pipe has no end.
static ROOM: AtomicU64 = AtomicU64::new(u64::MAX);
/// A record was dropped, and this has not been said.
static LOST: AtomicBool = AtomicBool::new(false);

pub fn is_open() -> bool {
    FD.load(Relaxed) >= 0
}

/// In the constructor. Says why, if nothing can be written there.
pub fn open(path: &CStr) {
    let opened = open_quietly(path).map(kernel::high::raise_fd);
    match opened {
        Ok(Ok(high)) => {
            own::claim(high);
            FD.store(high, Release);
        }
        Ok(Err(_)) => not_written("no descriptor is free for it"),
        Err(reason) => not_written(reason),
    }
}

fn not_written(reason: &str) {
    events::emit(&Event {
        reason,
        done: "no trace is written; check PAGEFENCE_TRACE (or --trace)",
        ..Event::new(Kind::TraceError)
    });
}

/// Nothing else is even opened: it could make us wait, or do something.
fn open_quietly(path: &CStr) -> Result<i32, &'static str> {
    const WRONG: &str = "the trace is neither a regular file nor a pipe";
    let fits = |stat: &raw::Stat| stat.is_regular() || stat.is_pipe();
    let there = raw::fstatat(libc::AT_FDCWD, path.as_ptr(), 0);
    if there.is_ok_and(|stat| !fits(&stat)) {
        return Err(WRONG);
    }
    let append = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND;
    let fd = raw::open(path, append | libc::O_NONBLOCK | libc::O_NOCTTY) as i32;
    if fd == -libc::ENXIO {
        return Err("the trace is a pipe that nobody reads");
    }
    if fd < 0 {
        return Err("the trace can't be opened for writing");
    }
    let of_kernel = raw::filesystem_magic(fd)
        .is_some_and(|magic| policy::is_kernel_filesystem(policy::filesystem_name(magic as u64)));
    match raw::fstat(fd) {
        Ok(stat) if stat.is_regular() && !of_kernel => ROOM.store(raw::file_size_limit(), Relaxed),
        Ok(stat) if stat.is_pipe() => {}
        _ => {
            raw::close(fd);
            return Err(WRONG);
        }
    }
    Ok(fd)
}

pub fn is_at(fd: i32) -> bool {
    FD.load(Acquire) == fd
}

/// It has moved to another number. The old one is given up when nobody [is telling](events::is_telling).
pub fn move_to(fd: i32) {
    FD.store(fd, SeqCst);
}

/// One record.
pub fn append(record: &[u8]) {
    let fd = FD.load(SeqCst);
    if fd < 0 {
        return;
    }
    // Half a record would spoil the next one.
    let room = ROOM.load(Relaxed);
    let fits = room == u64::MAX
        || raw::fstat(fd).is_ok_and(|stat| stat.size.saturating_add(record.len() as u64) <= room);
    if !fits || raw::write_quietly(fd, record) != record.len() as isize {
        events::count(Counter::TraceLost, 1);
        LOST.store(true, Relaxed);
    }
}

/// After an event was told: whether records were lost.
pub fn tell_lost() {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if LOST.load(Relaxed) && !TOLD.swap(true, Relaxed) {
        events::emit(&Event {
            reason: "a record could not be written to the trace: it is full (ulimit -f, a full disk), or a pipe whose reader is slow or gone",
            done: "it and others are missing there",
            ..Event::new(Kind::TraceError)
        });
    }
}
