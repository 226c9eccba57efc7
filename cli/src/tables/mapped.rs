//! Which processes have which lock tables mapped. That a process lives is kept by a mapping of the table on which it has no
//! right at all; a forked child that may not open the table has the rest mapped, as its parent had.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use lock_table::View;

use super::place;
use crate::exec::c_string;
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
            if let Some(id) = id_at(path) {
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

/// The table that is had at this path: a file, or what the service gives that listens there.
pub fn id_at(path: &Path) -> Option<TableId> {
    let found = path.symlink_metadata().ok()?;
    match found.file_type().is_socket() {
        true => View::open(&c_string(path.as_os_str()).ok()?)
            .ok()
            .map(|view| view.id()),
        false => found.is_file().then(|| (found.dev(), found.ino())),
    }
}

/// By its own name where that leads there, else as the process sees it.
fn reached(pid: u32, id: TableId, path: Vec<u8>) -> Found {
    let bare = path.strip_suffix(kernel::DELETED).unwrap_or(&path);
    let bare = lock_table::served_at(bare).unwrap_or(bare);
    let own = PathBuf::from(OsString::from_vec(bare.to_vec()));
    let mut inside = OsString::from(format!("/proc/{pid}/root"));
    inside.push(&own);
    let leads = |path: &PathBuf| id_at(path) == Some(id);
    let ways = [own.clone(), PathBuf::from(inside)];
    let way = ways.into_iter().find(leads);
    Found {
        removed: way.is_none(),
        path: way.unwrap_or(own),
        processes: BTreeSet::new(),
    }
}
