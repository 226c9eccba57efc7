//! Streams and other functions of libc's that make numbers by themselves.

use super::streams;
use crate::table::{close, fdopen, open};
use core::ffi::{CStr, c_char, c_int};
use libc::{FILE, O_CLOEXEC, O_CREAT, O_RDWR, O_TRUNC, O_WRONLY};
use protocol::calls::layout::{stream_is_refused, truncating_stream};
use protocol::calls::numbers::{made_elsewhere, made_other, making};

/// The number behind a stream; -1: none.
pub fn number(stream: *mut FILE) -> c_int {
    // SAFETY: a stream that the program is about to use or has just been given.
    if stream.is_null() {
        -1
    } else {
        unsafe { libc::fileno(stream) }
    }
}

/// A call that makes a number, or several, and says -1 when it can't.
pub fn number_by(real: impl Fn() -> c_int) -> c_int {
    making(real, |result| *result == -1)
}

/// One that makes something with a number, and says null when it can't.
pub fn by<T>(real: impl Fn() -> *mut T) -> *mut T {
    making(real, |made| made.is_null())
}

/// There is a stream on a number.
pub fn streamed(stream: *mut FILE) -> *mut FILE {
    let fd = made_elsewhere(number(stream));
    streamed_on(fd);
    stream
}

/// What libc reads and writes through a stream can't be hooked by name.
pub fn streamed_on(fd: c_int) {
    if fd >= 0 && protocol::calls::numbers::may_be_fenced(fd) && !streams::cover() {
        protocol::calls::numbers::streamed(fd);
    }
}

/// What libc prints to a number, by a stream of its own or not.
pub fn printed_on(fd: c_int) {
    if fd < 0 || !protocol::calls::numbers::may_be_fenced(fd) {
        return;
    }
    if !streams::cover() || !streams::are_printed_by() {
        protocol::calls::numbers::streamed(fd);
    }
}

/// A stream is closed, and by that its number.
pub fn closing(stream: *mut FILE, real: impl Fn() -> c_int) -> c_int {
    match streams::are_covered() {
        // Its last bytes are written before, as any are.
        true => real(),
        false => protocol::calls::numbers::closing_elsewhere(number(stream), real),
    }
}

/// Opening for writing empties the file.
pub fn opening(
    path: *const c_char,
    mode: *const c_char,
    real: impl Fn() -> *mut FILE,
) -> *mut FILE {
    if !path.is_null() && stream_is_refused(path) {
        return core::ptr::null_mut();
    }
    // SAFETY: the mode is a C string that libc is about to read too.
    let letters = unsafe { CStr::from_ptr(mode) }.to_bytes();
    // Not if it must be new. (libc looks at no more letters.)
    let is_new = letters.iter().take(7).any(|letter| *letter == b'x');
    let empties = !path.is_null() && letters.first() == Some(&b'w') && !is_new;
    streamed(if empties {
        truncating_stream(path, real)
    } else {
        real()
    })
}

/// How a stream's file is opened that is emptied first; None: it isn't, or its mode says more than fdopen knows.
pub fn emptying(path: *const c_char, mode: *const c_char) -> Option<c_int> {
    if path.is_null() {
        return None;
    }
    // SAFETY: the mode is a C string that libc is about to read too.
    let letters = unsafe { CStr::from_ptr(mode) }.to_bytes();
    let mut flags = O_WRONLY | O_CREAT | O_TRUNC;
    for letter in letters.strip_prefix(b"w")? {
        flags = match letter {
            b'b' => flags,
            b'e' => flags | O_CLOEXEC,
            b'+' => flags & !O_WRONLY | O_RDWR,
            _ => return None,
        };
    }
    protocol::calls::emptying::waits_for_nobody(path, flags).then_some(flags)
}

/// Opened, emptied, and then made a stream: nobody is kept out of the file while the kernel waits in the open.
pub fn opened_in_steps(path: *const c_char, mode: *const c_char, flags: c_int) -> *mut FILE {
    // SAFETY: what the program gave to fopen, and a number that was made for it.
    unsafe {
        let fd = protocol::calls::emptying::open(libc::AT_FDCWD, path, flags, |flags| {
            open::real()(path, flags, 0o666)
        });
        if fd < 0 {
            return core::ptr::null_mut();
        }
        let stream = fdopen::real()(fd, mode);
        if stream.is_null() {
            let errno = kernel::errno();
            protocol::calls::numbers::close(fd, || close::real()(fd));
            kernel::set_errno(errno);
        }
        stream
    }
}

/// A number by which the program's streams go that are there from the start: whatever is opened there, they are on it.
pub fn standard(fd: c_int) -> c_int {
    if (0..3).contains(&fd) {
        streamed_on(fd);
    }
    fd
}

/// The call has filled in the numbers of a terminal.
pub fn terminal(result: c_int, ends: &[*mut c_int]) -> c_int {
    if result == 0 {
        // SAFETY: libc has just written each.
        ends.iter().for_each(|end| unsafe {
            made_other(**end);
        });
    }
    result
}

/// The call has filled in two numbers.
pub fn both(result: c_int, pair: *const c_int) -> c_int {
    if result == 0 {
        // SAFETY: the kernel has just written both.
        unsafe {
            made_other(*pair);
            made_other(*pair.add(1));
        }
    }
    result
}
