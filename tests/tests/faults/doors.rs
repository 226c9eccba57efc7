//! Doors that the library doesn't watch are refused or said, and symbols that a libc may lack don't matter.

use pagefence_tests::artefacts;
use pagefence_tests::compare::Comparison;
use pagefence_tests::exports::versions;
use pagefence_tests::fence::{Fence, found};
use pagefence_tests::places::main_place;
use pagefence_tests::programs::compile;
use pagefence_tests::run::run;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use summary::Counter;

/// A libc of this kind without some of its functions: their names are others in it.
fn libc_without(names: &[&str], directory: &Path) {
    let mut bytes = std::fs::read(artefacts::libc()).expect("libc");
    for name in names {
        let whole = format!("\0{name}\0").into_bytes();
        let places: Vec<_> = (0..bytes.len() - whole.len())
            .filter(|at| bytes[*at..].starts_with(&whole))
            .collect();
        assert!(!places.is_empty(), "{name} is not in libc");
        places.into_iter().for_each(|at| bytes[at + 1] = b'X');
    }
    std::fs::write(directory.join("libc.so.6"), bytes).expect("a directory of ours");
}

/// `execveat` was looked up as if every libc had it, and what isn't found ended the program before `main`: every program,
/// on glibc older than 2.34. The kind: names that a libc may lack. This libc is as old as Debian 11's, of what is hooked.
#[test]
fn an_older_libc() {
    let libc = versions(&artefacts::libc());
    let hooks = versions(&found(artefacts::library()));
    // In librt then, which no program here is linked to.
    let elsewhere =
        |name: &str| ["aio_", "lio_"].iter().any(|p| name.starts_with(p)) || name == "shm_open";
    let newer: Vec<&str> = libc
        .iter()
        .filter(|(name, since)| **since > (2, 31) || elsewhere(name))
        .map(|(name, _)| name.as_str())
        .filter(|name| hooks.contains_key(*name))
        // The program is built with today's headers, and calls it.
        .filter(|name| !name.starts_with("fstat"))
        .collect();
    for wanted in [
        "execveat",
        "close_range",
        "closefrom",
        "_Fork",
        "pidfd_open",
        "shm_open",
    ] {
        assert!(newer.contains(&wanted), "{wanted}: not in {newer:?}");
    }
    let (program, fence, dir) = (
        compile("both_ways", &[]),
        Fence::new(),
        main_place().directory(),
    );
    let old = tempfile::tempdir().expect("a directory");
    libc_without(&newer, old.path());
    let mut command = program.on(dir.path());
    command.env("LD_LIBRARY_PATH", old.path());
    let bare = run(&mut command, Duration::from_secs(30)).expect("a program of ours");
    assert_eq!(bare.code(), 0, "{}", bare.report());
    fence.apply(&mut command);
    let fenced = run(&mut command, Duration::from_secs(30)).expect("a program of ours");
    assert_eq!(
        (fenced.code(), fenced.stderr.as_str()),
        (0, ""),
        "{}",
        fenced.report()
    );
    assert_eq!(fenced.stdout, bare.stdout);
    assert_eq!(fence.count(Counter::Processes), 1, "it wasn't fenced");
}

/// What programs show bare and fenced is the same whether it is handled or not: that a child which maps, a descriptor that
/// becomes direct, and a process that has closed everything are still fenced shows in what was done, and in the trace.
#[test]
fn handled_all_the_same() {
    let program = compile("handled", &[]);
    for (how, times) in [
        ("child", 1),
        ("inherited", 1),
        ("setfl", 1),
        ("vfork", 20),
        ("all closed", 1),
        ("by number", 2),
        ("later", 12),
        ("grows", 4),
    ] {
        let fence = Fence::new();
        let dir = main_place().directory();
        let mut command = program.on(dir.path());
        command.arg(how);
        fence.apply_traced(&mut command);
        let outcome = run(&mut command, Duration::from_secs(30)).expect("a program of ours");
        assert_eq!(outcome.code(), 0, "{how}: {}", outcome.report());
        let back = fence.count(Counter::FallbackMapped);
        assert_eq!(back, times, "{how}: so many direct writes fell back");
        assert!(fence.has_told("fallback"), "{how}: {:?}", fence.events());
    }
}

/// Programs of long ago are linked to the first versions of functions that have several.
#[test]
fn old_versions_of_symbols() {
    let program = compile("versions", &[]);
    let fences = [("fenced", Fence::new())];
    let seen = Comparison::new("versions").check(&main_place(), &fences, |dir| {
        let mut command = Command::new(&program.path);
        command.arg(dir);
        command
    });
    assert_eq!(seen.code(), 0, "{}", seen.report());
    // What is spawned joins.
    let [(_, fence)] = &fences;
    assert_eq!(fence.count(Counter::Uncovered), 0);
    assert_eq!(fence.count(Counter::Processes), 2);
}

/// libc's code is changed while threads run it: none of them may see half of an instruction.
#[test]
fn code_that_threads_are_in() {
    let program = compile("aio_first", &["-pthread"]);
    let dir = main_place().directory();
    for _ in 0..30 {
        let fence = Fence::new();
        let mut command = Command::new(&program.path);
        command.arg(dir.path());
        fence.apply(&mut command);
        let outcome = run(&mut command, Duration::from_secs(30)).expect("a program of ours");
        assert_eq!(
            (outcome.code(), &*outcome.stdout, &*outcome.stderr),
            (0, "right\n", ""),
            "{}",
            outcome.report()
        );
        assert_eq!(fence.count(Counter::Uncovered), 0);
    }
}
