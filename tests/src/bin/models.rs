//! Checks the lock table's models (`lock-table/src/models.rs`) with both checkers and the protocol's (`protocol/src/model`)
//! with its own, and that each deliberate defect of `lock-table/mutants.toml` and `protocol/mutants.toml` makes one fail;
//! or the lock table's with Miri, which the stable toolchain lacks. All of it is built apart from everything else, in the
//! target directory.

use clap::Parser;
use pagefence_tests::defects::{Copy, PATIENCE};
use pagefence_tests::run::{Outcome, run};
use serde::Deserialize;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// With a defect one model may not end. Another must fail: the short models, or each defect would take that long.
const PATIENCE_WITH_DEFECT: Duration = Duration::from_secs(60);

fn patience_of(checker: &str) -> Duration {
    // The protocol's model always ends.
    match checker {
        STATERIGHT => PATIENCE,
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

#[derive(Deserialize)]
struct List {
    mutant: Vec<Mutant>,
}

#[derive(Deserialize)]
struct Mutant {
    name: String,
    /// In the workspace; the lock table's in its sources.
    file: String,
    find: String,
    replace: String,
    #[serde(default = "loom")]
    checker: String,
    /// Only where there is time (`scripts/test --long`), or when it is named.
    #[serde(default)]
    long: bool,
}

const MIRI: &str = "miri";
/// The protocol's model is plain Rust: its checker is a library.
const STATERIGHT: &str = "stateright";

fn loom() -> String {
    "loom".to_owned()
}

fn main() -> ExitCode {
    let args = Args::parse();
    match all(&args) {
        Ok((passed, failed)) => {
            println!("{passed} passed, {failed} failed");
            ExitCode::from(u8::from(failed > 0 || passed == 0))
        }
        Err(message) => {
            eprintln!("models: {message}");
            ExitCode::from(2)
        }
    }
}

fn all(args: &Args) -> Result<(usize, usize), String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let copy = Copy::make(&source, "models")?;
    let (mut passed, mut failed) = (0, 0);
    let mut count = |ok: bool| *(if ok { &mut passed } else { &mut failed }) += 1;
    let checkers: &[&str] = match (args.miri, &args.mutant) {
        (true, _) => &[MIRI],
        (false, None) => &["loom", "shuttle", STATERIGHT],
        (false, Some(_)) => &[],
    };
    for checker in checkers {
        let begun = Instant::now();
        let outcome = check(&copy, checker, PATIENCE)?;
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
        count(ok);
    }
    if args.miri {
        return Ok((passed, failed));
    }
    let has_time = std::env::var_os("PAGEFENCE_TEST_LONG").is_some();
    // SAFETY: this program has one thread.
    unsafe { std::env::remove_var("PAGEFENCE_TEST_LONG") };
    let mutants = mutants(&source)?;
    let wanted = |m: &&Mutant| match &args.mutant {
        Some(text) => m.name.contains(text),
        None => has_time || !m.long,
    };
    for mutant in mutants.iter().filter(wanted) {
        let begun = Instant::now();
        let change = (mutant.find.as_str(), mutant.replace.as_str());
        let found = copy.with(&mutant.name, &mutant.file, change, || {
            check(&copy, &mutant.checker, patience_of(&mutant.checker))
        })?;
        let by = caught_by(&mutant.checker, &found);
        println!(
            "defect: {}: {} ({:.0} s)",
            mutant.name,
            by.as_deref().unwrap_or("NOT FOUND by any model"),
            begun.elapsed().as_secs_f64()
        );
        if by.is_none() {
            println!("{}", found.report());
        }
        count(by.is_some());
    }
    Ok((passed, failed))
}

fn mutants(source: &Path) -> Result<Vec<Mutant>, String> {
    let mut mutants = list(&source.join("lock-table/mutants.toml"))?;
    for mutant in &mut mutants {
        mutant.file = format!("lock-table/src/{}", mutant.file);
    }
    mutants.extend(list(&source.join("protocol/mutants.toml"))?);
    Ok(mutants)
}

fn list(file: &Path) -> Result<Vec<Mutant>, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let list: List = toml::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(list.mutant)
}

/// Which model failed, if one did and not the build.
fn caught_by(checker: &str, outcome: &Outcome) -> Option<String> {
    if checker == STATERIGHT {
        // It says which guarantee is broken, and how soon.
        let broken = outcome
            .stdout
            .lines()
            .find_map(|l| l.strip_prefix("broken: "));
        return broken.map(|story| format!("found: {story}"));
    }
    let failed = outcome.stdout.lines().find_map(|line| {
        let name = line.strip_prefix("test models::")?;
        name.strip_suffix(" ... FAILED")
            .map(|name| format!("found by {name}"))
    });
    // A model that panics where nothing may unwind ends the program.
    let aborted = || {
        outcome
            .stderr
            .contains("panicked at")
            .then(|| "found".to_owned())
    };
    failed.or_else(|| aborted().filter(|_| outcome.code() != 0))
}

/// Builds the models for a checker and runs them.
fn check(copy: &Copy, checker: &str, patience: Duration) -> Result<Outcome, String> {
    let (package, models) = match checker {
        STATERIGHT => ("pagefence-protocol", "model::"),
        _ => ("pagefence-lock-table", "models::"),
    };
    let cargo = |last: &[&str]| {
        let mut command = copy.cargo(checker);
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
    run(&mut cargo(&last), patience).map_err(|e| format!("cargo: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_they_replace_is_there() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for mutant in mutants(&source).unwrap() {
            let text = std::fs::read_to_string(source.join(&mutant.file)).unwrap();
            let times = text.matches(&mutant.find).count();
            assert_eq!(times, 1, "{}: {}", mutant.file, mutant.name);
        }
    }
}
