//! Whose range it is, and what the policy says about it.

use lock_table::{Claim, FileId, Mode};
use policy::Settings;

use crate::what::file::{File, Known};

/// One past the last byte that a file can have, as a range's end: "to the end of time".
pub const END_OF_TIME: u64 = u64::MAX;

/// Whose range it is and what the policy says about it.
#[derive(Clone, Copy)]
pub struct Terms {
    pub id: FileId,
    pub fd: i32,
    pub known: Known,
    pub timeout_ns: u64,
}

impl Terms {
    pub fn of(file: &File, fd: i32) -> Terms {
        Terms {
            id: file.id(),
            fd,
            known: file.settings(),
            timeout_ns: file.lock_timeout_ns(),
        }
    }

    /// For a file that this process has no record of.
    pub fn said(id: FileId, settings: &Settings) -> Terms {
        Terms {
            id,
            fd: -1,
            known: Known::pack(settings),
            timeout_ns: u64::try_from(settings.lock_timeout.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    pub fn claim(&self, mode: Mode, first: u64, last: u64) -> Claim {
        Claim {
            file: self.id,
            first,
            last,
            mode,
            atomic: self.known.atomic(),
        }
    }
}
