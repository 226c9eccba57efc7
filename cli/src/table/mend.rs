//! `pagefence table repair` and `remove`: by the lock table's own code.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use kernel::errors::{NO_TABLE_YET, TABLE_IN_USE};
use lock_table::{Fault, Table, TableError};
use serde::Serialize;

use super::args::OneArgs;
use crate::exec::c_string;
use crate::failure::{Failure, OWN_FAILURE};
use crate::say::{Shown, answer, plain, tell};
use crate::scan::owner::Users;
use crate::status::counted;
use crate::tables::live::{self, Live, Member};
use crate::tables::mapped::Mapped;

/// Living processes are attached, or something of the dead is left.
const NOT_DONE: i32 = 1;

#[derive(Serialize)]
struct Repaired {
    table: String,
    processes: u32,
    claims: u32,
    mappings: u32,
    uses: u32,
    unverified: usize,
}

#[derive(Serialize)]
struct Removed {
    table: String,
    removed: bool,
    unverified: usize,
}

/// The table that is meant, which may not be there.
fn meant(arguments: &OneArgs) -> Result<(PathBuf, CString), Failure> {
    let (path, live) = live::open(arguments.table.as_deref())?;
    let name = c_string(path.as_os_str())?;
    match live {
        Some(_) => Ok((path, name)),
        None => {
            let shown = path.shown();
            Err(Failure::of(&NO_TABLE_YET, &[&shown]))
        }
    }
}

/// One that may be looked at may be another user's all the same.
fn refused(path: &Path, error: &TableError) -> Failure {
    let Fault::WrongOwner { uid } = error.fault() else {
        return live::refused(error);
    };
    let user = Users::read().name(uid);
    let message = format!(
        "lock table {} is {user}'s, and changed by its user only",
        path.shown()
    );
    Failure::new(
        OWN_FAILURE,
        message,
        format!("runuser -u {user} -- pagefence table ..."),
    )
}

pub fn repair(arguments: &OneArgs) -> Result<i32, Failure> {
    let (path, name) = meant(arguments)?;
    let table = Table::inspect(&name).map_err(|error| refused(&path, &error))?;
    let done = table.reap();
    let left = table.snapshot();
    let dead = left.processes.iter().filter(|one| !one.alive).count();
    let unverified = left.unverified.len();
    if arguments.json {
        let done = Repaired {
            table: plain(path.as_os_str().as_encoded_bytes()),
            processes: done.processes,
            claims: done.claims,
            mappings: done.mappings,
            uses: done.uses,
            unverified,
        };
        answer(serde_json::to_string(&done).unwrap_or_default())?;
    } else {
        let count = |count: u32, one, more| counted(count as usize, one, more);
        let said = match done.processes {
            0 => "nothing of any dead process is in it".to_owned(),
            dead => format!(
                "cleaned up after {}: {}, {}, {}",
                count(dead, "dead process", "dead processes"),
                count(done.claims, "range", "ranges"),
                count(done.uses, "use of a file", "uses of files"),
                count(done.mappings, "mapping", "mappings")
            ),
        };
        let noted = match unverified {
            0 => String::new(),
            more => format!(
                "; {} noted for the next fenced program that opens the file, which says so",
                counted(
                    more,
                    "direct write of a killed process stays",
                    "direct writes of killed processes stay"
                )
            ),
        };
        answer(format!("{}: {said}{noted}", path.shown()))?;
    }
    if dead > 0 {
        tell(format_args!(
            "pagefence: something of {} is left: somebody else is cleaning it away",
            counted(dead, "dead process", "dead processes")
        ));
        return Ok(NOT_DONE);
    }
    Ok(0)
}

pub fn remove(arguments: &OneArgs) -> Result<i32, Failure> {
    let (path, name) = meant(arguments)?;
    let table = Table::inspect(&name).map_err(|error| refused(&path, &error))?;
    // What the dead were writing is noted there, and would be lost without a word.
    table.reap();
    let unverified = table.snapshot().unverified;
    drop(table);
    Table::remove(&name).map_err(|error| match error.fault() {
        Fault::InUse => in_use(&path),
        _ => refused(&path, &error),
    })?;
    for range in &unverified {
        let (major, minor) = (
            rustix::fs::major(range.file.dev),
            rustix::fs::minor(range.file.dev),
        );
        tell(format_args!(
            "pagefence: a killed process was writing bytes {} of the file with inode {} on device {major}:{minor} directly: whether the page cache has them was not checked, and nobody knows of it now",
            crate::page::bytes(range.first, range.last),
            range.file.ino,
        ));
    }
    let said = match arguments.json {
        true => serde_json::to_string(&Removed {
            table: plain(path.as_os_str().as_encoded_bytes()),
            removed: true,
            unverified: unverified.len(),
        })
        .unwrap_or_default(),
        false => format!("{}: removed", path.shown()),
    };
    answer(said)?;
    Ok(0)
}

/// With who they are.
fn in_use(path: &Path) -> Failure {
    const SHOWN: usize = 8;
    let mapped = Mapped::look(&[path.to_owned()]);
    let seen = Live::open(path).and_then(|live| live.look(&Users::read(), &mapped));
    let living: Vec<Member> = seen.map_or(Vec::new(), |moment| {
        let all = moment.members.into_values();
        all.filter(|member| member.alive).collect()
    });
    let who: Vec<String> = living.iter().take(SHOWN).map(Member::shown).collect();
    let more = match living.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!(
        "{} is in use by {}{more}: {}",
        path.shown(),
        who.join(", "),
        Fault::InUse
    );
    let advice = format!("nothing was removed: {}", TABLE_IN_USE.todo(&[]));
    Failure::new(NOT_DONE, message, advice)
}
