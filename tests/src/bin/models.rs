//! Checks the lock table's models (`lock-table/src/models.rs`) with both checkers and the protocol's (`protocol/src/model`)
//! with its own, and that each deliberate defect of `lock-table/mutants.toml` and `protocol/mutants.toml` makes one fail;
//! or the lock table's with Miri, which the stable toolchain lacks. All of it is built apart from everything else, in the
//! target directory.

use clap::Parser;
use pagefence_tests::defects::{self, Copy, Defect, PATIENCE, Tally, source};
use pagefence_tests::run::{Outcome, run, run_until};
use serde::Deserialize;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// With a defect one model may not end. Another must fail: the short models, or each defect would take that long.
const PATIENCE_WITH_DEFECT: Duration = Duration::from_secs(60);

fn patience_of(checker: &str) -> Duration {
    // The protocol's model always ends.
    match checker {
        STATERIGHT | LANES => PATIENCE,
        _ => PATIENCE_WITH_DEFECT,
    }
}

/// Checks the models of the lock table and of the protocol, and that they find every deliberate defect.
#[derive(Parser)]
#[command(name = "models")]
struct Args {
    /// Only the defects whose name contains this, also those that otherwise wait for `scripts/test --long`
    #[arg(long, value_name = "TEXT")]
    mutant: Option<String>,
    /// Run them in Miri instead (rustup toolchain install nightly --component miri --component rust-src)
    #[arg(long, conflicts_with = "mutant")]
    miri: bool,
}

/// How a defect is found. Its file is in the workspace; the lock table's in its sources.
#[derive(Deserialize)]
struct How {
    #[serde(default = "loom")]
    checker: String,
    /// Only where there is time (`scripts/test --long`), or when it is named.
    #[serde(default)]
    long: bool,
}

const MIRI: &str = "miri";
/// The protocol's model is plain Rust: its checker is a library.
const STATERIGHT: &str = "stateright";
/// No model: the tests of the way that most calls go, which one has for each thing that it leaves out.
const LANES: &str = "lanes";

fn loom() -> String {
    "loom".to_owned()
}

fn main() -> ExitCode {
    defects::conclude("models", all(&Args::parse()))
}

fn all(args: &Args) -> Result<Tally, String> {
    let copy = Copy::make(&source(), "models")?;
    let mut tally = Tally::default();
    let checkers: &[&str] = match (args.miri, &args.mutant) {
        (true, _) => &[MIRI],
        (false, None) => &["loom", "shuttle", STATERIGHT, LANES],
        (false, Some(_)) => &[],
    };
    for checker in checkers {
        tally.add(holds(&copy, checker)?);
    }
    if args.miri {
        return Ok(tally);
    }
    let has_time = std::env::var_os("PAGEFENCE_TEST_LONG").is_some();
    // SAFETY: this program has one thread.
    unsafe { std::env::remove_var("PAGEFENCE_TEST_LONG") };
    let wanted = |m: &&Defect<How>| match &args.mutant {
        Some(text) => m.name.contains(text),
        None => has_time || !m.how.long,
    };
    for defect in mutants()?.iter().filter(wanted) {
        tally.add(is_found(&copy, defect)?);
    }
    Ok(tally)
}

/// Whether every model holds without a defect.
fn holds(copy: &Copy, checker: &str) -> Result<bool, String> {
    let begun = Instant::now();
    let outcome = check(copy, checker, PATIENCE, |_| false)?;
    let ok = outcome.code() == 0 && outcome.hang.is_none();
    println!(
        "{checker}: {} ({:.0} s)",
        if ok { "every model holds" } else { "FAILED" },
        begun.elapsed().as_secs_f64()
    );
    let explored = outcome.stdout.lines().filter(|l| l.contains(" states, "));
    explored.for_each(|line| println!("    {line}"));
    if !ok {
        println!("{}", outcome.report());
    }
    Ok(ok)
}

/// Whether a model fails with the defect.
fn is_found(copy: &Copy, defect: &Defect<How>) -> Result<bool, String> {
    let (begun, checker) = (Instant::now(), defect.how.checker.as_str());
    // One that fails is enough; the protocol's tells its story after it has failed, and who is killed before has none.
    let enough = |text: &str| match checker {
        STATERIGHT => story(text).is_some(),
        _ => text.lines().any(|line| failed(line).is_some()),
    };
    let found = copy.with(defect, || {
        check(copy, checker, patience_of(checker), enough)
    })?;
    let by = caught_by(checker, &found);
    println!(
        "defect: {}: {} ({:.0} s)",
        defect.name,
        by.as_deref().unwrap_or("NOT FOUND by any model"),
        begun.elapsed().as_secs_f64()
    );
    if by.is_none() {
        println!("{}", found.report());
    }
    Ok(by.is_some())
}

fn mutants() -> Result<Vec<Defect<How>>, String> {
    let mut mutants = defects::list::<How>(&source().join("lock-table/mutants.toml"))?;
    for mutant in &mut mutants {
        mutant.file = format!("lock-table/src/{}", mutant.file);
    }
    mutants.extend(defects::list(&source().join("protocol/mutants.toml"))?);
    Ok(mutants)
}

/// The model that this line of the test runner's says has failed.
fn failed(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

/// How the protocol's model says that a guarantee is broken.
fn story(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("broken: "))
}

/// Which model failed, if one did and not the build.
fn caught_by(checker: &str, outcome: &Outcome) -> Option<String> {
    if checker == STATERIGHT {
        // It says which guarantee is broken, and how soon.
        return story(&outcome.stdout).map(|story| format!("found: {story}"));
    }
    let failed = outcome.stdout.lines().find_map(failed);
    let failed = failed.map(|name| format!("found by {name}"));
    // A model that panics where nothing may unwind ends the program.
    let aborted = || {
        outcome
            .stderr
            .contains("panicked at")
            .then(|| "found".to_owned())
    };
    failed.or_else(|| aborted().filter(|_| outcome.code() != 0))
}

/// Builds the models for a checker and runs them, until there is enough.
fn check(
    copy: &Copy,
    checker: &str,
    patience: Duration,
    enough: impl Fn(&str) -> bool,
) -> Result<Outcome, String> {
    let (package, models) = match checker {
        STATERIGHT => ("pagefence-protocol", "model::"),
        LANES => ("pagefence-protocol", "lane_tests::"),
        _ => ("pagefence-lock-table", "models::"),
    };
    let cargo = |last: &[&str]| {
        // What is the same crate's is built once.
        let built_for = if checker == LANES {
            STATERIGHT
        } else {
            checker
        };
        let mut command = copy.cargo(built_for);
        if checker == MIRI {
            // Each seed is another order of the threads. What a table's mapping is to programs is leaked here.
            let flags = "-Zmiri-ignore-leaks -Zmiri-permissive-provenance -Zmiri-many-seeds=0..32";
            command.args(["+nightly", "miri", "test"]);
            command.env("MIRIFLAGS", flags);
        } else {
            command.args(["test", "--release"]);
        }
        if matches!(checker, "loom" | "shuttle") {
            command.env("RUSTFLAGS", format!("--cfg {checker}"));
        }
        command
            .args(["-p", package, "--lib"])
            .args(last)
            .env("CARGO_PROFILE_RELEASE_PANIC", "unwind");
        command
    };
    let built = run(&mut cargo(&["--no-run"]), PATIENCE).map_err(|e| format!("cargo: {e}"))?;
    if built.code() != 0 {
        return Err(format!("{checker}: it doesn't build: {}", built.report()));
    }
    // All at once: one that doesn't end keeps none from its turn.
    let last = [models, "--", "--test-threads=16", "--show-output"];
    run_until(&mut cargo(&last), patience, enough).map_err(|e| format!("cargo: {e}"))
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
