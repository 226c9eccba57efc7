//! The trace: a file that records are appended to, or a pipe that somebody reads them from. Writing one never waits and
//! never raises a signal in the program; what can't be written whole is dropped, counted, and said once.

use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::*};

use kernel as raw;
use lock_table::summary::Counter;

use crate::tell::counters;

static FD: AtomicI32 = AtomicI32::new(-1);
/// How long the file may become; a pipe has no end.
static ROOM: AtomicU64 = AtomicU64::new(u64::MAX);
/// A record was dropped, and this has not been said.
static LOST: AtomicBool = AtomicBool::new(false);

pub fn is_open() -> bool {
    FD.load(Relaxed) >= 0
}

/// The number of it, for which the program has no use.
pub fn number() -> Option<i32> {
    Some(FD.load(Acquire)).filter(|fd| *fd >= 0)
}

/// In the constructor. Err: why nothing can be written there.
pub fn open(path: &CStr) -> Result<(), &'static str> {
    let high = kernel::high::raise_fd(open_quietly(path)?);
    FD.store(high.map_err(|_| "no descriptor is free for it")?, Release);
    Ok(())
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

/// It has moved to another number. The old one is given up when nobody [is telling](crate::tell::stderr::is_telling).
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
        counters::count(Counter::TraceLost, 1);
        LOST.store(true, Relaxed);
    }
}

/// Whether records were lost, and nobody has been told.
pub fn loses_first() -> bool {
    static TOLD: AtomicBool = AtomicBool::new(false);
    LOST.load(Relaxed) && !TOLD.swap(true, Relaxed)
}
