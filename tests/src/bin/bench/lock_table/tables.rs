//! The results for people.

use super::figures::Who;
use super::promises::Promise;
use super::results::{Apart, AtOdds, One, Percentiles, Results, Runs};
use crate::report::short;

const NAME: usize = 44;

/// A table for each kind of figure that was measured.
pub fn all(results: &Results) -> String {
    let mut tables = Vec::new();
    if !results.one_process.is_empty() {
        tables.push(one_process(results));
    }
    if !results.two_processes_apart.is_empty() {
        tables.push(apart(&results.two_processes_apart));
    }
    if !results.two_processes_at_odds.is_empty() {
        tables.push(at_odds(&results.two_processes_at_odds));
    }
    tables.join("\n\n")
}

fn one_process(results: &Results) -> String {
    let mut lines = vec![format!(
        "{:NAME$} {:>8} {:>18} {:>7}  {} {:>7}",
        "one process, ns per pair",
        "median",
        "low..high",
        "times",
        percentile_head(),
        "instr."
    )];
    for one in &results.one_process {
        lines.push(one_line(one, results.one("two-locked")));
    }
    if let Some(ns) = results.clock_ns() {
        lines.push(format!(
            "times: two locked instructions. p50 to max: single pairs, less the clock's own {ns:.0} ns: exact where they are much more."
        ));
    }
    lines.join("\n")
}

fn one_line(one: &One, locked: Option<&One>) -> String {
    let times = locked.and_then(|locked| one.ns.times(&locked.ns));
    let peer = !matches!(one.who, Who::Ours | Who::Locked);
    let name = if peer {
        format!("peer: {}", one.says)
    } else {
        one.says.to_owned()
    };
    format!(
        "{name:NAME$} {} {:>7}  {} {:>7}",
        median_and_range(&one.ns),
        times.map_or("-".to_owned(), |t| format!("{:.2}", t.median)),
        percentiles(&one.latency_ns.percentiles()),
        one.instructions
            .map_or("-".to_owned(), |n| format!("{n:.0}"))
    )
}

fn apart(figures: &[Apart]) -> String {
    let mut lines = vec![format!(
        "{:NAME$} {:>8} {:>18} {:>8} {:>18} {:>6} {:>11}",
        "two processes that don't want the same",
        "alone",
        "low..high",
        "both",
        "low..high",
        "times",
        "low..high"
    )];
    for figure in figures {
        let times = figure
            .times
            .spread()
            .map_or(format!("{:>6} {:>11}", "-", "-"), |t| {
                let range = format!("{:.2}..{:.2}", t.low, t.high);
                format!("{:>6.2} {range:>11}", t.median)
            });
        lines.push(format!(
            "{:NAME$} {} {} {times}",
            figure.says,
            median_and_range(&figure.alone_ns),
            median_and_range(&figure.together_ns)
        ));
    }
    lines.push("ns per pair of each process, alone and while the other ran too.".to_owned());
    lines.join("\n")
}

fn at_odds(figures: &[AtOdds]) -> String {
    let mut lines = vec![format!(
        "{:NAME$} {:>8} {:>7}  {}",
        "two processes at odds, ns of waiting",
        "pairs/s",
        "share",
        percentile_head()
    )];
    for figure in figures {
        let mut name = figure.says;
        let rates = figure
            .processes
            .each_ref()
            .map(|p| p.pairs_per_second.spread());
        let sum: f64 = rates.iter().flatten().map(|rate| rate.median).sum();
        for (contender, rate) in figure.processes.iter().zip(rates) {
            let rate = rate.map_or(f64::NAN, |rate| rate.median);
            lines.push(format!(
                "{name:NAME$} {:>8} {:>6.0}%  {}",
                short(rate, ""),
                100.0 * rate / sum,
                percentiles(&contender.wait_ns.percentiles())
            ));
            name = "";
        }
    }
    lines.push("a line for each process (the whole file's first); each holds for 1,000 ns and asks again at once.".to_owned());
    lines.join("\n")
}

fn median_and_range(runs: &Runs) -> String {
    let Some(spread) = runs.spread() else {
        return format!("{:>8} {:>18}", "-", "-");
    };
    let range = format!("{}..{}", tenths(spread.low), tenths(spread.high));
    format!("{:>8} {range:>18}", tenths(spread.median))
}

/// Tenths where they say something.
fn tenths(ns: f64) -> String {
    if ns < 1000.0 {
        format!("{ns:.1}")
    } else {
        short(ns, "")
    }
}

fn percentile_head() -> String {
    format!("{:>7} {:>7} {:>7} {:>7}", "p50", "p99", "p99.9", "max")
}

fn percentiles(p: &Percentiles) -> String {
    let [p50, p99, p99_9, max] = [p.p50, p.p99, p.p99_9, p.max].map(|ns| short(ns as f64, ""));
    format!("{p50:>7} {p99:>7} {p99_9:>7} {max:>7}")
}

pub fn promises(promises: &[Promise]) -> String {
    let line = |p: &Promise| {
        let kept = if p.kept { "yes" } else { "NO" };
        format!("{kept:3}  {}: {}", p.promise, p.because)
    };
    let lines: Vec<_> = promises.iter().map(line).collect();
    lines.join("\n")
}
