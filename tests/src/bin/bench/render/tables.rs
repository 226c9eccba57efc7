//! The page's tables: every figure.

use super::results::{LockTable, Percentiles, Runs};
use super::rows::Row;
use super::words::{range, says, table, thousands, time, times};
use crate::instructions::Count;
use crate::io::{self, Figure};
use crate::peers::WAYS;
use crate::report::Report;
use crate::{past, peers, programs};

/// What wasn't measured.
fn none() -> String {
    "-".to_owned()
}

/// Bare, fenced, times, low..high, target.
fn five(row: Option<&Row>) -> Vec<String> {
    let Some(row) = row else {
        return vec![none(); 5];
    };
    let ratio = row.summary.ratio;
    let said = times(ratio.median);
    vec![
        time(row.summary.bare_ns.median),
        time(row.summary.fenced_ns.median),
        if row.misses() {
            format!("**{said}**")
        } else {
            said
        },
        range(ratio),
        row.target.map_or_else(none, times),
    ]
}

/// Calls, by filesystem; and instructions, if they were counted.
pub fn io(what: &str, report: &Report<io::Results>, rows: &[Row]) -> String {
    const FIVE: [&str; 5] = ["bare", "fenced", "times", "low..high", "target"];
    let mut text = String::new();
    for on in &report.results.filesystems {
        let row = |figure: &Figure, mixed| {
            rows.iter().find(|row| {
                let of = (row.what, row.filesystem, row.name, row.mixed);
                of == (what, &on.filesystem, &figure.name, mixed)
            })
        };
        let line = |figure: &Figure| {
            let (one_mode, mixed) = (five(row(figure, false)), five(row(figure, true)));
            [vec![says(&figure.name).to_owned()], one_mode, mixed].concat()
        };
        let measured = |figure: &&Figure| [false, true].iter().any(|m| row(figure, *m).is_some());
        let lines = on.figures.iter().filter(measured).map(line).collect();
        let mixed = FIVE.map(|name| format!("mixed: {name}"));
        let head: Vec<_> = FIVE
            .into_iter()
            .chain(mixed.iter().map(String::as_str))
            .collect();
        text += &format!("### {what} on {}\n\n", on.filesystem);
        text += &table(&[&[""], &head[..]].concat(), lines);
        text += &sleeps(&on.figures);
        text += "\n";
    }
    text + &report
        .results
        .instructions
        .as_deref()
        .map_or(String::new(), instructions)
}

/// How often threads slept, if that was counted.
fn sleeps(figures: &[Figure]) -> String {
    let line = |figure: &Figure| {
        let [one_mode, mixed] = &figure.sleeps;
        let all = [
            &one_mode.switches,
            &mixed.switches,
            &one_mode.wakes,
            &mixed.wakes,
        ];
        let all = all.map(|series| series.summary());
        all.iter().any(Option::is_some).then(|| {
            let cells = all.iter().flat_map(|summary| match summary {
                Some(s) => [s.bare_ns, s.fenced_ns].map(|n| format!("{:.1}", n.median)),
                None => [none(), none()],
            });
            [says(&figure.name).to_owned()]
                .into_iter()
                .chain(cells)
                .collect()
        })
    };
    let lines: Vec<Vec<String>> = figures.iter().filter_map(line).collect();
    if lines.is_empty() {
        return String::new();
    }
    let head = [
        "",
        "bare",
        "fenced",
        "mixed: bare",
        "mixed: fenced",
        "others, bare",
        "others, fenced",
        "others, mixed: bare",
        "others, mixed: fenced",
    ];
    let about = "How often the program's thread slept per 1,000 requests, and other threads of the process per second:";
    format!("\n{about}\n\n{}", table(&head, lines))
}

fn instructions(counts: &[Count]) -> String {
    let line = |count: &Count| {
        let more = |n: f64| format!("{} (+{})", thousands(n), thousands(n - count.bare));
        vec![
            says(&count.name).to_owned(),
            thousands(count.bare),
            more(count.fenced),
            more(count.fenced_mixed),
        ]
    };
    let lines = counts.iter().map(line).collect();
    let about = "### Instructions\n\nOutside the kernel, by callgrind: noise can't disturb them.";
    format!(
        "{about}\n\n{}",
        table(&["", "bare", "fenced", "mixed: fenced"], lines)
    )
}

pub fn programs(report: &Report<programs::Results>, rows: &[Row]) -> String {
    let mut text = String::new();
    for filesystem in in_order(report.results.figures.iter().map(|f| &f.filesystem)) {
        let on = report
            .results
            .figures
            .iter()
            .filter(|f| &f.filesystem == filesystem);
        let line = |figure: &programs::Figure| {
            let row = rows.iter().find(|row| {
                let of = (row.what, row.filesystem, row.name);
                of == ("programs", &figure.filesystem, &figure.name)
            });
            let mixed = if figure.mixed { " (mixed)" } else { "" };
            [
                vec![format!("`{}`: {}{mixed}", figure.name, figure.says)],
                five(row),
            ]
            .concat()
        };
        let head = ["", "bare", "fenced", "times", "low..high", "target"];
        text += &format!(
            "### Programs on {filesystem}\n\n{}\n",
            table(&head, on.map(line).collect())
        );
    }
    text
}

pub fn past(report: &Report<past::Results>) -> String {
    let line = |figure: &past::Figure| {
        let summary = figure.ns.summary();
        let all = summary.map_or(vec![none(); 4], |s| {
            let medians = [time(s.bare_ns.median), time(s.fenced_ns.median)];
            [&medians[..], &[times(s.ratio.median), range(s.ratio)]].concat()
        });
        [vec![format!("{}: {}", figure.filesystem, figure.name)], all].concat()
    };
    let lines = report.results.figures.iter().map(line).collect();
    table(&["", "bare", "past the cache", "times", "low..high"], lines)
}

pub fn peers(report: &Report<peers::Results>) -> String {
    let mut text = String::new();
    let names: Vec<_> = WAYS[1..].iter().map(|(_, name)| *name).collect();
    for filesystem in in_order(report.results.figures.iter().map(|f| &f.filesystem)) {
        for (mixed, title) in [(false, "one mode"), (true, "mixed use")] {
            let on = report.results.figures.iter();
            let on = on.filter(|f| &f.filesystem == filesystem && f.mixed == mixed);
            let line = |figure: &peers::Figure| {
                let bare = figure.bare_ns()?;
                let way = |way: &&str| figure.times(way).map_or_else(none, |t| times(t.median));
                let first = [says(&figure.name).to_owned(), time(bare.median)];
                Some(first.into_iter().chain(names.iter().map(way)).collect())
            };
            let head = [&["", "bare"], &names[..]].concat();
            text += &format!("### Peers on {filesystem}, {title}\n\n");
            text += &format!("{}\n", table(&head, on.filter_map(line).collect()));
        }
    }
    text
}

/// Each once, as they come.
fn in_order<'a>(names: impl Iterator<Item = &'a String>) -> Vec<&'a String> {
    let mut all = Vec::new();
    for name in names {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

fn spread(runs: &Runs) -> [String; 2] {
    let range = |s: crate::statistics::Spread| format!("{}..{}", time(s.low), time(s.high));
    runs.spread()
        .map_or([none(), none()], |s| [time(s.median), range(s)])
}

fn waits(p: &Percentiles) -> [String; 4] {
    [p.p50, p.p99, p.p99_9, p.max].map(|ns| time(ns as f64))
}

pub fn lock_table(all: &LockTable) -> String {
    let promises = all.promises.iter().map(|p| {
        let kept = if p.kept { "yes" } else { "**no**" };
        vec![p.promise.clone(), kept.to_owned(), p.because.clone()]
    });
    let promises = table(&["promise", "<kept", "<measured"], promises.collect());
    let locked = all.one("two-locked");
    let one = all.one_process.iter().map(|one| {
        let locked = locked.and_then(|locked| one.ns.times(&locked.ns));
        let times = locked.map_or_else(none, |t| times(t.median));
        let instructions = one.instructions.map_or_else(none, thousands);
        let waits = waits(&one.latency_ns);
        [
            std::slice::from_ref(&one.says),
            &spread(&one.ns)[..],
            &[times],
            &waits[..],
            &[instructions],
        ]
        .concat()
    });
    let head = [
        "one process",
        "a pair",
        "low..high",
        "times",
        "p50",
        "p99",
        "p99.9",
        "max",
        "instructions",
    ];
    let one = table(&head, one.collect());
    let apart = all.two_processes_apart.iter().map(|a| {
        let [alone, _] = spread(&a.alone_ns);
        let [both, _] = spread(&a.together_ns);
        let t = a.times.spread();
        let t = t.map_or([none(), none()], |t| [times(t.median), range(t)]);
        [&[a.says.clone(), alone, both], &t[..]].concat()
    });
    let head = [
        "two processes that don't want the same",
        "alone",
        "both",
        "times",
        "low..high",
    ];
    let apart = table(&head, apart.collect());
    let odds = all.two_processes_at_odds.iter().flat_map(|odds| {
        let rates = odds
            .processes
            .each_ref()
            .map(|p| p.pairs_per_second.spread());
        let sum: f64 = rates.iter().flatten().map(|rate| rate.median).sum();
        odds.processes
            .iter()
            .zip(rates)
            .map(move |(process, rate)| {
                let rate = rate.map_or([none(), none()], |rate| {
                    [
                        thousands(rate.median),
                        format!("{:.0} %", 100.0 * rate.median / sum),
                    ]
                });
                [
                    std::slice::from_ref(&odds.says),
                    &rate[..],
                    &waits(&process.wait_ns)[..],
                ]
                .concat()
            })
    });
    let head = [
        "two processes at odds",
        "pairs/s",
        "share",
        "p50",
        "p99",
        "p99.9",
        "max",
    ];
    let odds = table(&head, odds.collect());
    let clock = all
        .clock_ns
        .map_or(String::new(), |ns| format!(" ({})", time(2.0 * ns)));
    format!(
        "{promises}\n*times*: as long as two locked instructions. *p50* to *max*: single pairs, less two looks at the \
clock{clock}.\n\n{one}\n{apart}\nA line for each process; p50 to max are waits.\n\n{odds}"
    )
}
