//! A table seen from outside: by whoever may read it, trusting nobody who may write it. Nothing is written, no lock is
//! taken, and nobody learns of it.

use core::ffi::CStr;

use rustix::mm::ProtFlags;

use crate::Table;
use crate::attach::{map, path_of};
use crate::checks::look_on;
use crate::error::TableError;
use crate::snapshot::{SlotCount, Snapshot};

/// A table that this process only reads. One that is cut off meanwhile is a SIGBUS, which is the caller's affair.
pub struct View(Table);

impl View {
    /// Of the table at `path`. Makes none.
    pub fn open(path: &CStr) -> Result<View, TableError> {
        let path = path_of(path)?;
        let opened = look_on(&path).and_then(|found| map(&path, found, ProtFlags::READ));
        match opened {
            Ok(table) => Ok(View(table)),
            Err(fault) => Err(TableError::new(fault, &path)),
        }
    }

    /// What stands at the path, looked at anew: the same table, whole and not damaged?
    pub fn check(&self) -> Result<(), TableError> {
        look_on(&self.0.path)
            .map(drop)
            .map_err(|fault| TableError::new(fault, &self.0.path))
    }

    pub fn snapshot(&self) -> Snapshot {
        self.0.snapshot()
    }

    /// See [`Table::counts`].
    pub fn counts(&self) -> Vec<SlotCount> {
        self.0.counts()
    }

    /// See [`Table::announcements`].
    pub fn announcements(&self) -> u64 {
        self.0.announcements()
    }

    /// See [`Table::queued`].
    pub fn queued(&self) -> u64 {
        self.0.queued()
    }

    /// How long it is.
    pub fn bytes(&self) -> u64 {
        let (_, length) = self.0.mem.mapping();
        length as u64
    }

    /// Device and inode of its file.
    pub fn id(&self) -> (u64, u64) {
        self.0.id
    }
}
