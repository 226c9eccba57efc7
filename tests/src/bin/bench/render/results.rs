//! Reads the results that `scripts/bench WHAT --json FILE` has written: strictly, so that nothing is shown that is only half
//! understood.

use crate::report::Report;
use crate::statistics::Spread;
use crate::{io, past, peers, programs};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::io::ErrorKind;
use std::path::Path;

/// None: there are no results of that.
#[derive(Default)]
pub struct All {
    pub io: Option<Report<io::Results>>,
    pub aio: Option<Report<io::Results>>,
    pub programs: Option<Report<programs::Results>>,
    pub past: Option<Report<past::Results>>,
    pub peers: Option<Report<peers::Results>>,
    pub lock_table: Option<Report<LockTable>>,
}

pub fn read(directory: &Path) -> Result<All, String> {
    Ok(All {
        io: one(directory, "io")?,
        aio: one(directory, "aio")?,
        programs: one(directory, "programs")?,
        past: one(directory, "past")?,
        peers: one(directory, "peers")?,
        lock_table: one(directory, "lock-table")?,
    })
}

fn one<R: DeserializeOwned>(directory: &Path, what: &str) -> Result<Option<Report<R>>, String> {
    let path = directory.join(format!("{what}.json"));
    let file = path.display();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(format!("{file}: {e}")),
    };
    let report: Report<R> = serde_json::from_str(&text).map_err(|e| {
        // It says where at its end; compilers say it at the beginning.
        let (line, column, said) = (e.line(), e.column(), e.to_string());
        let said = said.strip_suffix(&format!(" at line {line} column {column}"));
        let said = said.map_or_else(|| e.to_string(), str::to_owned);
        format!("{file}:{line}:{column}: {said}")
    })?;
    match report.about.what == what {
        true => Ok(Some(report)),
        false => Err(format!(
            "{file}: these are results of {}",
            report.about.what
        )),
    }
}

/// What `scripts/bench lock-table` writes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockTable {
    pub clock_ns: Option<f64>,
    pub one_process: Vec<One>,
    pub two_processes_apart: Vec<Apart>,
    pub two_processes_at_odds: Vec<AtOdds>,
    pub promises: Vec<Promise>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct One {
    pub name: String,
    pub says: String,
    pub ns: Runs,
    pub latency_ns: Percentiles,
    pub instructions: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apart {
    #[serde(rename = "name")]
    _name: String,
    pub says: String,
    pub alone_ns: Runs,
    pub together_ns: Runs,
    pub times: Runs,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtOdds {
    #[serde(rename = "name")]
    _name: String,
    pub says: String,
    pub processes: [Contender; 2],
    #[serde(rename = "lesser_share")]
    _lesser_share: Runs,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contender {
    pub pairs_per_second: Runs,
    pub wait_ns: Percentiles,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Percentiles {
    pub p50: u64,
    pub p99: u64,
    pub p99_9: u64,
    pub max: u64,
    #[serde(rename = "samples")]
    _samples: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promise {
    pub promise: String,
    pub kept: bool,
    #[serde(rename = "measured")]
    _measured: f64,
    #[serde(rename = "limit")]
    _limit: f64,
    pub because: String,
}

/// A number for each round. What is said of them beside is made of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runs {
    runs: Vec<f64>,
    #[serde(rename = "median")]
    _median: Option<IgnoredAny>,
    #[serde(rename = "low")]
    _low: Option<IgnoredAny>,
    #[serde(rename = "high")]
    _high: Option<IgnoredAny>,
}

impl Runs {
    pub fn spread(&self) -> Option<Spread> {
        Spread::of(self.runs.iter().copied())
    }

    /// How many times the other, round by round.
    pub fn times(&self, other: &Runs) -> Option<Spread> {
        Spread::of(self.runs.iter().zip(&other.runs).map(|(a, b)| a / b))
    }
}

impl LockTable {
    pub fn one(&self, name: &str) -> Option<&One> {
        self.one_process.iter().find(|one| one.name == name)
    }
}
