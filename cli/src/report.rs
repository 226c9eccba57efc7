//! What `run --summary` says at the end: for people, and as JSON.

use policy::Escaped;
use std::ffi::OsStr;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use summary::{
    Counter, Summary, USED_BUFFERED, USED_DIRECT, USED_MAPPED, USED_MAPPED_WRITABLE, UseRecord,
};

use crate::say::Shown;
use crate::supervise::End;

/// The run, with all its children, up to the moment when the program ended.
#[derive(Debug, Serialize)]
pub struct Report {
    program: String,
    exit_code: Option<i32>,
    signal: Option<i32>,
    seconds: f64,
    /// That were fenced.
    processes: u64,
    mixed_files: Vec<MixedFile>,
    /// Uses of files that there was no room to note.
    lost_uses: u64,
    direct_writes: u64,
    direct_reads: u64,
    fell_back: FellBack,
    invalidate_failed: u64,
    waits: Waits,
    collisions: u64,
    lock_timeouts: u64,
    deadlocks: u64,
    nested: u64,
    reaped: u64,
    uncovered: u64,
    table_errors: u64,
    /// Records that could not be written to the trace.
    trace_lost: u64,
}

/// A file used directly and through the cache.
#[derive(Debug, Serialize)]
struct MixedFile {
    path: String,
    device: String,
    inode: u64,
    used_by: Vec<UsedBy>,
}

#[derive(Debug, Serialize)]
struct UsedBy {
    program: String,
    /// The first process of that program that did.
    pid: u32,
    modes: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct FellBack {
    mapped: u64,
    invalidation_failed: u64,
    no_second_descriptor: u64,
}

#[derive(Debug, Serialize)]
struct Waits {
    count: u64,
    total_seconds: f64,
    longest_seconds: f64,
}

impl Report {
    pub fn new(summary: &Summary, program: &OsStr, end: &End, elapsed: Duration) -> Report {
        let get = |counter| summary.get(counter);
        let seconds = |counter| Duration::from_nanos(summary.get(counter)).as_secs_f64();
        let (exit_code, signal) = match *end {
            End::Exited(code) => (Some(code), None),
            End::Killed(signal) => (None, Some(signal)),
        };
        Report {
            program: program.shown().to_string(),
            exit_code,
            signal,
            seconds: elapsed.as_secs_f64(),
            processes: get(Counter::Processes),
            mixed_files: mixed_files(summary.uses()),
            lost_uses: summary.lost_uses(),
            direct_writes: get(Counter::DirectWritesDirect),
            direct_reads: get(Counter::DirectReadsDirect),
            fell_back: FellBack {
                mapped: get(Counter::FallbackMapped),
                invalidation_failed: get(Counter::FallbackInvalidation),
                no_second_descriptor: get(Counter::FallbackDegraded),
            },
            invalidate_failed: get(Counter::InvalidateFailed),
            waits: Waits {
                count: get(Counter::Waits),
                total_seconds: seconds(Counter::WaitNanos),
                longest_seconds: seconds(Counter::WaitMaxNanos),
            },
            collisions: get(Counter::Collisions),
            lock_timeouts: get(Counter::LockTimeouts),
            deadlocks: get(Counter::Deadlocks),
            nested: get(Counter::Nested),
            reaped: get(Counter::Reaped),
            uncovered: get(Counter::Uncovered),
            table_errors: get(Counter::TableErrors),
            trace_lost: get(Counter::TraceLost),
        }
    }

    pub fn json(&self) -> String {
        // Numbers and texts only: there is nothing in it that JSON can't say.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Groups the uses by file, and keeps the files that are mixed.
fn mixed_files(mut uses: Vec<UseRecord>) -> Vec<MixedFile> {
    uses.sort_by_key(|record| (record.dev, record.ino, record.pid));
    let mut files: Vec<MixedFile> = uses
        .chunk_by(|a, b| (a.dev, a.ino) == (b.dev, b.ino))
        .filter(|uses| is_mixed(uses))
        .filter_map(mixed_file)
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn is_mixed(uses: &[UseRecord]) -> bool {
    let modes = uses.iter().fold(0, |modes, record| modes | record.modes);
    modes & USED_DIRECT != 0 && modes & !USED_DIRECT != 0
}

fn mixed_file(uses: &[UseRecord]) -> Option<MixedFile> {
    let first = uses.first()?;
    let path = Escaped(&first.path);
    let cut = if first.path_truncated { "..." } else { "" };
    let (major, minor) = (rustix::fs::major(first.dev), rustix::fs::minor(first.dev));
    Some(MixedFile {
        path: format!("{cut}{path}"),
        device: format!("{major}:{minor}"),
        inode: first.ino,
        used_by: uses.iter().map(used_by).collect(),
    })
}

fn used_by(record: &UseRecord) -> UsedBy {
    let names = [
        (USED_BUFFERED, "buffered"),
        (USED_DIRECT, "direct"),
        (USED_MAPPED, "mapped"),
        (USED_MAPPED_WRITABLE, "mapped writable"),
    ];
    let modes = names.into_iter().filter(|(bit, _)| record.modes & bit != 0);
    UsedBy {
        program: Escaped(&record.program).to_string(),
        pid: record.pid,
        modes: modes.map(|(_, name)| name).collect(),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = match (self.exit_code, self.signal) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            (None, None) => String::new(),
        };
        writeln!(out)?;
        writeln!(
            out,
            "pagefence: {}: {end} after {:.1} s",
            self.program, self.seconds
        )?;
        if self.processes == 0 {
            writeln!(
                out,
                "  no process of this run was fenced: nothing below was counted"
            )?;
        } else {
            row(out, "processes fenced", self.processes)?;
        }
        self.show_files(out)?;
        row(out, "direct writes", self.direct_writes)?;
        row(out, "direct reads", self.direct_reads)?;
        let FellBack {
            mapped,
            invalidation_failed,
            no_second_descriptor,
        } = self.fell_back;
        row(
            out,
            "fell back",
            mapped + invalidation_failed + no_second_descriptor,
        )?;
        row(out, "  mapped writable there", mapped)?;
        row(out, "  invalidation failed", invalidation_failed)?;
        row(out, "  no second descriptor", no_second_descriptor)?;
        row(out, "invalidations failed", self.invalidate_failed)?;
        row(out, "waits", self.waits.count)?;
        row(out, "  in total", show_seconds(self.waits.total_seconds))?;
        row(
            out,
            "  the longest",
            show_seconds(self.waits.longest_seconds),
        )?;
        row(out, "collisions (observed)", self.collisions)?;
        row(out, "lock timeouts", self.lock_timeouts)?;
        row(out, "deadlocks", self.deadlocks)?;
        row(out, "nested calls", self.nested)?;
        row(out, "dead processes reaped", self.reaped)?;
        row(out, "uncovered", self.uncovered)?;
        row(out, "table errors", self.table_errors)?;
        row(out, "trace records lost", self.trace_lost)
    }
}

impl Report {
    fn show_files(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        row(out, "files in mixed use", self.mixed_files.len())?;
        for file in &self.mixed_files {
            writeln!(
                out,
                "    {} (device {}, inode {})",
                file.path, file.device, file.inode
            )?;
            for user in &file.used_by {
                let modes = user.modes.join(", ");
                writeln!(
                    out,
                    "      {} (process {}): {modes}",
                    user.program, user.pid
                )?;
            }
        }
        if self.lost_uses > 0 {
            writeln!(
                out,
                "    and {} uses that there was no room to note",
                self.lost_uses
            )?;
        }
        Ok(())
    }
}

fn row(out: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(out, "  {name:<24} {value:>10}")
}

fn show_seconds(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1000.0)
    } else {
        format!("{seconds:.1} s")
    }
}
