//! Descriptor numbers: their flags, opening and closing.

use core::ffi::{CStr, c_int};

use crate::call::Raw;

pub fn get_flags(fd: c_int) -> Result<u32, i32> {
    let flags = call!(SYS_fcntl, fd, libc::F_GETFL, 0);
    if flags < 0 {
        Err(-flags as i32)
    } else {
        Ok(flags as u32)
    }
}

pub fn set_flags(fd: c_int, flags: u32) -> Raw {
    call!(SYS_fcntl, fd, libc::F_SETFL, flags)
}

/// The signal that tells of the description's readiness, which nobody is told of a file; 0: the usual one.
pub fn signal_of(fd: c_int) -> Raw {
    const F_GETSIG: c_int = 11;
    call!(SYS_fcntl, fd, F_GETSIG, 0)
}

pub fn set_signal(fd: c_int, signal: c_int) -> Raw {
    const F_SETSIG: c_int = 10;
    call!(SYS_fcntl, fd, F_SETSIG, signal)
}

pub fn set_close_on_exec(fd: c_int, on: bool) {
    let flag = if on { libc::FD_CLOEXEC } else { 0 };
    call!(SYS_fcntl, fd, libc::F_SETFD, flag);
}

pub fn is_close_on_exec(fd: c_int) -> bool {
    call!(SYS_fcntl, fd, libc::F_GETFD) & libc::FD_CLOEXEC as isize == 1
}

pub fn open(path: &CStr, flags: c_int) -> Raw {
    call!(
        SYS_openat,
        libc::AT_FDCWD,
        path.as_ptr(),
        flags | libc::O_CLOEXEC,
        0o600
    )
}

/// `path` is the program's pointer.
pub fn open_at(dir: c_int, path: *const libc::c_char, flags: c_int) -> Raw {
    call!(SYS_openat, dir, path, flags | libc::O_CLOEXEC, 0)
}

/// A file of ours that isn't there yet, for its owner alone.
pub fn make_at(dir: c_int, path: &CStr, flags: c_int) -> Raw {
    let new = libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    call!(SYS_openat, dir, path.as_ptr(), flags | new, 0o600)
}

/// A directory of ours, as the user's mask has it.
pub fn make_directory(path: &CStr) -> Raw {
    call!(SYS_mkdirat, libc::AT_FDCWD, path.as_ptr(), 0o777)
}

/// The name goes.
pub fn remove_at(dir: c_int, path: &CStr) -> Raw {
    call!(SYS_unlinkat, dir, path.as_ptr(), 0)
}

/// To look at only. `path` is the program's pointer.
pub fn open_path(dir: c_int, path: *const libc::c_char) -> Raw {
    open_at(dir, path, libc::O_PATH)
}

pub fn close(fd: c_int) {
    if fd >= 0 {
        call!(SYS_close, fd);
    }
}

/// And what it says.
pub fn close_now(fd: c_int) -> Raw {
    call!(SYS_close, fd)
}

/// The first number that the kernel won't give, nor put anything at.
pub fn number_limit() -> Option<u64> {
    crate::process::soft_limit(libc::RLIMIT_NOFILE)
}
