//! What the lock table costs, beside its peers: figures of one process, of two with ranges of their own, of two that
//! want the same.
//!
//! All figures are taken in turn, round by round, each in new processes with a new table; ratios are taken within a
//! round, and medians and extremes over the rounds are shown.

mod crew;
mod figures;
mod lockers;
mod measure;
mod pairs;
mod promises;
mod results;
mod scene;
mod tables;
mod tree;

use crate::Common;
use crate::about::About;
use crate::instructions::{callgrind, collected, per_call};
use crate::report;
use clap::builder::PossibleValuesParser;
use figures::{Figure, Kind, Who};
use measure::{Found, Job, Task};
use results::Results;
use scene::Scene;
use serde::Serialize;
use std::time::Duration;

#[derive(clap::Args)]
#[command(mut_arg("figure", |arg| arg.value_parser(PossibleValuesParser::new(figures::FIGURES.iter().map(|f| f.name)))))]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Take N pairs of the one figure in this process and print nothing: what callgrind counts
    #[arg(long, value_name = "N", hide = true)]
    pairs: Option<u64>,
}

/// As it is written; who reads it has types of its own (`render::results`), since here names are the program's.
#[derive(Serialize)]
pub struct All {
    /// What two looks take is subtracted from the percentiles.
    clock_ns: Option<f64>,
    #[serde(flatten)]
    results: Results,
    promises: Vec<promises::Promise>,
}

impl All {
    pub fn of(results: Results) -> All {
        All {
            clock_ns: results.clock_ns(),
            promises: promises::of(&results),
            results,
        }
    }
}

pub fn measure(args: &Args) -> Result<(), String> {
    let common = &args.common;
    let figures = figures::chosen(&common.figure);
    if let Some(pairs) = args.pairs {
        return figures.iter().try_for_each(|f| take(f, pairs));
    }
    crew::end_in_order_when_interrupted();
    let about = About::begin("lock-table", common, Some(common.time), &[])?;
    println!("{}", about.machine);
    let mut results = Results::default();
    let time = Duration::from_millis(common.time);
    for round in 1..=common.rounds {
        eprintln!("lock table: round {round} of {}", common.rounds);
        for figure in &figures {
            let found = run(figure, u64::from(round), time);
            results.add(figure, found.map_err(|e| format!("{}: {e}", figure.name))?)?;
        }
    }
    if common.instructions {
        for figure in figures.iter().filter(|f| countable(f)) {
            eprintln!("instructions: {}", figure.name);
            results.set_instructions(figure, instructions(figure)?);
        }
    }
    let all = All::of(results);
    println!("\n{}", tables::all(&all.results));
    println!("\n{}", tables::promises(&all.promises));
    report::close(about, all, common.json.as_deref())
}

fn run(figure: &Figure, round: u64, time: Duration) -> Result<Vec<Found>, String> {
    let scene = Scene::new()?;
    crew::run(figure.measured() + figure.holders(), |process| {
        measure::work(&Job {
            figure,
            scene: &scene,
            process,
            round,
            task: Task::For(time),
        })
    })
}

fn take(figure: &Figure, pairs: u64) -> Result<(), String> {
    if !countable(figure) {
        return Err(format!("{}: more than one process", figure.name));
    }
    let scene = Scene::new()?;
    measure::work(&Job {
        figure,
        scene: &scene,
        process: 0,
        round: 1,
        task: Task::Pairs(pairs),
    });
    Ok(())
}

/// Callgrind counts one process, and nothing in the kernel, which is where OFD locks are.
fn countable(figure: &Figure) -> bool {
    figure.kind == Kind::One && figure.holders() == 0 && figure.who != Who::Ofd
}

fn instructions(figure: &Figure) -> Result<f64, String> {
    let this = std::env::current_exe().map_err(|e| format!("where is this program? {e}"))?;
    per_call(|pairs| {
        let mut command = callgrind(&this);
        command.args(["lock-table", "--figure", figure.name]);
        command.args(["--pairs", &pairs.to_string()]);
        let output = command.output().map_err(|e| format!("valgrind: {e}"))?;
        collected(&String::from_utf8_lossy(&output.stderr))
    })
}

/// Results of each kind, for tests of who reads them.
#[cfg(test)]
pub fn examples() -> Results {
    let mut results = Results::default();
    let one = |ns| Found::One {
        ns,
        latency: vec![(ns as u64, 10)],
        clock_ns: 20,
    };
    let apart = || Found::Apart {
        alone_ns: 10.0,
        together_ns: Some(11.0),
    };
    let odds = || Found::AtOdds {
        pairs: 100,
        seconds: 0.5,
        waits: vec![(1000, 100)],
    };
    for (name, found) in [
        ("two-locked", vec![one(20.0)]),
        ("pair", vec![one(30.0)]),
        ("apart-stripes", vec![apart(), apart()]),
        ("same", vec![odds(), odds()]),
    ] {
        let figure = figures::FIGURES.iter().find(|f| f.name == name);
        let figure = figure.expect("a figure of that name");
        results.add(figure, found).expect("as many processes");
    }
    results
}
