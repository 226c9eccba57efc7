//! Who uses which file in which modes, and whether that is kept coherent.

use std::collections::BTreeMap;

use policy::Escaped;
use serde::Serialize;

use super::fence::Fenced;
use super::owner::Group;
use super::processes::{Descriptor, Hold, How, Mapping};
use super::seen::Id;
use crate::say::plain;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub enum Mode {
    #[serde(rename = "direct")]
    Direct,
    #[serde(rename = "buffered")]
    Buffered,
    #[serde(rename = "mapped")]
    Mapped,
    #[serde(rename = "mapped writable")]
    MappedWritable,
}

impl Mode {
    pub fn word(self) -> &'static str {
        match self {
            Mode::Direct => "direct",
            Mode::Buffered => "buffered",
            Mode::Mapped => "mapped",
            Mode::MappedWritable => "mapped writable",
        }
    }
}

/// A process, and what is known of it beside its files.
#[derive(Clone, Serialize)]
pub struct Who {
    pub pid: u32,
    /// The file name of its executable, and what it calls itself.
    pub program: String,
    pub command: String,
    pub user: String,
    pub uid: u32,
    pub unit: Option<String>,
    pub container: Option<String>,
}

impl Who {
    pub fn with(mut self, group: Group) -> Who {
        let shown = |name: String| plain(name.as_bytes());
        self.unit = group.unit.map(shown);
        self.container = group.container.map(shown);
        self
    }

    pub fn shown(&self) -> String {
        format!("{} (pid {})", self.program, self.pid)
    }
}

/// A process's use of a file.
#[derive(Serialize)]
pub struct User {
    #[serde(flatten)]
    pub who: Who,
    /// The file, as this process sees it.
    pub path: String,
    pub modes: Vec<Mode>,
    /// Something that it has lets it write.
    pub writes: bool,
    pub descriptors: Vec<Descriptor>,
    pub mappings: Vec<Mapping>,
    #[serde(flatten)]
    pub fence: Fenced,
}

#[derive(Serialize)]
pub struct File {
    pub path: String,
    /// `file` or `block device`.
    pub kind: &'static str,
    pub device: String,
    pub inode: u64,
    pub filesystem: &'static str,
    /// Used past the page cache, and through it.
    pub mixed: bool,
    /// In mixed use, all its users are fenced, by one table, under a policy that enforces.
    pub coherent: bool,
    pub users: Vec<User>,
    #[serde(skip)]
    pub id: Id,
}

/// What one process has of one file.
#[derive(Default)]
pub struct Part {
    pub path: Vec<u8>,
    pub link: String,
    pub mount: u64,
    pub descriptors: Vec<Descriptor>,
    pub mappings: Vec<Mapping>,
}

/// By file.
pub fn parts(holds: Vec<Hold>) -> BTreeMap<Id, Part> {
    let mut all: BTreeMap<Id, Part> = BTreeMap::new();
    for hold in holds {
        let part = all.entry(hold.id).or_default();
        if part.link.is_empty() {
            (part.path, part.link, part.mount) = (hold.path, hold.link, hold.mount);
        }
        match hold.how {
            How::Open(descriptor) => part.descriptors.push(descriptor),
            How::Mapped(mapping) => part.mappings.push(mapping),
        }
    }
    all
}

impl User {
    pub fn new(who: Who, part: Part, fence: Fenced) -> User {
        let of_descriptor = |d: &Descriptor| match d.direct {
            true => Mode::Direct,
            false => Mode::Buffered,
        };
        let of_mapping = |m: &Mapping| match m.shared && m.writable {
            true => Mode::MappedWritable,
            false => Mode::Mapped,
        };
        let descriptors = part.descriptors.iter().map(of_descriptor);
        let mut modes: Vec<Mode> = descriptors
            .chain(part.mappings.iter().map(of_mapping))
            .collect();
        modes.sort_unstable();
        modes.dedup();
        User {
            who,
            path: Escaped(&part.path).to_string(),
            writes: modes.contains(&Mode::MappedWritable)
                || part.descriptors.iter().any(|d| d.writes),
            modes,
            descriptors: part.descriptors,
            mappings: part.mappings,
            fence,
        }
    }

    pub fn has(&self, mode: Mode) -> bool {
        self.modes.contains(&mode)
    }

    /// What it does through the cache, if it does.
    pub fn cached(&self) -> Option<Mode> {
        let mut cached = self.modes.iter().filter(|mode| **mode != Mode::Direct);
        cached.next_back().copied()
    }
}

impl File {
    pub fn new(id: Id, filesystem: &'static str, users: Vec<User>) -> File {
        let (major, minor) = (rustix::fs::major(id.device), rustix::fs::minor(id.device));
        let mut file = File {
            path: users
                .first()
                .map_or(String::new(), |user| user.path.clone()),
            kind: if id.is_device { "block device" } else { "file" },
            device: format!("{major}:{minor}"),
            inode: id.inode,
            filesystem,
            mixed: false,
            coherent: false,
            users,
            id,
        };
        file.judge();
        file
    }

    /// After its users have changed.
    pub fn judge(&mut self) {
        let users = &self.users;
        self.mixed = users.iter().any(|user| user.has(Mode::Direct))
            && users.iter().any(|user| user.cached().is_some());
        self.coherent =
            self.mixed && users.iter().all(|user| user.fence.enforced()) && self.tables() == 1;
    }

    /// How many lock tables its fenced users have.
    pub fn tables(&self) -> usize {
        let mut tables: Vec<_> = self.users.iter().filter_map(|u| u.fence.table_id).collect();
        tables.sort_unstable();
        tables.dedup();
        tables.len()
    }

    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// Whether anybody could change it.
    pub fn is_written(&self) -> bool {
        self.users.iter().any(|user| user.writes)
    }
}
