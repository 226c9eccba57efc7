//! truncate and fallocate.

use crate::doors::symbol::Libc;
use crate::table::calls;
use core::ffi::{c_char, c_int};
use libc::off64_t;
use protocol::calls::layout::{Change, change, truncate_path};

calls! { Libc "Layout" {
"changes a file's length": [ftruncate, ftruncate64] = SYS_ftruncate
    fn(fd: c_int, len: off64_t) -> c_int, |real| {
    change(fd, Change::Truncate(len), || real(fd, len) as isize) as c_int
}
"changes the length of a file by its name": [truncate, truncate64] = SYS_truncate
    fn(path: *const c_char, len: off64_t) -> c_int, |real| {
    truncate_path(path, || real(path, len) as isize) as c_int
}
"allocates, punches, zeroes, collapses, inserts": [fallocate, fallocate64] = SYS_fallocate
    fn(fd: c_int, mode: c_int, offset: off64_t, len: off64_t) -> c_int, |real| {
    change(fd, Change::Allocate { mode, offset, len }, || real(fd, mode, offset, len) as isize) as c_int
}
// These return the error instead of setting errno; a refusal of ours is one too.
"allocates": [posix_fallocate, posix_fallocate64]
    fn(fd: c_int, offset: off64_t, len: off64_t) -> c_int, |real| {
    match change(fd, Change::Allocate { mode: 0, offset, len }, || real(fd, offset, len) as isize) {
        -1 => kernel::errno(),
        error => error as c_int,
    }
}
}}
