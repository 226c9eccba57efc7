//! What Pagefence costs: the same plain program, bare and fenced in turn, on every filesystem.
//!
//! Machines are noisy and get busy, so nothing is compared across time: each fenced run has a bare run
//! right before it, differences and ratios are taken pair by pair, and their medians and extremes are shown.

mod instructions;
mod io;
mod machine;
mod pair;
mod report;
mod statistics;

use clap::{Parser, Subcommand};
use pagefence_tests::artefacts;
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures what Pagefence costs.
#[derive(Parser)]
#[command(name = "bench")]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Calls on files, bare and fenced, on every filesystem, and the lock pair
    Io(IoArgs),
}

/// The filesystems are those in PAGEFENCE_TEST_FILESYSTEMS; see `scripts/filesystems`.
#[derive(clap::Args)]
struct IoArgs {
    /// How often bare and fenced runs are made in turn
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long each figure is measured in each run, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 60)]
    time: u64,
    /// Only this filesystem (may be repeated)
    #[arg(long, value_name = "NAME")]
    filesystem: Vec<String>,
    /// Only this figure (may be repeated); `io-cost --help` lists them
    #[arg(long, value_name = "NAME")]
    figure: Vec<String>,
    /// Count instructions per call too (callgrind)
    #[arg(long)]
    instructions: bool,
    /// Write all results to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The built programs that are measured.
struct Tools {
    app: PathBuf,
    library: PathBuf,
    pair: PathBuf,
}

fn main() -> ExitCode {
    let What::Io(args) = Args::parse().what;
    match measure(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("bench: {message}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &IoArgs) -> Result<(), String> {
    let tools = Tools {
        app: artefacts::app("io-cost")?,
        library: artefacts::library()?,
        pair: artefacts::app("examples/pair")?,
    };
    let places = io::chosen(&args.filesystem)?;
    let mut report = report::Report::begin(args);
    println!("{}", report.machine);
    for place in &places {
        let measured = io::measure(&tools, place, args)?;
        println!("\n{}", report::table(&measured));
        report.filesystems.push(measured);
    }
    report.pair = pair::measure(&tools.pair)?;
    println!("\n{}", report::pair_table(&report.pair));
    if args.instructions {
        // The library's instructions are the same everywhere, but for the checks of direct I/O.
        let place = places.first().ok_or("no filesystem")?;
        let counts = instructions::measure(&tools, place, args)?;
        println!("\n{}", report::instruction_table(&counts));
        report.instructions = Some(counts);
    }
    report.machine.finish();
    println!("\n{}", report.machine.verdict());
    match &args.json {
        Some(file) => report.write(file),
        None => Ok(()),
    }
}
