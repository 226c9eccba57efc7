//! What Pagefence costs: the same plain program, bare and fenced in turn, on every filesystem; and the lock table
//! beside other locks.
//!
//! Machines are noisy and get busy, so nothing is compared across time: what is compared runs in turn, one right
//! after the other, differences and ratios are taken round by round, and their medians and extremes are shown.

mod about;
mod instructions;
mod io;
mod lock_table;
mod machine;
mod past;
mod peers;
mod programs;
mod render;
mod report;
mod statistics;
mod traces;

use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
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
    /// Calls on files, bare and fenced, on every filesystem
    Io(io::Args),
    /// Linux AIO, the same
    Aio(io::Args),
    /// `route = "direct"`: programs that read and write a file from its beginning to its end
    Past(io::Args),
    /// Calls on files, bare, fenced, and by what else could be put around a program
    Peers(io::Args),
    /// Calls on files, fenced, with a trace of what mixes, with one of all calls, and under strace
    Traces(io::Args),
    /// Whole programs, bare and fenced
    Programs(programs::Args),
    /// The lock table, beside other locks
    LockTable(lock_table::Args),
    /// Measures nothing: makes the page, the picture and the part of docs/costs.md from results that were written before
    Render(render::Args),
}

#[derive(clap::Args)]
struct Common {
    /// How often everything is measured in turn
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long each figure is measured in each round, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    time: u64,
    /// Only this figure (may be repeated); see `scripts/bench --help`
    #[arg(long, value_name = "NAME")]
    figure: Vec<String>,
    /// Count instructions too (callgrind)
    #[arg(long)]
    instructions: bool,
    /// Write all results to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Common {
    /// Measuring takes minutes: that its results can't be written is found before.
    fn ready(&self) -> Result<(), String> {
        let Some(file) = &self.json else {
            return Ok(());
        };
        let (dir, was_there) = (
            file.parent().filter(|dir| *dir != Path::new("")),
            file.exists(),
        );
        dir.map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| {
                std::fs::OpenOptions::new()
                    .append(true)
                    .create(true)
                    .open(file)
            })
            .map(drop)
            // An empty one would only be left if measuring fails.
            .and_then(|()| {
                if was_there {
                    Ok(())
                } else {
                    std::fs::remove_file(file)
                }
            })
            .map_err(|e| format!("{}: {e}", file.display()))
    }
}

fn main() -> ExitCode {
    let measured = match Args::parse().what {
        What::Io(args) => io::measure(io::IO, &args),
        What::Aio(args) => io::measure(io::AIO, &args),
        What::Past(args) => past::measure(&args),
        What::Peers(args) => peers::measure(&args),
        What::Traces(args) => traces::measure(&args),
        What::Programs(args) => programs::measure(&args),
        What::LockTable(args) => lock_table::measure(&args),
        What::Render(args) => render::render(&args),
    };
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("bench: {message}");
            ExitCode::FAILURE
        }
    }
}
