//! The `pagefence` command: runs programs fenced, says what of them is covered, who uses a file in which modes, what
//! direct I/O does in a place and a policy to a file, and makes lock tables.
//!
//! Without Rust's usual start (`no_main`), because that sets SIGPIPE to be ignored and opens
//! closed standard descriptors, and the program that `pagefence run` becomes would inherit both.
#![cfg_attr(not(test), no_main)]

mod apart;
mod args;
mod check;
mod columns;
mod doctor;
mod elf;
mod environment;
mod exec;
mod explain;
mod failure;
mod history;
mod leftover;
mod library;
mod locks;
mod manual;
mod metrics;
mod page;
mod probe;
mod process;
mod program;
mod report;
mod run;
mod say;
mod scan;
mod script;
mod status;
mod supervise;
mod supervisor;
mod table;
mod tabled;
mod tables;
mod told;
mod top;
mod watched;
mod within;
mod wrap;

use clap::Parser;

use args::{Cli, Command, PolicyCommand};
use failure::{OWN_FAILURE, USAGE};

/// Where the C library's start-up code enters.
#[cfg_attr(not(test), unsafe(no_mangle))]
extern "C" fn main() -> libc::c_int {
    match Cli::try_parse() {
        Ok(cli) => dispatch(cli),
        Err(error) => usage(&error),
    }
}

fn dispatch(cli: Cli) -> libc::c_int {
    tables::cut_off::survive();
    let result = match cli.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Policy(PolicyCommand::Check(arguments)) => check::check(&arguments),
        Command::Policy(PolicyCommand::Explain(arguments)) => explain::explain(&arguments),
        Command::Doctor(arguments) => doctor::doctor(&arguments),
        Command::Probe(arguments) => probe::probe(&arguments),
        Command::Scan(arguments) => scan::scan(&arguments),
        Command::Attach(arguments) => scan::attach::attach(&arguments),
        Command::Status(arguments) => status::status(&arguments),
        Command::Locks(arguments) => locks::locks(&arguments),
        Command::Top(arguments) => top::top(&arguments),
        Command::Metrics(arguments) => metrics::metrics(&arguments),
        Command::Report(arguments) => told::report(&arguments),
        Command::Check(arguments) => history::check(&arguments),
        Command::Table(command) => table::table(&command),
        Command::Tabled(arguments) => tabled::tabled(&arguments),
        Command::Wrap(arguments) => wrap::wrap(&arguments),
        Command::Supervise(arguments) => supervisor::supervise(&arguments),
        Command::Manual(arguments) => manual::manual(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(failure) => {
            say::tell(&failure);
            failure.code
        }
    }
}

/// Help and version are answers; anything else is an error, which `run` reports as env(1) does,
/// so that it can't be taken for the program's own exit code.
fn usage(error: &clap::Error) -> libc::c_int {
    let printed = error.print();
    if !error.use_stderr() {
        return i32::from(printed.is_err());
    }
    match std::env::args_os().nth(1) {
        Some(command) if command == "run" => OWN_FAILURE,
        _ => USAGE,
    }
}
