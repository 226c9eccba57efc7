//! Instructions per call, counted by callgrind: they don't depend on what else the machine does. Only the
//! program and the library are counted, not the kernel.

use crate::Common;
use crate::io::{AIO, Kind, Tools, run_one};
use pagefence_tests::places::Place;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Command;

/// Of two runs that differ in nothing but the number of calls, the difference is what the calls took.
const FEW: u64 = 64;
const MANY: u64 = 576;

/// Where the library works on one call. (What a fork or a spawn costs is the kernel's and the loader's.)
const FIGURES: [&str; 9] = [
    "pread-4k",
    "pread-1",
    "pwrite-4k",
    "read-4k",
    "direct-write-4k",
    "direct-read-4k",
    "open-close",
    "open-read-close",
    "mmap-munmap",
];

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    pub name: String,
    pub bare: f64,
    pub fenced: f64,
    pub fenced_mixed: f64,
}

/// The same of `aio-cost`.
const AIO_FIGURES: [&str; 5] = [
    "aio-read-1",
    "aio-read-32",
    "aio-read-32-each",
    "aio-ring-32",
    "aio-write-32",
];

pub fn measure(tools: &Tools, place: &Place, args: &Common) -> Result<Vec<Count>, String> {
    let wanted =
        |name: &&str| args.figure.is_empty() || args.figure.iter().any(|f| f.as_str() == *name);
    let mut counts = Vec::new();
    let figures = match tools.app.ends_with(AIO) {
        true => &AIO_FIGURES[..],
        false => &FIGURES[..],
    };
    for figure in figures.iter().copied().filter(wanted) {
        eprintln!("instructions: {figure}");
        let count = |fenced, mixed| {
            let kind = Kind { fenced, mixed };
            per_call(|calls| of_app(tools, place, figure, kind, calls))
        };
        counts.push(Count {
            name: figure.to_owned(),
            bare: count(false, false)?,
            fenced: count(true, false)?,
            fenced_mixed: count(true, true)?,
        });
    }
    Ok(counts)
}

/// Runs something with few calls and with many.
pub fn per_call(counted: impl Fn(u64) -> Result<u64, String>) -> Result<f64, String> {
    let (few, many) = (counted(FEW)?, counted(MANY)?);
    Ok((many as f64 - few as f64) / (MANY - FEW) as f64)
}

fn of_app(
    tools: &Tools,
    place: &Place,
    figure: &str,
    kind: Kind,
    calls: u64,
) -> Result<u64, String> {
    let directory = place.directory();
    let mut command = callgrind(&tools.app);
    command.arg(directory.path());
    command.args(["--only", figure, "--calls", &calls.to_string()]);
    collected(&run_one(tools, command, kind, None)?.stderr)
}

/// A command that counts the program's instructions.
pub fn callgrind(program: &Path) -> Command {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.arg(program);
    command
}

/// The count that callgrind wrote.
pub fn collected(stderr: &str) -> Result<u64, String> {
    parse(stderr).ok_or_else(|| format!("callgrind gave no count:\n{stderr}"))
}

/// `==123== Collected : 2239026`
fn parse(stderr: &str) -> Option<u64> {
    let line = stderr.lines().find(|line| line.contains("Collected :"))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_callgrind_says() {
        let text = "==7== Events    : Ir\n==7== Collected : 2239026\n==7== \n";
        assert_eq!(parse(text), Some(2_239_026));
        assert_eq!(parse("==7== Events    : Ir\n"), None);
    }
}
