//! What a supervisor costs beside the bare program: printed, and held against bounds that a busy machine keeps, too.

use crate::supervised;
use pagefence_tests::fence::Fence;
use pagefence_tests::places::main_place;
use pagefence_tests::programs::{Program, compile};
use pagefence_tests::run::run;
use std::process::Command;
use std::time::Duration;

/// In ns: of a small call, of a large one, of none.
fn measured(mut command: Command) -> [f64; 3] {
    let dir = main_place().directory();
    command.arg(dir.path());
    let outcome = run(&mut command, Duration::from_secs(60)).expect("a program of ours");
    assert_eq!(outcome.code(), 0, "{}", outcome.report());
    let of = |name: &str| {
        let mut words = outcome.stdout.split_whitespace();
        let word = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        word.and_then(|word| word.parse().ok()).expect("its line")
    };
    ["small", "large", "nothing"].map(of)
}

fn both(program: &Program) -> [[f64; 3]; 2] {
    let fence = Fence::new();
    let bare = measured(Command::new(&program.path));
    [bare, measured(supervised(&fence, &program.path))]
}

#[test]
fn a_call_costs_microseconds_and_no_call_nothing() {
    let [bare, with_it] = both(&compile("call_cost", &["-static"]));
    let [small, large, nothing] = [0, 1, 2].map(|i| with_it[i] / bare[i]);
    println!(
        "4 KiB: {:.0} ns bare, {:.0} supervised; 1 MiB: {:.0} and {:.0} (x {large:.2}); no call: x {nothing:.3}",
        bare[0], with_it[0], bare[1], with_it[1]
    );
    assert!(small > 1.0, "it was supervised");
    assert!(
        with_it[0] - bare[0] < 60_000.0,
        "a small call takes {} ns more",
        with_it[0] - bare[0]
    );
    assert!(large < 5.0, "a large call takes {large:.1} times as long");
    assert!(
        nothing < 1.2,
        "the program's own time is {nothing:.2} times as long"
    );
}
