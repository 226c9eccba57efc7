//! Other projects' own tests, built from the sources of Debian's packages on a filesystem of ours: each ends fenced as it
//! ends bare. `scripts/test --long suites` has the sources unpacked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pagefence_tests::fence::{self, Fence};
use pagefence_tests::places::main_place;
use pagefence_tests::run::run;
use summary::Counter;

use super::is_long;

type Results = BTreeMap<String, String>;

/// What a test program's Makefile leaves for each test (automake's): how it ended.
fn of_automake(dir: &Path, results: &mut Results) {
    for entry in std::fs::read_dir(dir).expect("the sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.is_symlink() {
            of_automake(&path, results);
        } else if path.extension().is_some_and(|e| e == "trs") {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let mut words = text
                .lines()
                .filter_map(|l| l.strip_prefix(":test-result: "));
            let result = words.next().unwrap_or("none").to_owned();
            results.insert(path.display().to_string(), result);
            let _ = std::fs::remove_file(path);
        }
    }
}

/// One run of `make`, and how each test ended.
fn once(dir: &Path, make: &[&str], fence: Option<&Fence>) -> Results {
    let mut command = Command::new("make");
    command.args(make).current_dir(dir);
    command.env("LC_ALL", "C").env("RUN_EXPENSIVE_TESTS", "no");
    fence::apply(fence, &mut command);
    // They compare standard error, also of programs that another user may not fence, or that are started without us.
    command.env("PAGEFENCE_LOG", "off");
    let outcome = run(&mut command, Duration::from_secs(1500)).expect("make");
    assert!(outcome.hang.is_none(), "{}", outcome.report());
    let mut results = Results::new();
    of_automake(dir, &mut results);
    results
}

/// Debian's patches leave what configure and the like are made from younger than these: touched in turn, so that nobody
/// makes them anew, for which one would need autoconf and automake of the same versions. Nor does anybody need manuals.
const BUILD: &str = r#"
cp -a "$0" "$1"; cd "$1"
for made in aclocal.m4 configure Makefile.in 'config*.*in'; do find . -name "$made" -exec touch {} +; done
FORCE_UNSAFE_CONFIGURE=1 ./configure -q MAKEINFO=:
make -s -j2
chmod -R a+rX .
"#;

fn built(package: &str, place: &Path) -> PathBuf {
    let sources = std::env::var_os("PAGEFENCE_TEST_SOURCES").expect("see scripts/test");
    let dir = place.join(package);
    let mut command = Command::new("sh");
    command.args(["-euc", BUILD]);
    command.arg(Path::new(&sources).join(package)).arg(&dir);
    let outcome = run(&mut command, Duration::from_secs(1500)).expect("sh");
    assert_eq!(outcome.code(), 0, "{package}: {}", outcome.report());
    dir
}

/// It counts a program's calls of stat, and ours are among them.
const COUNTS: &str = "tests/ls/stat-free-symlinks.trs";

/// Those that end otherwise fenced than bare, and shouldn't.
fn differences(bare: &Results, fenced: &Results) -> Vec<String> {
    let said = |results: &Results, test: &String| {
        let result = results.get(test);
        result.map_or_else(|| "none".to_owned(), Clone::clone)
    };
    let tests: BTreeSet<_> = bare.keys().chain(fenced.keys()).collect();
    let line = |test: &String| {
        if test.ends_with(COUNTS) {
            return None;
        }
        let (a, b) = (said(bare, test), said(fenced, test));
        (a != b).then(|| format!("{test}: {a} bare, {b} fenced"))
    };
    tests.into_iter().filter_map(line).collect()
}

fn automake(package: &str, least: usize, make: &[&str]) {
    if !is_long(package) {
        return;
    }
    let place = main_place().directory();
    let dir = built(package, place.path());
    let fence = Fence::new();
    let bare = once(&dir, make, None);
    let fenced = once(&dir, make, Some(&fence));
    let passed = bare.values().filter(|result| *result == "PASS").count();
    eprintln!("{package}: {} tests, {passed} pass bare", bare.len());
    assert!(passed >= least, "{package}: {passed} pass bare");
    assert!(fence.count(Counter::Processes) > 0, "nothing was fenced");
    let mut differ = differences(&bare, &fenced);
    // What is chance shows when both are run again.
    if !differ.is_empty() {
        eprintln!(
            "{package}, once more, since these differ:\n{}",
            differ.join("\n")
        );
        let again = differences(&once(&dir, make, None), &once(&dir, make, Some(&fence)));
        differ.retain(|line| again.contains(line));
    }
    assert!(differ.is_empty(), "{package}:\n{}", differ.join("\n"));
}

#[test]
fn coreutils() {
    automake("coreutils", 400, &["check-TESTS", "SUBDIRS=."]);
}

#[test]
fn sed() {
    automake("sed", 50, &["check"]);
}

#[test]
fn gzip() {
    automake("gzip", 20, &["check"]);
}

#[test]
fn grep() {
    automake("grep", 80, &["check"]);
}
