//! Tables for people, JSON for programs.

use crate::about::About;
use crate::instructions::Count;
use crate::io::{Figure, Measured};
use crate::statistics::Series;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What is written as JSON, whatever was measured: what about, and the results.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report<R> {
    pub about: About,
    pub results: R,
}

impl<R: Serialize> Report<R> {
    pub fn write(&self, file: &Path) -> Result<(), String> {
        let text = serde_json::to_string_pretty(self).map_err(|e| e.to_string())?;
        std::fs::write(file, text + "\n").map_err(|e| format!("{}: {e}", file.display()))
    }
}

/// Measuring is over: says whether the figures can be trusted, and writes them if that is asked for.
pub fn close<R: Serialize>(
    mut about: About,
    results: R,
    json: Option<&Path>,
) -> Result<(), String> {
    about.machine.finish();
    println!("\n{}", about.machine.verdict());
    match json {
        Some(file) => Report { about, results }.write(file),
        None => Ok(()),
    }
}

/// Figure × one mode and mixed.
pub fn table(measured: &Measured) -> String {
    let head = columns(["bare", "fenced", "more", "low..high", "times"]);
    let width = head.len();
    let mut lines = vec![
        format!(
            "{:17} {:^width$}  {:^width$}",
            measured.filesystem,
            "-- a file for each mode, ns per call --",
            "-- one file in mixed use, ns per call --"
        ),
        format!("{:17} {head}  {head}", ""),
    ];
    for figure in &measured.figures {
        let (one_mode, mixed) = (half(&figure.one_mode), half(&figure.mixed));
        lines.push(format!("{:17} {one_mode}  {mixed}", figure.name));
    }
    lines.join("\n")
}

/// Figure × one mode and mixed. None: nothing of it was measured.
pub fn sleeps_table(measured: &Measured) -> Option<String> {
    let columns = |four: [String; 4]| four.map(|s| format!("{s:>11}")).join("");
    let head = columns(["bare", "fenced", "bare", "fenced"].map(str::to_owned));
    let width = head.len();
    let mut lines = vec![
        format!(
            "{:17} {:^width$}  {:^width$}",
            measured.filesystem,
            "-- the thread's sleeps per 1,000 requests --",
            "-- other threads' per second --"
        ),
        format!("{:17} {head}  {head}   (one mode, mixed)", ""),
    ];
    for figure in &measured.figures {
        let medians = |series: &Series| match series.summary() {
            Some(s) => [s.bare_ns.median, s.fenced_ns.median].map(|n| format!("{n:.1}")),
            None => ["-", "-"].map(str::to_owned),
        };
        let [one, mixed] = &figure.sleeps;
        let line = |one: &Series, mixed: &Series| {
            let ([a, b], [c, d]) = (medians(one), medians(mixed));
            columns([a, b, c, d])
        };
        let switches = line(&one.switches, &mixed.switches);
        let wakes = line(&one.wakes, &mixed.wakes);
        lines.push(format!("{:17} {switches}  {wakes}", figure.name));
    }
    let any = |figure: &Figure| figure.sleeps.iter().any(|s| s.wakes.summary().is_some());
    measured.figures.iter().any(any).then(|| lines.join("\n"))
}

fn columns([bare, fenced, more, range, times]: [&str; 5]) -> String {
    format!("{bare:>7} {fenced:>7} {more:>7} {range:>16} {times:>6}")
}

fn half(series: &Series) -> String {
    let Some(summary) = series.summary() else {
        return columns(["-"; 5]);
    };
    let more = summary.difference_ns;
    columns([
        &short(summary.bare_ns.median, ""),
        &short(summary.fenced_ns.median, ""),
        &short(more.median, "+"),
        &format!("{}..{}", short(more.low, "+"), short(more.high, "+")),
        &format!("{:.2}", summary.ratio.median),
    ])
}

/// Thousands as `k` and millions as `M` where there are many: nobody reads the rest of their digits.
pub fn short(ns: f64, plus: &str) -> String {
    let sign = if ns < 0.0 { "-" } else { plus };
    match ns.abs() {
        size if size < 10_000.0 => format!("{sign}{size:.0}"),
        size if size < 100_000.0 => format!("{sign}{:.1}k", size / 1000.0),
        size if size < 10_000_000.0 => format!("{sign}{:.0}k", size / 1000.0),
        size => format!("{sign}{:.1}M", size / 1e6),
    }
}

pub fn instruction_table(counts: &[Count]) -> String {
    let mut text = format!(
        "{:28} {:>8} {:>8} {:>8} {:>14} {:>8}",
        "instructions outside kernel", "bare", "fenced", "more", "fenced, mixed", "more"
    );
    for count in counts {
        text += &format!(
            "\n{:28} {:8.0} {:8.0} {:+8.0} {:14.0} {:+8.0}",
            count.name,
            count.bare,
            count.fenced,
            count.fenced - count.bare,
            count.fenced_mixed,
            count.fenced_mixed - count.bare
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let said = [381.4, -381.6, 12_046.0, -149_065.0, 5e7].map(|ns| short(ns, "+"));
        assert_eq!(said, ["+381", "-382", "+12.0k", "-149k", "+50.0M"]);
    }
}
