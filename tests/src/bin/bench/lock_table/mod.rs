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
use crate::instructions::{callgrind, collected, per_call};
use crate::machine::Machine;
use crate::report::write;
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

#[derive(Serialize)]
struct Report {
    machine: Machine,
    rounds: u32,
    milliseconds_per_figure: u64,
    /// What two looks take is subtracted from the percentiles.
    clock_ns: Option<f64>,
    #[serde(flatten)]
    results: Results,
    promises: Vec<promises::Promise>,
}

pub fn measure(args: &Args) -> Result<(), String> {
    let common = &args.common;
    let figures = figures::chosen(&common.figure);
    if let Some(pairs) = args.pairs {
        return figures.iter().try_for_each(|f| take(f, pairs));
    }
    crew::end_in_order_when_interrupted();
    let mut machine = Machine::look();
    println!("{machine}");
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
    machine.finish();
    let report = Report {
        machine,
        rounds: common.rounds,
        milliseconds_per_figure: common.time,
        clock_ns: results.clock_ns(),
        promises: promises::of(&results),
        results,
    };
    println!("\n{}", tables::all(&report.results));
    println!("\n{}", tables::promises(&report.promises));
    println!("\n{}", report.machine.verdict());
    match &common.json {
        Some(file) => write(&report, file),
        None => Ok(()),
    }
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
