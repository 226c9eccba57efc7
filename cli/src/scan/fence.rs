//! Whether a process that uses a file is fenced, through which table, and what its policy says of the file.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;

use policy::environment as names;
use policy::{Overrides, Policy};
use serde::Serialize;

use super::modes::Part;
use crate::explain::{filesystem_of, ruling};
use crate::process::{Fence, Process};
use crate::say::Shown;
use crate::tables::mapped::id_at;

#[derive(Clone, Serialize)]
pub struct Fenced {
    pub fenced: bool,
    pub table: Option<String>,
    /// Of a process that is fenced.
    pub policy: Option<Ruling>,
    /// What else is to be known.
    pub note: Option<&'static str>,
    #[serde(skip)]
    pub table_id: Option<(u64, u64)>,
}

/// What its policy says of the file.
#[derive(Clone, Serialize)]
pub struct Ruling {
    /// None: the built-in one.
    pub file: Option<String>,
    pub mode: &'static str,
    pub route: &'static str,
    pub rule: String,
}

impl Fenced {
    /// Of a process that has gone.
    pub fn unknown() -> Fenced {
        Fenced {
            fenced: false,
            table: None,
            policy: None,
            note: Some("it ended before that could be looked at"),
            table_id: None,
        }
    }

    pub fn enforced(&self) -> bool {
        self.fenced
            && self
                .policy
                .as_ref()
                .is_some_and(|policy| policy.mode == "enforce")
    }
}

/// A process with its policy, of which more than one file may be asked.
pub struct Asked {
    process: Process,
    policy: Policy,
    note: Option<&'static str>,
    /// Whether it is fenced: the same for all its files.
    fence: Fenced,
    /// By the number of the mount.
    filesystems: RefCell<HashMap<u64, &'static str>>,
}

impl Asked {
    pub fn new(process: Process) -> Asked {
        let mut note = None;
        let given = process.policy().unwrap_or_else(|error| {
            note = Some("its policy can't be used now: what is shown is the built-in one");
            Policy::instead_of(&error)
        });
        let word = |name| {
            process
                .variable(name)
                .and_then(|word| std::str::from_utf8(word).ok())
        };
        let (overrides, _) = Overrides::from_words(
            word(names::MODE),
            word(names::ISOLATION),
            word(names::RECORD),
        );
        let policy = given.with_overrides(overrides);
        let fence = fence_of(&process);
        Asked {
            process,
            policy,
            note,
            fence,
            filesystems: RefCell::default(),
        }
    }

    pub fn fenced(&self, part: &Part, is_device: bool) -> (Fenced, &'static str) {
        let filesystem = self.filesystem(part);
        if !self.fence.fenced {
            return (self.fence.clone(), filesystem);
        }
        let fenced = Fenced {
            policy: Some(self.ruling(part, filesystem, is_device)),
            note: self.note.or(self.fence.note),
            ..self.fence.clone()
        };
        (fenced, filesystem)
    }

    fn filesystem(&self, part: &Part) -> &'static str {
        let ask = || filesystem_of(part.link.as_ref()).unwrap_or("other");
        match part.mount {
            0 => ask(),
            mount => self
                .filesystems
                .borrow_mut()
                .entry(mount)
                .or_insert_with(ask),
        }
    }

    fn ruling(&self, part: &Part, filesystem: &str, is_device: bool) -> Ruling {
        let path = part
            .path
            .strip_suffix(kernel::DELETED)
            .unwrap_or(&part.path);
        // As it sees it: what is shown of one in a chroot begins with that.
        let root = std::fs::read_link(format!("/proc/{}/root", self.process.number));
        let root = root.map_or(Vec::new(), |root| root.as_os_str().as_bytes().to_vec());
        let own = path
            .strip_prefix(root.as_slice())
            .filter(|rest| rest.starts_with(b"/"));
        let program = self.process.program();
        let said = ruling(
            &self.policy,
            own.unwrap_or(path),
            program,
            filesystem,
            is_device,
        );
        let name = self.policy.name();
        // Its path by way of /proc is of no use to anybody.
        let own_name = || match self.process.path_of(names::POLICY) {
            Some(path) => path.shown().to_string(),
            None => policy::machine::FOLDER.to_owned(),
        };
        Ruling {
            file: (!name.is_empty()).then(own_name),
            mode: said.mode.word(),
            route: said.route.word(),
            rule: said.by,
        }
    }
}

/// Without what a policy says of one file.
fn fence_of(process: &Process) -> Fenced {
    let none = Fenced {
        fenced: false,
        table: None,
        policy: None,
        note: None,
        table_id: None,
    };
    if let Some(supervisor) = process.supervisor() {
        let fence = supervisor.fence();
        let (fenced, note) = match &fence {
            Fence::Fenced(..) => (true, "by its supervisor, which makes its file calls"),
            _ => (false, "its supervisor has met no file yet that is fenced"),
        };
        let table = match fence {
            Fence::Fenced(_, table) | Fence::NotInTable(_, table) => Some(table),
            _ => None,
        };
        return Fenced {
            fenced,
            table: table.map(|table| table.shown().to_string()),
            note: Some(note),
            table_id: table.and_then(|table| id_at(&supervisor.inside(table))),
            ..none
        };
    }
    match process.fence() {
        Fence::NotLoaded => none,
        Fence::NoTable(_) => Fenced {
            note: Some(
                "the library is loaded, and in no lock table: it has used no file yet that is fenced, or every call passes through",
            ),
            ..none
        },
        Fence::NotInTable(_, table) => Fenced {
            table: Some(table.shown().to_string()),
            note: Some(
                "the library is loaded, and the process is not in its table: it has stopped fencing",
            ),
            ..none
        },
        Fence::Fenced(_, table) => Fenced {
            fenced: true,
            table: Some(table.shown().to_string()),
            table_id: id_at(&process.inside(table)),
            ..none
        },
    }
}
