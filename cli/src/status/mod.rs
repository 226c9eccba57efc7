//! `pagefence status`: lock tables, who is attached to which, and which files are in mixed use.

pub mod args;
pub mod render;

use kernel::errors;
use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::failure::Failure;
use crate::say::{Shown, answer};
use crate::scan::target::Targets;
use crate::scan::{self, Scanner};
use crate::tables::account::{self, Account, FileUse};
use crate::tables::mapped::Mapped;
use args::StatusArgs;

/// Something goes past the fence.
const NOT_KEPT: i32 = 1;
/// Nothing that was seen, and not everything could be.
const INCOMPLETE: i32 = 3;

#[derive(Serialize)]
pub struct Report {
    pub verdict: String,
    pub hint: String,
    pub complete: bool,
    pub tables: Vec<Account>,
    /// What is found of the file from outside.
    pub scan: Option<scan::Report>,
    #[serde(skip)]
    kept: bool,
}

pub fn status(arguments: &StatusArgs) -> Result<i32, Failure> {
    let report = match &arguments.file {
        None => of_all(),
        Some(file) => of_one(file)?,
    };
    match arguments.json {
        true => answer(serde_json::to_string(&report).unwrap_or_default())?,
        false => answer(render::page(&report))?,
    }
    Ok(match (report.kept, report.complete) {
        (false, _) => NOT_KEPT,
        (true, false) => INCOMPLETE,
        (true, true) => 0,
    })
}

fn of_all() -> Report {
    let mapped = Mapped::look(&[]);
    let tables = account::all(&mapped);
    let twice = in_two(&tables);
    let mixed: usize = tables.iter().map(|table| table.mixed().count()).sum();
    let living: usize = tables.iter().map(Account::living).sum();
    let mut verdict = match tables.len() {
        0 => "no lock table is on this machine: no fenced program has used a file".to_owned(),
        tables => format!(
            "{}, {} attached, {} in mixed use",
            counted(tables, "lock table", "lock tables"),
            counted(living, "process", "processes"),
            counted(mixed, "file", "files")
        ),
    };
    if let Some(file) = &twice {
        verdict += &format!("; {file} is in use through more than one table");
    }
    let hint = match &twice {
        Some(_) => {
            "tables exclude nothing from each other: have all that use the file name one (PAGEFENCE_TABLE, or `table` in the policy)".to_owned()
        }
        None if mapped.incomplete => "ask as root to see all processes".to_owned(),
        None => String::new(),
    };
    Report {
        verdict,
        hint,
        complete: !mapped.incomplete,
        kept: twice.is_none(),
        tables,
        scan: None,
    }
}

pub fn counted(count: usize, one: &str, more: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        count => format!("{count} {more}"),
    }
}

/// A file that living processes use through more than one table.
fn in_two(tables: &[Account]) -> Option<String> {
    let mut seen: BTreeMap<(&str, u64), usize> = BTreeMap::new();
    for (at, table) in tables.iter().enumerate() {
        for one in &table.files {
            let key = (one.file.device.as_str(), one.file.inode);
            if *seen.entry(key).or_insert(at) != at {
                return Some(one.file.shown());
            }
        }
    }
    None
}

fn of_one(file: &Path) -> Result<Report, Failure> {
    if file.is_dir() {
        let shown = file.shown();
        return Err(Failure::of(&errors::IS_A_DIRECTORY, &[&shown]));
    }
    let targets = Targets::new(&[file.to_owned()])?;
    let id = targets.only_file();
    let scan = Scanner::new(targets).report();
    let mapped = Mapped::look(&[]);
    let mut tables = account::all(&mapped);
    let is_it = |one: &FileUse| Some(one.file.id) == id;
    tables.retain_mut(|table| {
        table.files.retain(is_it);
        !table.files.is_empty()
    });
    let found = scan.files.first();
    let in_tables = found.map_or(0, |file| file.tables()).max(tables.len());
    let (mut verdict, mut hint) = (scan.verdict.clone(), scan.hint.clone());
    let apart = in_tables > 1;
    if let Some(found) = found
        && !found.mixed
    {
        let bare: Vec<String> = found
            .users
            .iter()
            .filter(|user| !user.fence.fenced)
            .map(|user| user.who.shown())
            .collect();
        if !bare.is_empty() && bare.len() < found.users.len() {
            verdict += &format!("; {} not fenced", are(&bare));
        }
        if apart {
            verdict += "; and through different tables, which exclude nothing";
            hint = "have them name one table: PAGEFENCE_TABLE, or `table` in the policy".to_owned();
        }
    }
    let kept = !apart && found.is_none_or(|found| !found.mixed || found.coherent);
    Ok(Report {
        verdict,
        hint,
        complete: scan.complete && !mapped.incomplete,
        kept,
        tables,
        scan: Some(scan),
    })
}

fn are(who: &[String]) -> String {
    match who {
        [one] => format!("{one} is"),
        [one, others @ ..] => format!("{one} and {} more are", others.len()),
        [] => String::new(),
    }
}
