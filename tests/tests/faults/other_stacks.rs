//! Calls that are interrupted on a stack of which addresses say nothing, with routes that need memory of their own and without.

use pagefence_tests::compare::Comparison;
use pagefence_tests::fence::Fence;
use pagefence_tests::places::main_place;
use pagefence_tests::programs::compile;

#[test]
fn a_call_that_is_interrupted_elsewhere_keeps_what_it_holds() {
    let program = compile("other_stacks", &[]);
    let policy = |text: &str| Fence::with_policy(&format!("[defaults]\n{text}"));
    let fences = [
        ("past the cache", policy("route = \"direct\"")),
        ("atomic", policy("isolation = \"atomic\"")),
        ("as asked", Fence::new()),
    ];
    let comparison = Comparison::new("other_stacks").limit(120);
    // What they leave is what chance has drawn.
    let bare = comparison
        .ignore(&["thread's", "handler's", "jumped", "one", "other"])
        .check(&main_place(), &fences, |dir| program.on(dir));
    assert_eq!(bare.code(), 0, "{}", bare.report());
}
