//! Leases (F_SETLEASE) that somebody holds on a file. The kernel waits in a call that changes it by its name until they
//! are given up, and nobody may be kept out of the file meanwhile: so they are waited for before a range is taken.
//!
//! By opening the file, which waits as the call does, and for as long, and is interrupted as it is. That is seen by who
//! watches the file: so only where there is a lease.

use core::ffi::{CStr, c_char};

use lock_table::USE_DIRECT;

use crate::hold::terms::Terms;
use crate::what::file::POSIX_LOCKED;
use crate::what::maps::Lines;
use crate::what::{files, own};
use crate::who::{process, scratch};

/// It does nothing in an open, and nobody gives it there: so what has it is ours.
const MARK: i32 = libc::O_ASYNC;

/// `path` is the program's pointer; `flags` say how it is about to be opened. Err: a signal handler interrupted it.
pub fn are_given_up(terms: &Terms, dir: i32, path: *const c_char, flags: i32) -> Result<(), i32> {
    let users = |table: &lock_table::Table| table.users(terms.id).bits;
    let others_wait =
        terms.known.atomic() || process::table().is_some_and(|t| users(t) & USE_DIRECT != 0);
    // Closing any descriptor of a file drops the process's locks on it.
    let is_locked = files::find(terms.id).is_some_and(|f| f.has(POSIX_LOCKED));
    if terms.known.observe()
        || !others_wait
        || is_locked
        || !scratch::roomy(|| may_be_on(terms.id.ino))
    {
        return Ok(());
    }
    match kernel::open_at(dir, path, flags | MARK | libc::O_NOCTTY) as i32 {
        // It is refused as it would have been without us, or for want of a number.
        error @ ..0 if error != -libc::EINTR => Ok(()),
        error @ ..0 => Err(-error),
        fd => {
            own::close_opened_with(MARK, fd);
            Ok(())
        }
    }
}

/// Whether anybody has a lease on a file of this inode number: the kernel's list is no list of devices as stat knows
/// them. It takes a fraction of a millisecond.
fn may_be_on(ino: u64) -> bool {
    let Some(mut lines) = Lines::of(c"/proc/locks") else {
        return false;
    };
    while let Some(line) = lines.next_line() {
        if lease(line) == Some(ino) {
            return true;
        }
    }
    false
}

/// "1: LEASE  ACTIVE    READ  7310 08:02:1310 0 EOF", and a zero: the inode.
fn lease(line: &[u8]) -> Option<u64> {
    let line = CStr::from_bytes_until_nul(line).ok()?.to_str().ok()?;
    let mut words = line.split_ascii_whitespace().skip(1);
    words
        .next()
        .filter(|kind| ["LEASE", "DELEG"].contains(kind))?;
    words.nth(3)?.rsplit(':').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_found_among_locks() {
        let lines = [
            (
                "1: LEASE  ACTIVE    READ  7310 08:02:1310 0 EOF\0",
                Some(1310),
            ),
            ("12: LEASE  BREAKING  UNLCK 7310 103:1a:7 0 EOF\0", Some(7)),
            ("3: DELEG  ACTIVE    READ 0 00:2f:258 0 EOF\0", Some(258)),
            ("4: POSIX  ADVISORY  WRITE 99 08:02:1310 0 EOF\0", None),
            ("4: -> FLOCK  ADVISORY  WRITE 99 08:02:1310 0 EOF\0", None),
            ("LEASE\0", None),
        ];
        for (line, inode) in lines {
            assert_eq!(lease(line.as_bytes()), inode, "{line}");
        }
    }
}
