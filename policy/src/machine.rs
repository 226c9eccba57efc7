//! The machine's policy: what holds where nobody names one. An administrator's file, and beside it files of rules, which
//! packages bring: the administrator's rules come first, then theirs in the order of their names. What holds for all files
//! ([defaults]) and the lock table stand in the administrator's alone, so that none has to ask which of several counts.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::Errno;

use crate::{Policy, PolicyError, named, parse, read};

/// Where it lies on a machine.
pub const FOLDER: &str = "/etc/pagefence";
/// The administrator's file.
pub const MAIN: &str = "policy.toml";
/// The folder of the others.
pub const PARTS: &str = "policy.d";

/// What this folder says; the built-in policy where it is not there, or says nothing.
pub(crate) fn load(folder: &Path) -> Result<Policy, PolicyError> {
    if is_missing(folder) {
        return Ok(Policy::built_in());
    }
    let (main, parts) = (folder.join(MAIN), parts(folder)?);
    let mut policy = match is_missing(&main) {
        true => Policy::built_in(),
        false => Policy::load(&main)?,
    };
    if policy.name.is_empty() && !parts.is_empty() {
        policy.name = named(folder);
    }
    for part in parts {
        // Whose policy can't be had must not have another table as well.
        let table = policy.table.clone();
        let broken = |error| PolicyError { table, ..error };
        let added = read(&part).and_then(|text| parse::rules(&text, &named(&part), &policy.rules));
        policy.add(added.map_err(broken)?);
    }
    Ok(policy)
}

/// Asked by every program that starts: one system call.
fn is_missing(path: &Path) -> bool {
    matches!(
        access(path, Access::EXISTS),
        Err(Errno::NOENT | Errno::NOTDIR)
    )
}

/// The files of rules, in the order of their names. Hidden ones, and what editors and package managers leave beside
/// them, end otherwise.
fn parts(folder: &Path) -> Result<Vec<PathBuf>, PolicyError> {
    let folder = folder.join(PARTS);
    let unreadable = |error| PolicyError::unreadable(&named(&folder), &error);
    let mut parts = Vec::new();
    if is_missing(&folder) {
        return Ok(parts);
    }
    for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        if name.ends_with(b".toml") && !name.starts_with(b".") {
            parts.push(path);
        }
    }
    parts.sort();
    Ok(parts)
}
