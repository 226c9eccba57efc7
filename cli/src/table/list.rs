//! `pagefence table list` and `show`.

use kernel::errors;
use serde::Serialize;

use super::args::{ListArgs, OneArgs, Room};
use crate::columns::columns;
use crate::failure::Failure;
use crate::say::{Shown, answer};
use crate::scan::owner::Users;
use crate::status::render::{mebibytes, one};
use crate::tables::account::{self, Account};
use crate::tables::files::Names;
use crate::tables::live;
use crate::tables::mapped::Mapped;

/// A table can't be used.
const UNUSABLE: i32 = 1;

#[derive(Serialize)]
struct Listed<'a> {
    table: &'a str,
    state: &'static str,
    problem: &'a Option<String>,
    version: Option<u32>,
    bytes: Option<u64>,
    user: &'a Option<String>,
    mode: &'a Option<String>,
    living: usize,
    dead: usize,
    mapped_by: &'a [u32],
}

impl<'a> Listed<'a> {
    fn of(account: &'a Account) -> Listed<'a> {
        Listed {
            table: &account.table,
            state: account.state,
            problem: &account.problem,
            version: account.version,
            bytes: account.bytes,
            user: &account.user,
            mode: &account.mode,
            living: account.living(),
            dead: account.dead(),
            mapped_by: &account.mapped_by,
        }
    }
}

pub fn list(arguments: &ListArgs) -> Result<i32, Failure> {
    let mapped = Mapped::look(&[]);
    let tables = account::all(&mapped);
    let listed: Vec<Listed> = tables.iter().map(Listed::of).collect();
    if arguments.json {
        let all = serde_json::json!({"tables": listed, "complete": !mapped.incomplete});
        answer(all)?;
    } else {
        answer(page(&listed, mapped.incomplete))?;
    }
    let unusable = tables.iter().any(|table| table.problem.is_some());
    Ok(if unusable { UNUSABLE } else { 0 })
}

fn page(listed: &[Listed], incomplete: bool) -> String {
    let mut out = String::new();
    if listed.is_empty() {
        out += "no lock table is on this machine: no fenced program has used a file\n";
    } else {
        let head = [
            "TABLE", "SIZE", "VERSION", "USER", "LIVING", "DEAD", "STATE",
        ];
        out += &columns(&head, listed.iter().map(row));
    }
    for one in listed {
        if let Some(problem) = one.problem {
            // The message of an unusable one begins with its name.
            let name = match one.state {
                "unusable" => String::new(),
                _ => format!("{}: ", one.table),
            };
            out += &format!("\n{name}{problem}\n");
            if !one.mapped_by.is_empty() {
                let pids: Vec<_> = one.mapped_by.iter().map(u32::to_string).collect();
                out += &format!("  mapped by: {}\n", pids.join(", "));
            }
        }
    }
    if incomplete {
        out += "\nsome processes could not be looked at: as root there may be more\n";
    }
    out
}

fn row(one: &Listed) -> [String; 7] {
    let count = |count: usize| match one.state {
        "in use" | "unused" => count.to_string(),
        _ => "?".to_owned(),
    };
    [
        one.table.to_owned(),
        one.bytes.map_or(String::new(), mebibytes),
        one.version
            .map_or(String::new(), |version| version.to_string()),
        one.user.clone().unwrap_or_default(),
        count(one.living),
        count(one.dead),
        one.state.to_owned(),
    ]
}

pub fn show(arguments: &OneArgs) -> Result<i32, Failure> {
    let (path, live) = live::open(arguments.table.as_deref())?;
    let Some(live) = live else {
        let shown = path.shown();
        return Err(Failure::of(&errors::NO_TABLE_YET, &[&shown]));
    };
    let mapped = Mapped::look(std::slice::from_ref(&live.path));
    let moment = live
        .look(&Users::read(), &mapped)
        .map_err(|error| live::refused(&error))?;
    let account = Account::of(&live, &moment, &mut Names::default());
    if arguments.json {
        answer(serde_json::to_string(&account).unwrap_or_default())?;
    } else {
        let mut out = String::new();
        one(&mut out, &account, true);
        if let (Some(room), Some(used)) = (&account.room, &account.used) {
            out += &format!("\n{}", rooms(room, used));
        }
        answer(out.trim_start())?;
    }
    Ok(0)
}

fn rooms(room: &Room, used: &Room) -> String {
    let rows = [
        ("processes", used.processes, room.processes),
        ("threads", used.threads, room.threads),
        ("requests", used.requests, room.requests),
        ("mappings", used.mappings, room.mappings),
        ("uses of files", used.uses, room.uses),
    ];
    let rows = rows.map(|(what, used, room)| [what.to_owned(), used.to_string(), room.to_string()]);
    columns(&["ROOM FOR", "TAKEN", "OF"], rows)
}
