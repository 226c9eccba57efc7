//! What a trace tells, for people: the verdict, then each file. What didn't happen isn't shown.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use report::{Account, Count, File};

use crate::columns::columns;

/// How many files, and rows of one, are shown to people; JSON has all.
const FILES: usize = 20;
const ROWS: usize = 8;

pub fn page(account: &Account) -> String {
    let mut out = format!("{}\n", account.verdict);
    // Writing to a String can't fail.
    if !account.hint.is_empty() {
        let _ = writeln!(out, "  {}", account.hint);
    }
    for file in account.files.iter().take(FILES) {
        one_file(&mut out, file);
    }
    let more = account.files.len().saturating_sub(FILES);
    if more > 0 {
        let _ = writeln!(out, "\nand {more} more files: --json shows all");
    }
    let others = account.others.iter().map(|other| {
        let about = match other.file.as_str() {
            "" => other.reason.clone(),
            file => format!("{file}: {}", other.reason),
        };
        let way_out = match other.hint.as_str() {
            "" => other.done.clone(),
            hint => format!("{}; {hint}", other.done),
        };
        let count = other.count.to_string();
        vec![
            other.event.into(),
            other.program.clone(),
            about,
            way_out,
            count,
        ]
    });
    let others: Vec<_> = others.collect();
    if !others.is_empty() {
        out.push('\n');
        rows(
            &mut out,
            &["EVENT", "PROGRAM", "ABOUT", "DONE", "TIMES"],
            others,
        );
    }
    let _ = writeln!(
        out,
        "\n{} events in {} rings",
        account.events, account.rings
    );
    out
}

fn one_file(out: &mut String, file: &File) {
    let path = if file.path.is_empty() {
        "?"
    } else {
        &file.path
    };
    let mixed = if file.mixed { "MIXED  " } else { "" };
    let (major, minor) = (rustix::fs::major(file.dev), rustix::fs::minor(file.dev));
    let _ = writeln!(
        out,
        "\n{mixed}{path} (device {major}:{minor}, inode {})\n {} to {}: {}",
        file.ino,
        moment(file.first),
        moment(file.last),
        listed(&file.counts)
    );
    if !file.fallbacks.is_empty() {
        let _ = writeln!(out, " fell back because: {}", listed(&file.fallbacks));
    }
    if file.waits.count > 0 {
        let (total, longest) = (file.waits.total_seconds, file.waits.longest_seconds);
        let _ = writeln!(out, " waited {total:.3} s in all, {longest:.3} s at most");
    }
    tables(out, file);
}

/// Who, whom, where.
fn tables(out: &mut String, file: &File) {
    let programs = file.programs.iter().map(|one| {
        let processes: Vec<_> = one
            .processes
            .iter()
            .take(ROWS)
            .map(u32::to_string)
            .collect();
        let more = match one.processes.len().saturating_sub(ROWS) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let processes = processes.join(", ") + &more;
        vec![one.program.clone(), one.modes.join(", "), processes]
    });
    rows(
        out,
        &["PROGRAM", "SEEN IN", "PROCESSES"],
        programs.collect(),
    );
    calls(out, file);
    let pairs = file.pairs.iter().take(ROWS).map(|pair| {
        vec![
            pair.event.to_owned(),
            format!("{} ({})", pair.program, pair.mode),
            match pair.other_mode.as_str() {
                "" => pair.other_program.clone(),
                mode => format!("{} ({mode})", pair.other_program),
            },
            bytes(pair.first, pair.last),
            pair.count.to_string(),
        ]
    });
    rows(
        out,
        &["EVENT", "WHO", "MET", "BYTES", "TIMES"],
        pairs.collect(),
    );
    let ranges = file
        .ranges
        .iter()
        .take(ROWS)
        .map(|range| vec![bytes(range.first, range.last), range.count.to_string()]);
    rows(out, &["HOTTEST BYTES", "EVENTS"], ranges.collect());
}

/// All of them, where they were recorded.
fn calls(out: &mut String, file: &File) {
    let calls = file.calls.iter().take(ROWS).map(|calls| {
        let failed = match calls.failed {
            0 => String::new(),
            failed => format!(" ({failed} failed)"),
        };
        vec![
            calls.program.clone(),
            format!("{} {}", calls.call, calls.mode)
                .trim_end()
                .to_owned(),
            format!("{}{failed}", calls.count),
            calls.bytes.to_string(),
            format!("{:.3}", calls.seconds),
        ]
    });
    rows(
        out,
        &["PROGRAM", "CALLS", "TIMES", "BYTES", "SECONDS"],
        calls.collect(),
    );
}

/// To the millisecond, in UTC.
fn moment(seconds: f64) -> String {
    // What no clock says is in a ring that means harm.
    const LAST: f64 = 2e11;
    let since = Duration::from_secs_f64(seconds.clamp(0.0, LAST));
    humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
}

fn listed(counts: &[Count]) -> String {
    let all = counts
        .iter()
        .map(|one| format!("{} {}", one.count, one.what));
    all.collect::<Vec<_>>().join(", ")
}

pub fn bytes(first: u64, last: u64) -> String {
    match last {
        u64::MAX => format!("{first} to the end"),
        last => format!("{first} to {last}"),
    }
}

fn rows(out: &mut String, head: &[&str], rows: Vec<Vec<String>>) {
    if rows.is_empty() {
        return;
    }
    out.push_str(&columns(head, rows));
}
