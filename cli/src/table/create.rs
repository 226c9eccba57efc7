//! `pagefence table create`: a lock table with as much room as is asked for.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use lock_table::Table;
use serde::Serialize;

use super::args::{CreateArgs, Room};
use crate::failure::Failure;
use crate::say::{Shown, answer};
use crate::tables::place::variable;

#[derive(Serialize)]
struct Made<'a> {
    table: String,
    bytes: u64,
    #[serde(flatten)]
    room: &'a Room,
}

pub fn create(arguments: &CreateArgs) -> Result<i32, Failure> {
    let failed = |message: String| Failure::new(1, message, "");
    // As `run` sets it: programs that start elsewhere must find the same one.
    let path = std::path::absolute(place(arguments)).map_err(|e| failed(e.to_string()))?;
    let name = CString::new(path.as_os_str().as_bytes())
        .map_err(|_| failed(format!("{}: a path has no zero byte", path.shown())))?;
    let room = &arguments.room;
    Table::create(&name, &room.geometry()).map_err(|error| failed(error.to_string()))?;
    let (table, bytes) = (path.shown().to_string(), size(&path));
    let said = if arguments.json {
        let made = Made { table, bytes, room };
        serde_json::to_string(&made).unwrap_or_default()
    } else {
        format!(
            "{table}: {:.1} MiB, room for {} processes, {} threads, {} requests, {} mappings, {} uses",
            bytes as f64 / f64::from(1 << 20),
            room.processes,
            room.threads,
            room.requests,
            room.mappings,
            room.uses
        )
    };
    answer(said).map_err(|failure| Failure {
        advice: format!("but {} is made", path.shown()),
        ..failure
    })?;
    Ok(0)
}

/// As the library looks for it, but for the policy's.
fn place(arguments: &CreateArgs) -> PathBuf {
    let default = || OsString::from_vec(lock_table::default_path().into_bytes()).into();
    match &arguments.table {
        Some(path) => path.clone(),
        None => variable().unwrap_or_else(default),
    }
}

fn size(path: &Path) -> u64 {
    path.metadata().map_or(0, |file| file.len())
}
