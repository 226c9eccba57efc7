//! What is to be said of the lock table that a program would join, who else can, and which rules of the policy speak of it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use lock_table::Table;
use policy::Policy;

use super::diagnosis::Section;
use crate::exec::c_string;
use crate::say::Shown;
use crate::tables::place::{Named, all_tables, usable};

/// What is to be said of it.
pub fn examine(section: &mut Section, table: &Named) {
    let (path, by) = (&table.path, table.by);
    let shown = path.shown();
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
        .map(|other| other.shown().to_string())
        .collect();
    if !others.is_empty() {
        section.note(
            "other-tables",
            format_args!("other tables on this machine: {}", others.join(", ")),
            "programs in different tables don't exclude each other: have all that use a file name the same one",
        );
    }
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
                "{}:{}: {} {why}: mode \"{}\", isolation \"{}\", route \"{}\"",
                rule.rule.file,
                rule.rule.line,
                rule.rule,
                rule.settings.mode.word(),
                rule.settings.isolation.word(),
                rule.settings.route.word()
            ),
        );
    }
}
