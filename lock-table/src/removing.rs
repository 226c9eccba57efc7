//! Taking a table away, so that nobody stays behind in one that newcomers don't find.
//!
//! Who removes it locks the bytes of all processes that it has room for, at once: none lives, and none signs in as long.
//! He takes the name away, marks the table as one that excludes nobody, and lets go. Who was about to attach finds the
//! bytes taken, or then the mark, sees that the table has gone from its path, and begins anew.

use core::ffi::CStr;

use rustix::fs;
use rustix::io::Errno;

use crate::Table;
use crate::attach::{open, path_of};
use crate::checks::is_at;
use crate::death;
use crate::error::{Fault, Path, TableError};
use crate::primitive::{now_ns, yield_now};

/// How long it is tried again while somebody has a byte: who cleans up after the dead has one for a moment.
const GRACE_NS: u64 = 50_000_000;

impl Table {
    /// Removes the table at `path`, if no process that lives is attached to it. (`InUse`: one is.)
    pub fn remove(path: &CStr) -> Result<(), TableError> {
        let path = path_of(path)?;
        remove(&path).map_err(|fault| TableError::new(fault, &path))
    }
}

fn remove(path: &Path) -> Result<(), Fault> {
    let table = open(path)?;
    if table.is_served() {
        return Err(Fault::Served);
    }
    let begun = now_ns();
    while let Err(error) = death::lock_all(table.probe_fd(), table.mem.geometry().processes) {
        if !matches!(error, Errno::AGAIN | Errno::ACCESS) {
            return Err(Fault::from_errno(error));
        }
        if now_ns().saturating_sub(begun) > GRACE_NS {
            return Err(Fault::InUse);
        }
        yield_now();
    }
    if !is_at(path, table.id) {
        return Err(Fault::Replaced);
    }
    fs::unlink(path.as_c_str()).map_err(Fault::from_errno)?;
    table.poison();
    Ok(()) // and lets go of the bytes
}
