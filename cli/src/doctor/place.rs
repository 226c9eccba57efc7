//! Which lock table a program would join, who else can, and which rules of the policy speak of it.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use lock_table::Table;
use policy::Policy;
use policy::environment as names;

use super::diagnosis::Section;
use crate::exec::c_string;

const SYSTEM: &str = "/run/pagefence/table";
const MEMORY: &str = "/dev/shm";

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
    if Path::new(SYSTEM).exists() && (!own || usable(Path::new(SYSTEM))) {
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
    std::env::var_os(names::TABLE)
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
}

fn usable(path: &Path) -> bool {
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
    let entries = std::fs::read_dir(MEMORY).into_iter().flatten().flatten();
    let mut all: Vec<(PathBuf, u32)> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|n| n.as_bytes().starts_with(b"pagefence-user-"))
        })
        .filter_map(|dir| Some((dir.join("table"), dir.metadata().ok()?.uid())))
        .filter(|(table, _)| table.exists())
        .collect();
    all.sort();
    all
}

/// What is to be said of it.
pub fn examine(section: &mut Section, table: &Named) {
    let (path, by) = (&table.path, table.by);
    let shown = path.display();
    let name = c_string(path.as_os_str()).unwrap_or_default();
    match path.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            section.covered("table", format_args!("its lock table would be {shown} (named by {by}); the first program makes it"));
        }
        Err(error) => section.uncovered(
            "table",
            format_args!("its lock table would be {shown} (named by {by}), and can't be looked at: {error}"),
            "let this user reach it, or name another (PAGEFENCE_TABLE, or `table` in the policy)",
        ),
        Ok(found) if !usable(path) => section.uncovered(
            "table",
            format_args!("its lock table would be {shown} (named by {by}), which this user may not write: it is of user {}", found.uid()),
            "join its group, or ask for a table for the machine: pagefence table create --help",
        ),
        Ok(found) => match Table::inspect(&name) {
            Ok(table) => {
                let alive = table.snapshot().processes.iter().filter(|p| p.alive).count();
                section.covered("table", format_args!(
                    "its lock table is {shown} (named by {by}), {}; {alive} processes are in it", who(path, &found)
                ));
            }
            Err(error) => section.uncovered("table", format_args!("its lock table {shown} (named by {by}): {error}"), ""),
        },
    }
    let others: Vec<String> = all_tables()
        .into_iter()
        .filter(|other| other != path)
        .map(|other| other.display().to_string())
        .collect();
    if !others.is_empty() {
        section.note(
            "other-tables",
            format_args!("other tables on this machine: {}", others.join(", ")),
            "programs in different tables don't exclude each other: have all that use a file name the same one",
        );
    }
}

fn all_tables() -> Vec<PathBuf> {
    let system = Path::new(SYSTEM).exists().then(|| PathBuf::from(SYSTEM));
    system
        .into_iter()
        .chain(of_users().into_iter().map(|(path, _)| path))
        .collect()
}

/// Who can join, by the permissions of the file and of its directory.
fn who(path: &Path, found: &std::fs::Metadata) -> String {
    let directory = path.parent().and_then(|dir| dir.metadata().ok());
    let reach = |bit: u32| directory.as_ref().is_none_or(|dir| dir.mode() & bit != 0);
    let all = found.mode() & 0o006 == 0o006 && reach(0o001);
    let group = found.mode() & 0o060 == 0o060 && reach(0o010);
    let (user, of_group) = (found.uid(), found.gid());
    match (all, group) {
        (true, _) => "which every user can join".to_owned(),
        (false, true) => format!("which user {user} and group {of_group} can join"),
        (false, false) => format!("which only user {user} can join"),
    }
}

/// The rules that a program of this name gets, and the policy that they stand in.
pub fn rules(section: &mut Section, policy: &Policy, program: &[u8]) {
    let rules = policy.rules_for(program);
    let named = policy.name();
    let from = if named.is_empty() {
        "the built-in policy"
    } else {
        named
    };
    let defaults = policy.defaults();
    if policy.is_off() {
        return section.uncovered(
            "policy",
            format_args!("{from} fences no file at all (mode = \"off\")"),
            "write mode = \"enforce\"",
        );
    }
    if rules.is_empty() {
        return section.covered(
            "policy",
            format_args!(
                "{from}: no rule speaks of it; files are under mode \"{}\"",
                defaults.mode.word()
            ),
        );
    }
    for rule in rules {
        let why = if rule.names_it {
            "names it"
        } else {
            "is for every program"
        };
        section.covered(
            "policy",
            format_args!(
                "{from}:{}: {} {why}: mode \"{}\", isolation \"{}\", route \"{}\"",
                rule.rule.line,
                rule.rule,
                rule.settings.mode.word(),
                rule.settings.isolation.word(),
                rule.settings.route.word()
            ),
        );
    }
}
