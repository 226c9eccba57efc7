//! Checks that the tests find what they are there for: each deliberate defect of `tests/mutants.toml` takes out how one
//! hazard is handled, and the test that it names must then fail. Built apart from everything else, in the target directory.

use clap::Parser;
use pagefence_tests::defects::{self, Copy, Defect, PATIENCE, Tally, source};
use pagefence_tests::run::{Outcome, run};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// With a defect a test may hang: that is found, too.
const PATIENCE_WITH_DEFECT: Duration = Duration::from_secs(180);

/// What is built anew with each defect: the tests' own programs hold none of that code.
const UNDER_TEST: [&str; 4] = ["-p", "pagefence-shim", "-p", "pagefence-cli"];

/// Checks that tests fail when the handling of their hazard is taken out.
#[derive(Parser)]
#[command(name = "mutants")]
struct Args {
    /// Only the defects whose name contains this (may be repeated)
    #[arg(long, value_name = "TEXT")]
    mutant: Vec<String>,
    /// All of them (ten minutes or more), not only those marked `quick`
    #[arg(long)]
    all: bool,
}

/// How a defect is found.
#[derive(Deserialize)]
struct How {
    /// `hazards::close_lowest`: the test program, and what selects the test in it.
    test: String,
    #[serde(default)]
    quick: bool,
}

fn main() -> ExitCode {
    defects::conclude("mutants", all(&Args::parse()))
}

fn all(args: &Args) -> Result<Tally, String> {
    let list = mutants()?;
    let named = |m: &Defect<How>| args.mutant.iter().any(|text| m.name.contains(text));
    let wanted = |m: &&Defect<How>| match args.mutant.is_empty() {
        true => args.all || m.how.quick,
        false => named(m),
    };
    let mutants: Vec<_> = list.iter().filter(wanted).collect();
    let copy = Copy::make(&source(), "mutants")?;
    build(&copy, &["--workspace"])?;
    let mut tally = Tally::default();
    // What fails by itself finds nothing.
    let tests: BTreeSet<&str> = mutants.iter().map(|m| m.how.test.as_str()).collect();
    for test in tests {
        let outcome = check(&copy, test)?;
        if outcome.code() != 0 || ran(&outcome) == 0 {
            println!("{test}: FAILED without a defect: {}", outcome.report());
            tally.add(false);
        }
    }
    for defect in mutants {
        tally.add(is_found(&copy, defect));
    }
    Ok(tally)
}

/// Whether its test fails with the defect.
fn is_found(copy: &Copy, defect: &Defect<How>) -> bool {
    let (begun, test) = (Instant::now(), &defect.how.test);
    let tried = copy.with(defect, || {
        build(copy, &UNDER_TEST)?;
        check(copy, test)
    });
    let (ok, how) = match &tried {
        Ok(outcome) if found(outcome) => (true, format!("found by {test}")),
        Ok(outcome) => (false, format!("NOT FOUND by {test}: {}", outcome.report())),
        Err(message) => (false, format!("FAILED: {message}")),
    };
    let seconds = begun.elapsed().as_secs_f64();
    println!("defect: {}: {how} ({seconds:.0} s)", defect.name);
    ok
}

fn mutants() -> Result<Vec<Defect<How>>, String> {
    defects::list(&source().join("tests/mutants.toml"))
}

fn build(copy: &Copy, what: &[&str]) -> Result<(), String> {
    let mut command = copy.cargo("built");
    command.args(["build", "--release", "--quiet"]).args(what);
    let built = run(&mut command, PATIENCE).map_err(|e| format!("cargo: {e}"))?;
    match built.code() {
        0 => Ok(()),
        _ => Err(format!("it doesn't build: {}", built.report())),
    }
}

/// Runs one test, `program::test`, with the library as it is built now.
fn check(copy: &Copy, test: &str) -> Result<Outcome, String> {
    let (program, name) = test
        .split_once("::")
        .ok_or(format!("{test}: PROGRAM::TEST"))?;
    let mut command = copy.cargo("built");
    command.args(["test", "--release", "--quiet", "-p", "pagefence-tests"]);
    command.args(["--test", program, "--", name]);
    run(&mut command, PATIENCE_WITH_DEFECT).map_err(|e| format!("cargo: {e}"))
}

/// How many tests passed.
fn ran(outcome: &Outcome) -> u64 {
    let line = |line: &str| {
        let rest = line.strip_prefix("test result: ok. ")?;
        rest.split(' ').next()?.parse::<u64>().ok()
    };
    outcome.stdout.lines().filter_map(line).sum()
}

/// Whether a test failed, or didn't end; and not the build.
fn found(outcome: &Outcome) -> bool {
    outcome.hang.is_some() || outcome.stdout.contains("test result: FAILED")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_they_replace_is_there() {
        for mutant in mutants().unwrap() {
            mutant.of(&source()).unwrap();
        }
    }
}
