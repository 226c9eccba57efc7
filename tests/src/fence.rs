//! Puts the library around a program under test, with a lock table of its own.

use crate::artefacts;
use lock_table::{Claim, FileId, Mode, Slot, Table};
use serde_json::Value;
use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use summary::{Counter, Summary, UseRecord};
use tempfile::TempDir;

/// A lock table, the counters of what was done and, if one is given, a policy, in a directory of their own in memory.
pub struct Fence {
    dir: TempDir,
    library: PathBuf,
    policy: bool,
    summary: Summary,
}

impl Fence {
    /// The built-in policy: `enforce`, `coherent`.
    pub fn new() -> Fence {
        let dir = scratch();
        let summary = Summary::create(&c_string(counters_in(&dir))).expect("a file for counters");
        Fence {
            dir,
            library: found(artefacts::library()),
            policy: false,
            summary,
        }
    }

    /// With a policy of the given text.
    pub fn with_policy(text: &str) -> Fence {
        let fence = Fence {
            policy: true,
            ..Fence::new()
        };
        std::fs::write(fence.policy_file(), text).expect("a policy file");
        fence
    }

    pub fn table(&self) -> PathBuf {
        self.dir.path().join("table")
    }

    pub fn policy_file(&self) -> PathBuf {
        self.dir.path().join("policy.toml")
    }

    /// Whether its policy only looks on.
    pub fn observes(&self) -> bool {
        let text = std::fs::read_to_string(self.policy_file()).unwrap_or_default();
        text.contains("mode = \"observe\"")
    }

    /// As the lock table's own functions want its path.
    pub fn table_name(&self) -> CString {
        c_string(self.table())
    }

    /// What all programs in this fence have counted so far.
    pub fn count(&self, counter: Counter) -> u64 {
        self.summary.get(counter)
    }

    /// Which files programs have used, and how.
    pub fn uses(&self) -> Vec<UseRecord> {
        self.summary.uses()
    }

    /// What is wrong with the table that programs have left: also that they have left none.
    pub fn damage(&self) -> Option<String> {
        damage(&self.table())
    }

    /// This process holds all of a file: programs inside the fence wait. The table, the slot and what it holds.
    pub fn hold_whole(&self, file: &Path) -> (Table, Slot, Claim) {
        let stat = std::fs::metadata(file).expect("a file of ours");
        let claim = Claim {
            file: FileId {
                dev: stat.dev(),
                ino: stat.ino(),
            },
            first: 0,
            last: u64::MAX,
            mode: Mode::Layout,
            atomic: false,
        };
        let table = Table::attach(&self.table_name()).expect("a table");
        let slot = table.take_slot(1).expect("a slot of a new table");
        table.hold_now(slot, &claim).expect("nobody is there yet");
        (table, slot, claim)
    }

    /// The environment that fences a program.
    pub fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        let mut list = vec![
            ("LD_PRELOAD", self.library.clone()),
            ("PAGEFENCE_TABLE", self.table()),
            ("PAGEFENCE_SUMMARY", counters_in(&self.dir)),
        ];
        if self.policy {
            list.push(("PAGEFENCE_POLICY", self.policy_file()));
        }
        list
    }

    pub fn apply(&self, command: &mut Command) {
        command.envs(self.environment());
    }

    /// And keeps what the library tells of it.
    pub fn apply_traced(&self, command: &mut Command) {
        self.apply(command);
        command.env("PAGEFENCE_TRACE", self.trace());
    }

    pub fn trace(&self) -> PathBuf {
        self.dir.path().join("trace")
    }

    /// What the library has told of all programs that were traced in this fence.
    pub fn events(&self) -> Vec<Value> {
        told_in(&self.trace())
    }

    /// Whether it has told an event of this kind.
    pub fn has_told(&self, kind: &str) -> bool {
        self.events().iter().any(|event| event["event"] == kind)
    }
}

impl Default for Fence {
    fn default() -> Self {
        Fence::new()
    }
}

/// A policy in which whole calls are atomic, one that only looks on, and one in which direct requests go through the cache.
pub const ATOMIC: &str = "[defaults]\nisolation = \"atomic\"\n";
pub const OBSERVE: &str = "[defaults]\nmode = \"observe\"\n";
pub const ROUTED: &str = "[defaults]\nroute = \"buffered\"\n";
/// And one in which all requests go past it.
pub const PAST: &str = "[defaults]\nroute = \"direct\"\n";

/// Every way to be fenced that must not show.
pub fn every_way() -> Vec<(&'static str, Fence)> {
    vec![
        ("fenced", Fence::new()),
        ("fenced, atomic", Fence::with_policy(ATOMIC)),
        ("observed", Fence::with_policy(OBSERVE)),
    ]
}

/// Fenced, or bare.
pub fn apply(fence: Option<&Fence>, command: &mut Command) {
    if let Some(fence) = fence {
        fence.apply(command);
    }
}

/// What is wrong with a table that programs should have left.
pub fn damage(table: &Path) -> Option<String> {
    let error = Table::inspect(&c_string(table.to_path_buf())).err();
    error.map(|error| error.to_string())
}

fn counters_in(dir: &TempDir) -> PathBuf {
    dir.path().join("counters")
}

fn c_string(path: PathBuf) -> CString {
    CString::new(path.into_os_string().into_vec()).expect("a path")
}

/// A directory in memory that other users may enter: a program that gives up root keeps its table.
pub fn scratch() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let base = Path::new("/dev/shm");
    let base = if base.is_dir() {
        base.to_path_buf()
    } else {
        std::env::temp_dir()
    };
    let dir = tempfile::Builder::new()
        .prefix("pagefence-test-")
        .tempdir_in(base);
    let dir = dir.expect("a directory for the lock table");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).expect("chmod of a directory of ours");
    dir
}

/// An artefact, or a failure that says how to get it.
pub fn found(artefact: Result<PathBuf, String>) -> PathBuf {
    artefact.unwrap_or_else(|message| panic!("{message}"))
}

/// What is told in a trace, as lines of JSON. Every ring in it is whole.
pub fn lines_of(trace: &Path) -> String {
    let Ok(mut folder) = report::Folder::open(trace) else {
        return String::new(); // nobody has made it
    };
    let events = folder.read(true);
    let problems = folder.take_problems();
    assert!(problems.is_empty(), "{problems:?}");
    events.iter().map(|event| event.json() + "\n").collect()
}

/// The same, parsed.
pub fn told_in(trace: &Path) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).expect("a line of the trace is JSON");
    lines_of(trace).lines().map(parse).collect()
}

/// Lines that the library itself wrote: they are beside the program's own output, not in it.
pub fn split_own_lines(stderr: &str) -> (String, Vec<String>) {
    let (own, theirs): (Vec<&str>, Vec<&str>) = stderr
        .split_inclusive('\n')
        .partition(|line| line.starts_with("pagefence"));
    (
        theirs.concat(),
        own.iter().map(|l| l.trim_end().to_owned()).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_lines_are_told_apart() {
        let (theirs, own) = split_own_lines("a\npagefence: x\nb");
        assert_eq!(
            (theirs.as_str(), own),
            ("a\nb", vec!["pagefence: x".to_owned()])
        );
    }
}
