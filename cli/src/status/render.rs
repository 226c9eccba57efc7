//! The page for people: the verdict, then each table with its processes and the files in mixed use.

use std::fmt::Write;

use super::{Report, counted};
use crate::columns::columns;
use crate::scan;
use crate::tables::account::{Account, FileUse};
use crate::tables::live::Member;

/// How many processes, files and users of one are shown to people; JSON has all.
const PROCESSES: usize = 40;
const FILES: usize = 40;
const USERS: usize = 4;

pub fn page(report: &Report) -> String {
    let mut out = format!("{}\n", report.verdict);
    for table in &report.tables {
        one(&mut out, table, report.scan.is_some());
    }
    if let Some(scan) = &report.scan {
        // Writing to a String can't fail.
        for file in &scan.files {
            let _ = writeln!(
                out,
                "\nopen or mapped, as `pagefence scan` finds it\n{}",
                scan::render::rows(file)
            );
        }
    }
    if !report.hint.is_empty() {
        let _ = writeln!(out, "\n{}", report.hint);
    }
    out
}

/// A table; `all` its files, or those in mixed use.
pub fn one(out: &mut String, table: &Account, all: bool) {
    let mut about = vec![table.state.to_owned()];
    about.extend(table.version.map(|version| format!("version {version}")));
    about.extend(table.bytes.map(mebibytes));
    about.extend(table.user.as_ref().map(|user| format!("of {user}")));
    let _ = writeln!(out, "\n{} ({})", table.table, about.join(", "));
    if let Some(problem) = &table.problem {
        let _ = writeln!(out, " {problem}");
        if !table.mapped_by.is_empty() {
            let pids: Vec<_> = table.mapped_by.iter().map(u32::to_string).collect();
            let _ = writeln!(out, " mapped by: {}", pids.join(", "));
        }
    }
    let living = table.processes.iter().filter(|one| one.alive);
    if table.living() > 0 {
        let head = ["PID", "PROGRAM", "USER", "ATTACHED FOR", "STATE"];
        *out += &columns(&head, living.take(PROCESSES).map(process));
        more(out, table.living(), PROCESSES, "processes");
    }
    if table.dead() > 0 {
        let dead = counted(table.dead(), "dead process", "dead processes");
        let _ = writeln!(out, " and what {dead} left, until the next comes");
    }
    let files = table.files.iter().filter(|file| all || file.mixed);
    let files: Vec<&FileUse> = files.collect();
    if !files.is_empty() {
        let head = [
            if all { "FILE" } else { "FILE IN MIXED USE" },
            "MODES",
            "BY",
            "NOW",
        ];
        *out += &columns(&head, files.iter().take(FILES).map(|file| file_row(file)));
        more(out, files.len(), FILES, "files");
    }
}

fn more(out: &mut String, count: usize, shown: usize, what: &str) {
    if count > shown {
        let _ = writeln!(out, " and {} more {what}: --json shows all", count - shown);
    }
}

pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn process(member: &Member) -> [String; 5] {
    let state = if member.stopped { "stopped" } else { "" };
    [
        member.pid.to_string(),
        member.program.clone(),
        member.user.clone().unwrap_or_default(),
        time(member.attached_seconds),
        state.to_owned(),
    ]
}

/// To the second.
pub fn time(seconds: f64) -> String {
    let whole = std::time::Duration::from_secs(seconds as u64);
    humantime::format_duration(whole).to_string()
}

fn file_row(file: &FileUse) -> [String; 4] {
    let users = file.users.iter().take(USERS).map(|user| {
        let observes = if user.observes { ", observing" } else { "" };
        format!("{}{observes}", user.shown())
    });
    let mut by = users.collect::<Vec<_>>().join(", ");
    if file.users.len() > USERS {
        let _ = write!(by, " and {} more", file.users.len() - USERS);
    }
    [file.file.shown(), file.modes.join(", "), by, now(file)]
}

/// What goes on in it, as far as something does.
pub fn now(file: &FileUse) -> String {
    let all = [
        (file.claims, "call under way", "calls under way"),
        (file.waiting, "waiting", "waiting"),
        (
            file.writable_mappings,
            "writable mapping",
            "writable mappings",
        ),
        (
            file.unverified,
            "unchecked write of a killed process",
            "unchecked writes of killed processes",
        ),
    ];
    let some = all.into_iter().filter(|(count, ..)| *count > 0);
    let some: Vec<String> = some
        .map(|(count, one, more)| counted(count, one, more))
        .collect();
    some.join(", ")
}
