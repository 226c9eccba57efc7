//! The path behind a descriptor number, as bytes.

use core::ffi::CStr;

use crate::stat::{fstat, fstatat, read_link};
use crate::text::Text;

/// The thread's own: `/proc/self` is the main thread's, which may have ended.
pub fn number_path(fd: i32) -> Text<48> {
    Text::of(format_args!("/proc/thread-self/fd/{fd}"))
}

/// The path behind a descriptor, as the kernel knows it. Empty where it can't be known: there is no `/proc`, or it is
/// longer than the kernel tells.
pub fn path_of(fd: i32, buffer: &mut [u8]) -> &[u8] {
    let n = read_link(number_path(fd).as_c_str(), buffer).unwrap_or(0);
    without_deleted(fd, buffer, n)
}

/// As long as a file's name may be, and what the kernel puts behind it.
pub const NAME: usize = 4096;

/// The file name of this process's executable, also when that has been replaced since. Empty: it can't be known.
pub fn executable(room: &mut [u8; NAME]) -> &[u8] {
    let n = read_link(c"/proc/self/exe", room)
        .unwrap_or(0)
        .min(NAME - 1);
    let ends_so = room.get(..n).is_some_and(|path| path.ends_with(DELETED));
    if let Some(end) = room.get_mut(n) {
        *end = 0;
    }
    let is_there = || fstatat(libc::AT_FDCWD, room.as_ptr().cast(), 0).is_ok();
    let n = if ends_so && !is_there() {
        n - DELETED.len()
    } else {
        n
    };
    let path = room.get(..n).unwrap_or(&[]);
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

pub const DELETED: &[u8] = b" (deleted)";

/// The kernel puts a word behind the last path of a file that has been unlinked. Whoever is really called so still
/// has that name.
fn without_deleted(fd: i32, buffer: &mut [u8], n: usize) -> &[u8] {
    let ends_so = buffer.get(..n).is_some_and(|path| path.ends_with(DELETED));
    let n = match ends_so && !is_named(fd, buffer, n) {
        true => n - DELETED.len(),
        false => n,
    };
    buffer.get(..n).unwrap_or(&[])
}

#[cold]
fn is_named(fd: i32, buffer: &mut [u8], n: usize) -> bool {
    let Some(end) = buffer.get_mut(n) else {
        return false;
    };
    *end = 0;
    let Ok(path) = CStr::from_bytes_until_nul(buffer) else {
        return false;
    };
    let by_name = fstatat(libc::AT_FDCWD, path.as_ptr(), libc::AT_SYMLINK_NOFOLLOW);
    match (by_name, fstat(fd)) {
        (Ok(named), Ok(open)) => (named.dev, named.ino) == (open.dev, open.ino),
        _ => false,
    }
}
