//! Checks that the tests find what they are there for: each deliberate defect of `tests/mutants.toml` takes out how one
//! hazard is handled, and the test that it names must then fail. Built apart from everything else, in the target directory.

use clap::Parser;
use pagefence_tests::defects::{Copy, PATIENCE};
use pagefence_tests::run::{Outcome, run};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// With a defect a test may hang: that is found, too.
const PATIENCE_WITH_DEFECT: Duration = Duration::from_secs(180);

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

#[derive(Deserialize)]
struct List {
    mutant: Vec<Mutant>,
}

#[derive(Deserialize)]
struct Mutant {
    /// The hazard, and what is left out.
    name: String,
    /// From the workspace.
    file: String,
    find: String,
    replace: String,
    /// `hazards::close_lowest`: the test program, and what selects the test in it.
    test: String,
    #[serde(default)]
    quick: bool,
}

fn main() -> ExitCode {
    match all(&Args::parse()) {
        Ok((passed, failed)) => {
            println!("{passed} passed, {failed} failed");
            ExitCode::from(u8::from(failed > 0 || passed == 0))
        }
        Err(message) => {
            eprintln!("mutants: {message}");
            ExitCode::from(2)
        }
    }
}

fn all(args: &Args) -> Result<(usize, usize), String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let list = read(&source)?;
    let named = |m: &Mutant| args.mutant.iter().any(|text| m.name.contains(text));
    let wanted = |m: &&Mutant| match args.mutant.is_empty() {
        true => args.all || m.quick,
        false => named(m),
    };
    let mutants: Vec<&Mutant> = list.mutant.iter().filter(wanted).collect();
    let copy = Copy::make(&source, "mutants")?;
    build(&copy, &["--workspace"])?;
    let (mut passed, mut failed) = (0, 0);
    let mut count = |ok: bool| *(if ok { &mut passed } else { &mut failed }) += 1;
    // What fails by itself finds nothing.
    let tests: BTreeSet<&str> = mutants.iter().map(|m| m.test.as_str()).collect();
    for test in tests {
        let outcome = check(&copy, test)?;
        if outcome.code() != 0 || ran(&outcome) == 0 {
            println!("{test}: FAILED without a defect: {}", outcome.report());
            count(false);
        }
    }
    for mutant in mutants {
        let begun = Instant::now();
        let change = (mutant.find.as_str(), mutant.replace.as_str());
        let tried = copy.with(&mutant.name, &mutant.file, change, || {
            build(&copy, &["--workspace"])?;
            check(&copy, &mutant.test)
        });
        let (ok, how) = match &tried {
            Ok(outcome) if found(outcome) => (true, format!("found by {}", mutant.test)),
            Ok(outcome) => (
                false,
                format!("NOT FOUND by {}: {}", mutant.test, outcome.report()),
            ),
            Err(message) => (false, format!("FAILED: {message}")),
        };
        let seconds = begun.elapsed().as_secs_f64();
        println!("defect: {}: {how} ({seconds:.0} s)", mutant.name);
        count(ok);
    }
    Ok((passed, failed))
}

fn read(source: &Path) -> Result<List, String> {
    let file = source.join("tests/mutants.toml");
    let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    toml::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))
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

    /// Where the code has changed, its defect must, too.
    #[test]
    fn what_they_replace_is_there() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for mutant in read(&source).unwrap().mutant {
            let text = std::fs::read_to_string(source.join(&mutant.file)).unwrap();
            let times = text.matches(&mutant.find).count();
            assert_eq!(times, 1, "{}: {}", mutant.file, mutant.name);
        }
    }
}
