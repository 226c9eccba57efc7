//! Where the library has to do with what the program has: no second descriptor, no room, no number of its own.

use pagefence_tests::compare::Comparison;
use pagefence_tests::fence::Fence;
use pagefence_tests::places::places;
use pagefence_tests::programs::compile;
use std::process::Command;

/// A read that the kernel grants although its buffer isn't aligned was made, which moved the file offset, and began
/// anew for want of a second descriptor: it gave the bytes behind those that were asked for. And an append at an offset
/// that XFS refuses was done. The kind: what has been done for the kernel's word must not be done again.
#[test]
fn without_a_second_descriptor_reads_and_appends_are_as_bare() {
    let program = compile("no_second", &[]);
    for place in places() {
        let fences = [("fenced", Fence::new())];
        let seen = Comparison::new("no_second").check(&place, &fences, |dir| {
            let mut command = Command::new(&program.path);
            command.arg(dir);
            command
        });
        assert_eq!(seen.code(), 0, "{}", seen.report());
    }
}
