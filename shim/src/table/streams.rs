//! libc functions that open or close a descriptor by themselves, past the hooks: what we knew of the number is forgotten,
//! and its next use looks again. What is read and written through a stream comes by `doors::streams`.

use crate::doors::children::environment;
use crate::doors::stdio::{
    by, closing, emptying, number, opened_in_steps, opening, printed_on, streamed, streamed_on,
};
use crate::doors::symbol::Libc;
use crate::table::calls;
use core::ffi::{c_char, c_int, c_void};
use libc::FILE;
use protocol::calls::numbers::{closing_elsewhere, made_elsewhere, reopening};
use protocol::life::exec::shell;
use protocol::life::fork::{making, sharing};

calls! { Libc "Streams and temporary files" {
"opens a stream": [fopen, fopen64] unlisted [_IO_fopen]
    fn(path: *const c_char, mode: *const c_char) -> *mut FILE, |real| {
    match emptying(path, mode) {
        Some(flags) => streamed(opened_in_steps(path, mode, flags)),
        None => opening(path, mode, || by(|| real(path, mode))),
    }
}
"opens a stream once more": [freopen, freopen64]
    fn(path: *const c_char, mode: *const c_char, stream: *mut FILE) -> *mut FILE, |real| {
    let fd = number(stream);
    // Without a path: the stream's own file.
    let own = kernel::number_path(fd);
    let named = if path.is_null() { own.as_c_str().as_ptr() } else { path };
    reopening(fd, || opening(named, mode, || real(path, mode, stream)), core::ptr::null_mut())
}
"makes a number a stream": [fdopen] unlisted [_IO_fdopen]
    fn(fd: c_int, mode: *const c_char) -> *mut FILE, |real| {
    let stream = if protocol::what::words::is_ours(fd) { real(-1, mode) } else { real(fd, mode) };
    if !stream.is_null() {
        streamed_on(fd);
    }
    stream
}
"closes a stream": [fclose] unlisted [_IO_fclose]
    fn(stream: *mut FILE) -> c_int, |real| { closing(stream, || real(stream)) }
"opens a stream on a table of mounts": unlisted [setmntent, __setmntent]
    fn(path: *const c_char, mode: *const c_char) -> *mut FILE, |real| { opening(path, mode, || by(|| real(path, mode))) }
"closes a table of mounts": unlisted [endmntent, __endmntent]
    fn(stream: *mut FILE) -> c_int, |real| { closing(stream, || real(stream)) }
"writes text to a number, whose arguments are listed": unlisted [vdprintf]
    fn(fd: c_int, format: *const c_char, list: *mut c_void) -> c_int, |real| {
    printed_on(fd);
    real(fd, format, list)
}
"writes text to a number, whose arguments are listed, with care": unlisted [__vdprintf_chk]
    fn(fd: c_int, care: c_int, format: *const c_char, list: *mut c_void) -> c_int, |real| {
    printed_on(fd);
    real(fd, care, format, list)
}
"writes where the program is to a number": unlisted [backtrace_symbols_fd, __backtrace_symbols_fd]
    fn(frames: *const *mut c_void, count: c_int, fd: c_int) -> (), |real| {
    protocol::calls::numbers::uncovered(fd, "backtrace_symbols_fd");
    real(frames, count, fd)
}
"expands words as a shell does, by a shell": unlisted [wordexp]
    fn(words: *const c_char, into: *mut c_void, flags: c_int) -> c_int, |real| {
    sharing();
    real(words, into, flags)
}
"opens a file without a name": [tmpfile, tmpfile64]
    fn() -> *mut FILE, |real| { streamed(by(|| real())) }
"starts a shell behind a stream": [popen] unlisted [_IO_popen]
    fn(command: *const c_char, kind: *const c_char) -> *mut FILE, |real| {
    let started = shell(environment(), || making(|| by(|| real(command, kind))));
    started.map_or(core::ptr::null_mut(), streamed)
}
"closes a stream, and waits for its shell": [pclose]
    fn(stream: *mut FILE) -> c_int, |real| { closing_elsewhere(number(stream), || real(stream)) }

"opens a file with a new name": [mkstemp] unlisted [mkstemp64]
    fn(template: *mut c_char) -> c_int, |real| { made_elsewhere(real(template)) }
"opens a file with a new name, with flags": [mkostemp] unlisted [mkostemp64]
    fn(template: *mut c_char, flags: c_int) -> c_int, |real| { made_elsewhere(real(template, flags)) }
"opens a file with a new name that has an end": [mkstemps] unlisted [mkstemps64]
    fn(template: *mut c_char, suffix: c_int) -> c_int, |real| { made_elsewhere(real(template, suffix)) }
"opens a file with a new name that has an end, with flags": [mkostemps] unlisted [mkostemps64]
    fn(template: *mut c_char, suffix: c_int, flags: c_int) -> c_int, |real| {
    made_elsewhere(real(template, suffix, flags))
}
"leaves the terminal": [daemon]
    fn(stay: c_int, keep: c_int) -> c_int, |real| {
    let result = real(stay, keep);
    (0..3).for_each(|fd| { made_elsewhere(fd); });
    result
}
}
jumps {
"writes text to a number": unlisted [dprintf, __dprintf_chk];
}}
