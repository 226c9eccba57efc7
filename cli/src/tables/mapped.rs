//! Which processes have which lock tables mapped. That a process lives is kept by a mapping of the table on which it has no
//! right at all; a forked child that may not open the table has the rest mapped, as its parent had.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::place;
use crate::scan::processes::{self, Gone};

/// A table's file: device and inode.
pub type TableId = (u64, u64);

/// A table that somebody has mapped, or that lies in a usual place.
pub struct Found {
    /// A path by which this process reaches it; as its users have it, if none does.
    pub path: PathBuf,
    /// It has no name any more, or none that leads to it from here.
    pub removed: bool,
    /// Who has it mapped.
    pub processes: BTreeSet<u32>,
}

#[derive(Default)]
pub struct Mapped {
    pub tables: BTreeMap<TableId, Found>,
    /// Some processes could not be looked at.
    pub incomplete: bool,
}

impl Mapped {
    /// Those in their usual places, those of these paths, and those of running processes.
    pub fn look(also: &[PathBuf]) -> Mapped {
        let mut all = Mapped::default();
        let known = place::all_tables();
        for path in also.iter().chain(&known) {
            if let Ok(found) = path.symlink_metadata()
                && found.is_file()
            {
                let id = (found.dev(), found.ino());
                all.tables.entry(id).or_insert_with(|| Found {
                    path: path.clone(),
                    removed: false,
                    processes: BTreeSet::new(),
                });
            }
        }
        all.add_processes();
        all
    }

    fn add_processes(&mut self) {
        let mut shared: BTreeMap<TableId, BTreeSet<u32>> = BTreeMap::new();
        for pid in processes::all() {
            match processes::shared_by(pid) {
                Ok(maps) => {
                    for map in maps {
                        let id = (map.id.device, map.id.inode);
                        shared.entry(id).or_default().insert(pid);
                        if map.without_rights && !self.tables.contains_key(&id) {
                            self.tables.insert(id, reached(pid, id, map.path));
                        }
                    }
                }
                Err(Gone::Denied) => self.incomplete = true,
                Err(Gone::Ended) => {}
            }
        }
        for (id, table) in &mut self.tables {
            table.processes = shared.remove(id).unwrap_or_default();
        }
    }

    pub fn processes_of(&self, id: TableId) -> BTreeSet<u32> {
        self.tables
            .get(&id)
            .map_or(BTreeSet::new(), |found| found.processes.clone())
    }
}

/// By its own name where that leads there, else as the process sees it.
fn reached(pid: u32, id: TableId, path: Vec<u8>) -> Found {
    let bare = path.strip_suffix(kernel::DELETED).unwrap_or(&path);
    let own = PathBuf::from(OsString::from_vec(bare.to_vec()));
    let mut inside = OsString::from(format!("/proc/{pid}/root"));
    inside.push(&own);
    let leads = |path: &PathBuf| {
        path.symlink_metadata()
            .is_ok_and(|found| (found.dev(), found.ino()) == id)
    };
    let ways = [own.clone(), PathBuf::from(inside)];
    let way = ways.into_iter().find(leads);
    Found {
        removed: way.is_none(),
        path: way.unwrap_or(own),
        processes: BTreeSet::new(),
    }
}
