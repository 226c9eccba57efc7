//! The page for people: the verdict, a row for each process and file, the way out.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use policy::Escaped;

use super::Report;
use super::modes::{File, Mode, User};
use crate::columns::columns;

/// How many files are shown to people; JSON has all.
const SHOWN: usize = 40;

pub fn page(report: &Report) -> String {
    let bad = report.files.iter().any(|file| file.mixed && !file.coherent);
    // NO_COLOR, a dumb terminal and a pipe are seen there.
    let choice = anstream::AutoStream::choice(&std::io::stdout());
    let style = match bad && choice != anstream::ColorChoice::Never {
        true => AnsiColor::Red.on_default().bold(),
        false => Style::new(),
    };
    let mut out = format!("{style}{}{style:#}\n", report.verdict);
    // Writing to a String can't fail.
    for file in report.files.iter().take(SHOWN) {
        let mark = match (file.mixed, file.coherent) {
            (true, false) => "MIXED  ",
            (true, true) => "mixed, kept coherent  ",
            (false, _) => "",
        };
        let _ = writeln!(
            out,
            "\n{mark}{} ({}, {} {}, inode {})\n{}",
            file.path,
            file.filesystem,
            if file.kind == "file" {
                "device"
            } else {
                "block device"
            },
            file.device,
            file.inode,
            rows(file)
        );
    }
    let more = report.files.len().saturating_sub(SHOWN);
    if more > 0 {
        let _ = writeln!(out, "\nand {more} more files: --json shows all");
    }
    if !report.unseen.is_empty() {
        let shown: Vec<String> = report
            .unseen
            .iter()
            .take(4)
            .map(|one| format!("{} (pid {}, {})", one.program, one.pid, one.user))
            .collect();
        let more = match report.unseen.len().saturating_sub(4) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let _ = writeln!(out, "\nnot looked at: {}{more}", shown.join(", "));
    }
    if !report.hint.is_empty() {
        let _ = writeln!(out, "\n{}", report.hint);
    }
    let _ = writeln!(out, "\nnot seen by any look:");
    for limit in &report.limits {
        let _ = writeln!(out, "  {limit}");
    }
    out
}

/// A row for each of its users.
pub fn rows(file: &File) -> String {
    let head = [
        "PID", "PROGRAM", "USER", "UNIT", "MODES", "BY", "FENCED", "POLICY",
    ];
    columns(&head, file.users.iter().map(row))
        .trim_end()
        .to_owned()
}

fn row(user: &User) -> [String; 8] {
    let who = &user.who;
    let program = match who.command.is_empty() || who.program.starts_with(&who.command) {
        true => who.program.clone(),
        false => format!("{} ({})", who.program, who.command),
    };
    let unit = who
        .container
        .as_ref()
        .map(|name| format!("container {name}"));
    let dash = || "-".to_owned();
    let modes: Vec<&str> = user.modes.iter().map(|mode| mode.word()).collect();
    let policy = user
        .fence
        .policy
        .as_ref()
        .map(|policy| format!("{} ({})", policy.mode, policy.rule));
    [
        who.pid.to_string(),
        Escaped(program.as_bytes()).to_string(),
        who.user.clone(),
        unit.or(who.unit.clone()).unwrap_or_else(dash),
        modes.join(", "),
        by(user),
        match (user.fence.fenced, &user.fence.table) {
            (true, Some(table)) => format!("by {table}"),
            (_, _) => user.fence.note.unwrap_or("no").to_owned(),
        },
        policy.unwrap_or_else(dash),
    ]
}

/// `fd 3 rw, 5 r; 2 mappings, 64 KiB dirty`
fn by(user: &User) -> String {
    const NUMBERS: usize = 6;
    let mut parts = Vec::new();
    let numbers = user.descriptors.iter().take(NUMBERS).map(|one| {
        let way = match (one.reads, one.writes) {
            (true, true) => "rw",
            (false, _) => "w",
            (true, false) => "r",
        };
        let direct = if one.direct && user.cached().is_some() {
            " direct"
        } else {
            ""
        };
        format!("{} {way}{direct}", one.number)
    });
    let numbers: Vec<String> = numbers.collect();
    match user.descriptors.len().saturating_sub(NUMBERS) {
        _ if numbers.is_empty() => {}
        0 => parts.push(format!("fd {}", numbers.join(", "))),
        more => parts.push(format!("fd {} and {more} more", numbers.join(", "))),
    }
    if !user.mappings.is_empty() {
        let dirty: u64 = user.mappings.iter().filter_map(|one| one.dirty_kib).sum();
        let dirty = match user.has(Mode::MappedWritable) {
            true => format!(", {dirty} KiB of them dirty"),
            false => String::new(),
        };
        let count = match user.mappings.len() {
            1 => "1 mapping".to_owned(),
            count => format!("{count} mappings"),
        };
        parts.push(count + &dirty);
    }
    parts.join("; ")
}
