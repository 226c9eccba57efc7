//! The trace: a file that records are appended to, or a pipe that somebody reads them from. Writing one never waits and
//! never raises a signal in the program; what can't be written whole is dropped, counted, and said once.

use core::ffi::CStr;
use core::sync::atomic::Ordering::*;

use kernel::text::Text;

use crate::tell::counters::{self, Counter};
use crate::tell::state::state;
use crate::tell::told::{Once, first_time};
use crate::who::process::{self, Standing};

pub fn is_open() -> bool {
    state().trace.load(Relaxed) >= 0
}

/// The number of it, for which the program has no use.
pub fn number() -> Option<i32> {
    Some(state().trace.load(Acquire)).filter(|fd| *fd >= 0)
}

/// In the constructor. Err: why nothing can be written there.
pub fn open(path: &CStr) -> Result<(), &'static str> {
    let high = kernel::high::raise_fd(open_quietly(path)?);
    state()
        .trace
        .store(high.map_err(|_| "no descriptor is free for it")?, Release);
    Ok(())
}

/// Nothing else is even opened: it could make us wait, or do something.
fn open_quietly(path: &CStr) -> Result<i32, &'static str> {
    const WRONG: &str = "the trace is neither a regular file nor a pipe";
    let fits = |stat: &kernel::Stat| stat.is_regular() || stat.is_pipe();
    let there = kernel::fstatat(libc::AT_FDCWD, path.as_ptr(), 0);
    if there.is_ok_and(|stat| !fits(&stat)) {
        return Err(WRONG);
    }
    let append = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND;
    let fd = kernel::open(path, append | libc::O_NONBLOCK | libc::O_NOCTTY) as i32;
    if fd == -libc::ENXIO {
        return Err("the trace is a pipe that nobody reads");
    }
    if fd < 0 {
        return Err("the trace can't be opened for writing");
    }
    let of_kernel = kernel::filesystem_magic(fd)
        .is_some_and(|magic| policy::is_kernel_filesystem(policy::filesystem_name(magic as u64)));
    let found = kernel::fstat(fd);
    if let Ok(stat) = &found {
        let [dev, ino] = &state().trace_file;
        dev.store(stat.dev, Relaxed);
        ino.store(stat.ino, Relaxed);
    }
    match found {
        Ok(stat) if stat.is_regular() && !of_kernel => {
            state().trace_room.store(kernel::file_size_limit(), Relaxed)
        }
        Ok(stat) if stat.is_pipe() => {}
        _ => {
            kernel::close(fd);
            return Err(WRONG);
        }
    }
    Ok(fd)
}

pub fn is_at(fd: i32) -> bool {
    state().trace.load(Acquire) == fd
}

/// It has moved to another number. The old one is given up when nobody [is telling](crate::tell::stderr::is_telling).
pub fn move_to(fd: i32) {
    state().trace.store(fd, SeqCst);
}

/// Whether it is at that number.
fn is_there(fd: i32) -> bool {
    let [dev, ino] = &state().trace_file;
    kernel::fstat(fd).is_ok_and(|s| s.dev == dev.load(Relaxed) && s.ino == ino.load(Relaxed))
}

/// One record.
pub fn append(record: &[u8]) {
    let fd = state().trace.load(SeqCst);
    if fd < 0 {
        return;
    }
    if process::standing() != Standing::VforkChild || is_there(fd) {
        return append_to(fd, record);
    }
    // The child may have closed it there, and opened something else: its parent has it still.
    let path = Text::<48>::of(format_args!("/proc/{}/fd/{fd}", process::pid()));
    let append = libc::O_WRONLY | libc::O_APPEND | libc::O_NONBLOCK | libc::O_NOCTTY;
    let again = kernel::open(path.as_c_str(), append) as i32;
    if again >= 0 {
        if is_there(again) {
            append_to(again, record);
        }
        kernel::close(again);
    }
}

fn append_to(fd: i32, record: &[u8]) {
    // Half a record would spoil the next one.
    let room = state().trace_room.load(Relaxed);
    let fits = room == u64::MAX
        || kernel::fstat(fd)
            .is_ok_and(|stat| stat.size.saturating_add(record.len() as u64) <= room);
    if !fits || kernel::write_quietly(fd, record) != record.len() as isize {
        counters::count(Counter::TraceLost, 1);
        state().trace_lost.store(true, Relaxed);
    }
}

/// Whether records were lost, and nobody has been told.
pub fn loses_first() -> bool {
    state().trace_lost.load(Relaxed) && first_time(Once::TraceLost)
}
