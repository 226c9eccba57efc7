//! Where lock tables are: the one that a program would join, and all that are in usual places.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use lock_table::OfSystem;
use policy::Policy;
use policy::environment as names;

const SYSTEM: &str = "/run/pagefence/table";
const MEMORY: &str = "/dev/shm";
/// What stands for it where names in that one can be taken away: a directory for each user.
const SESSIONS: &str = "/run/user";

/// Where a table's name comes from.
pub struct Named {
    pub path: PathBuf,
    pub by: &'static str,
}

/// The table for a user's programs, made by nobody yet perhaps. `variable`: what the environment says.
pub fn table_of(user: u32, variable: Option<PathBuf>, policy: &Policy) -> Named {
    let named = |path: PathBuf, by| Named { path, by };
    if let Some(path) = variable {
        return named(path, "the variable PAGEFENCE_TABLE");
    }
    if let Some(path) = policy.table() {
        return named(path.to_owned(), "the policy");
    }
    let own = rustix::process::geteuid().as_raw() == user;
    // Of another user it isn't known whether he can join it.
    let is_systems = match own {
        true => lock_table::of_system() == OfSystem::Open,
        false => Path::new(SYSTEM).exists(),
    };
    if is_systems {
        return named(SYSTEM.into(), "the administrator, for the machine");
    }
    let mut all = of_users();
    all.retain(|(_, of)| *of == user);
    let path = all.into_iter().map(|(path, _)| path).next();
    let usual = || Path::new(MEMORY).join(format!("pagefence-user-{user}/table"));
    named(path.unwrap_or_else(usual), "nobody, so this user's own")
}

/// As the environment of this command says.
pub fn variable() -> Option<PathBuf> {
    names::path_in(names::TABLE)
}

/// Whether this user may attach to it.
pub fn usable(path: &Path) -> bool {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    accessat(
        CWD,
        path,
        Access::READ_OK | Access::WRITE_OK,
        AtFlags::EACCESS,
    )
    .is_ok()
}

/// Tables of single users: each with its owner.
fn of_users() -> Vec<(PathBuf, u32)> {
    let list = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
    let sessions = list(Path::new(SESSIONS)).map(|entry| entry.path());
    let mut all: Vec<(PathBuf, u32)> = std::iter::once(PathBuf::from(MEMORY))
        .chain(sessions)
        .flat_map(|directory| list(&directory))
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|n| n.as_bytes().starts_with(b"pagefence-user-"))
        })
        .filter_map(|dir| Some((dir.join("table"), dir.symlink_metadata().ok()?)))
        .filter(|(table, dir)| dir.is_dir() && table.symlink_metadata().is_ok())
        .map(|(table, dir)| (table, dir.uid()))
        .collect();
    all.sort();
    all
}

/// In their usual places.
pub fn all_tables() -> Vec<PathBuf> {
    let system = Path::new(SYSTEM).exists().then(|| PathBuf::from(SYSTEM));
    system
        .into_iter()
        .chain(of_users().into_iter().map(|(path, _)| path))
        .collect()
}
