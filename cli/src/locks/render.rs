//! The page for people: the verdict, and for each file its ranges.

use std::fmt::Write;

use super::{Lock, Report, State};
use crate::columns::columns;
use crate::page::bytes;

/// How many ranges are shown to people; JSON has all.
const SHOWN: usize = 400;

pub(super) fn page(report: &Report) -> String {
    let mut out = format!("{}\n", report.verdict);
    let shown = report.locks.get(..SHOWN).unwrap_or(&report.locks);
    // Writing to a String can't fail.
    for locks in shown.chunk_by(|a, b| a.file == b.file) {
        if let Some(first) = locks.first() {
            let _ = writeln!(out, "\n{}", first.file.shown());
        }
        let head = [
            "PID",
            "PROGRAM",
            "THREAD",
            "ACCESS",
            "BYTES",
            "STATE",
            "AT LEAST",
            "BLOCKED BY",
        ];
        out += &columns(&head, locks.iter().map(row));
    }
    let more = report.locks.len() - shown.len();
    if more > 0 {
        let _ = writeln!(out, "\nand {more} more: --json shows all");
    }
    if !report.hint.is_empty() {
        let _ = writeln!(out, "\n{}", report.hint);
    }
    out
}

fn row(lock: &Lock) -> [String; 8] {
    let thread = match (lock.thread, &lock.thread_name) {
        (None, _) => "asynchronous".to_owned(),
        (Some(thread), None) => thread.to_string(),
        (Some(thread), Some(name)) => format!("{thread} ({name})"),
    };
    let atomic = if lock.atomic { ", atomic" } else { "" };
    [
        lock.who.pid.to_string(),
        lock.who.program.clone(),
        thread,
        format!("{}{atomic}", lock.access),
        bytes_of(lock),
        state(lock),
        age(lock.at_least_seconds),
        blockers(lock),
    ]
}

pub fn bytes_of(lock: &Lock) -> String {
    bytes(lock.first, lock.last.unwrap_or(u64::MAX))
}

pub fn state(lock: &Lock) -> String {
    let state = match lock.state {
        State::Holds => "holds",
        State::Announced => "announced",
        State::Waits => "waits",
    };
    match (lock.who.alive, lock.who.stopped) {
        (false, _) => format!("{state}, dead"),
        (_, true) => format!("{state}, stopped"),
        _ => state.to_owned(),
    }
}

pub fn age(seconds: f64) -> String {
    match seconds {
        0.0 => String::new(),
        seconds => format!("{seconds:.1} s"),
    }
}

pub fn blockers(lock: &Lock) -> String {
    let Some(first) = lock.blocked_by.first() else {
        return String::new();
    };
    let more = match lock.blocked_by.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{} (pid {}){more}", first.program, first.pid)
}
