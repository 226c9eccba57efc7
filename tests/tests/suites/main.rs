//! Large programs and other projects' own tests, bare and fenced: the same results, also after a crash. What takes long
//! runs only with --long.

mod databases;
mod foreign;
mod fsx;
mod languages;
mod sources;
mod stress;
mod tracers;
mod walks;

use std::path::Path;
use std::process::Command;

use pagefence_tests::compare::Comparison;
use pagefence_tests::fence::Fence;
use pagefence_tests::places::Place;

/// Whether this is one of the long runs. Otherwise says what is left out.
fn is_long(what: &str) -> bool {
    let long = std::env::var_os("PAGEFENCE_TEST_LONG").is_some();
    if !long {
        eprintln!("left out but for scripts/test --long suites: {what}");
    }
    long
}

fn bash(script: &str) -> impl Fn(&Path) -> Command + use<'_> {
    move |_| {
        let mut command = Command::new("bash");
        command.args(["-euc", script]);
        command
    }
}

/// The script does the same bare and fenced, and succeeds.
fn must_succeed(comparison: &Comparison, place: &Place, script: &str) {
    let fences = [("fenced", Fence::new())];
    let bare = comparison.check(place, &fences, bash(script));
    assert_eq!(bare.code(), 0, "bare on {}: {}", place.name, bare.report());
}
