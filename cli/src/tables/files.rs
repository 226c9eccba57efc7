//! The files that a lock table speaks of: their names, as far as those have them open or mapped who use them.

use std::collections::{BTreeMap, BTreeSet};

use lock_table::FileId;
use serde::Serialize;

use crate::say::plain;
use crate::scan::processes::holds_of;
use crate::scan::seen::Id;
use crate::scan::target::Targets;

/// A file, for people and programs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Named {
    /// None: nobody who can be looked at has it open.
    pub path: Option<String>,
    /// `file` or `block device`.
    pub kind: &'static str,
    pub device: String,
    pub inode: u64,
    #[serde(skip)]
    pub id: Id,
}

/// As `scan` has it.
pub fn id_of(file: FileId) -> Id {
    Id {
        // No filesystem has inode 0.
        is_device: file.ino == 0,
        device: file.dev,
        inode: file.ino,
    }
}

/// Names, found once for each file.
#[derive(Default)]
pub struct Names(BTreeMap<Id, String>);

impl Names {
    /// Looks for those that aren't known, among what these processes have.
    pub fn learn(&mut self, files: impl Iterator<Item = FileId>, processes: &BTreeSet<u32>) {
        let ids = files.map(id_of).filter(|id| !self.0.contains_key(id));
        let mut unknown: BTreeSet<Id> = ids.collect();
        for pid in processes {
            if unknown.is_empty() {
                return;
            }
            let mut targets = Targets::of(unknown.iter().copied());
            for hold in holds_of(*pid, &mut targets).unwrap_or_default() {
                if unknown.remove(&hold.id) {
                    self.0.insert(hold.id, plain(&hold.path));
                }
            }
        }
    }

    pub fn of(&self, file: FileId) -> Named {
        let id = id_of(file);
        let (major, minor) = (rustix::fs::major(id.device), rustix::fs::minor(id.device));
        Named {
            path: self.0.get(&id).cloned(),
            kind: if id.is_device { "block device" } else { "file" },
            device: format!("{major}:{minor}"),
            inode: id.inode,
            id,
        }
    }
}

impl Named {
    pub fn shown(&self) -> String {
        match &self.path {
            Some(path) => path.clone(),
            None => format!("{} {}, inode {}", self.kind, self.device, self.inode),
        }
    }
}
