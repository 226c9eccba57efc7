//! truncate and fallocate.

use crate::{family, resolve_all};
use core::ffi::{c_char, c_int};
use libc::off64_t;
use protocol::layout::{Change, change, truncate_path};

family! { ftruncate, ftruncate64 => (fd: c_int, len: off64_t) -> c_int, |real| {
    change(fd, Change::Truncate(len), || real(fd, len) as isize) as c_int
}}
family! { truncate, truncate64 => (path: *const c_char, len: off64_t) -> c_int, |real| {
    truncate_path(path, || real(path, len) as isize) as c_int
}}
family! { fallocate, fallocate64 => (fd: c_int, mode: c_int, offset: off64_t, len: off64_t) -> c_int, |real| {
    change(fd, Change::Allocate { mode, offset, len }, || real(fd, mode, offset, len) as isize) as c_int
}}
// These return the error instead of setting errno; a refusal of ours is one too.
family! { posix_fallocate, posix_fallocate64 => (fd: c_int, offset: off64_t, len: off64_t) -> c_int, |real| {
    match change(fd, Change::Allocate { mode: 0, offset, len }, || real(fd, offset, len) as isize) {
        -1 => protocol::raw::errno(),
        error => error as c_int,
    }
}}

resolve_all!(
    ftruncate,
    ftruncate64,
    truncate,
    truncate64,
    fallocate,
    fallocate64,
    posix_fallocate,
    posix_fallocate64
);
