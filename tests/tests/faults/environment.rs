//! What the environment does to us: limits, pipes for files, a table's path that somebody has planted.

mod limits;
mod paths;
mod place;
mod sanitizers;
mod telling;

use pagefence_tests::fence::{self, Fence, split_own_lines};
use pagefence_tests::run::{Outcome, run};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Only a hang takes so long: thousands of files are made and used within it, on a busy machine too.
const LIMIT: Duration = Duration::from_secs(60);

/// A run of `program`, started by `through` if that isn't empty: only the program itself is fenced.
fn through(
    words: &[&str],
    fence: Option<&Fence>,
    more: &[(&str, &Path)],
    program: &Path,
    arguments: &[&str],
) -> Outcome {
    let mut line: Vec<std::ffi::OsString> = words.iter().map(Into::into).collect();
    line.push("env".into());
    let ours = fence.map(Fence::environment).unwrap_or_default();
    let all = ours.iter().map(|(name, value)| (*name, value.as_path()));
    for (name, value) in all.chain(more.iter().copied()) {
        line.push(format!("{name}={}", value.display()).into());
    }
    line.push(program.into());
    line.extend(arguments.iter().map(Into::into));
    run(Command::new(&line[0]).args(&line[1..]), LIMIT).expect("env and what is before it")
}

/// The program shows what it shows without the library.
fn assert_as_bare(bare: &Outcome, fenced: &Outcome) {
    assert!(fenced.hang.is_none(), "{}", fenced.report());
    let (theirs, _) = split_own_lines(&fenced.stderr);
    assert_eq!(
        (bare.code(), &bare.stdout, &bare.stderr),
        (fenced.code(), &fenced.stdout, &theirs),
        "{}",
        fenced.report()
    );
}

/// How many of the library's own lines have all these words in them.
fn said(outcome: &Outcome, words: &[&str]) -> usize {
    let (_, own) = split_own_lines(&outcome.stderr);
    let has_all = |line: &&String| words.iter().all(|word| line.contains(word));
    own.iter().filter(has_all).count()
}

/// The events of one kind in a trace.
fn traced(trace: &Path, kind: &str) -> Vec<Value> {
    let events = fence::told_in(trace).into_iter();
    events.filter(|event| event["event"] == kind).collect()
}

/// Under valgrind the kernel told where its own vDSO is, which isn't in the program: it crashed at the start. Kind: what
/// the kernel says of a process isn't what its program was told.
#[test]
fn programs_run_under_valgrind() {
    let run_it = |fence: Option<&Fence>| {
        let mut command = Command::new("valgrind");
        command.args(["-q", "--error-exitcode=7", "cat", "/etc/passwd"]);
        fence::apply(fence, &mut command);
        run(&mut command, LIMIT)
    };
    let Ok(bare) = run_it(None) else {
        return pagefence_tests::skip("valgrind isn't installed");
    };
    let fence = Fence::new();
    let fenced = run_it(Some(&fence)).expect("it ran bare");
    assert_eq!(fenced.code(), 0, "{}", fenced.report());
    assert_eq!(fenced.stdout, bare.stdout, "{}", fenced.report());
    // Valgrind itself is static, which is said; what it runs has the library.
    let (theirs, own) = split_own_lines(&fenced.stderr);
    assert_eq!(theirs, bare.stderr, "{}", fenced.report());
    let of_valgrind =
        |line: &String| line.contains("program=valgrind") && line.contains("it is static");
    assert!(own.iter().all(of_valgrind), "{}", fenced.report());
    assert!(fence.table().exists(), "it wasn't fenced");
}
