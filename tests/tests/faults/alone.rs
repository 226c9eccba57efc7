//! Where the library has to do with what the program has: no second descriptor, no room, no number of its own.

use pagefence_tests::compare::Comparison;
use pagefence_tests::fence::{self, Fence};
use pagefence_tests::places::{main_place, places};
use pagefence_tests::programs::compile;
use pagefence_tests::run::run;
use std::time::Duration;

/// A read that the kernel grants although its buffer isn't aligned was made, which moved the file offset, and began
/// anew for want of a second descriptor: it gave the bytes behind those that were asked for. And an append at an offset
/// that XFS refuses was done. The kind: what has been done for the kernel's word must not be done again.
#[test]
fn without_a_second_descriptor_reads_and_appends_are_as_bare() {
    let program = compile("no_second", &[]);
    for place in places() {
        let fences = [("fenced", Fence::new())];
        let seen = Comparison::new("no_second").check(&place, &fences, |dir| program.on(dir));
        assert_eq!(seen.code(), 0, "{}", seen.report());
    }
}

/// It was made elsewhere first, where there was no room: ENOMEM. The kind: a detour that needs more than the way.
#[test]
fn a_mapping_over_another_needs_no_room_for_both() {
    let program = compile("fixed_full", &[]);
    let fences = [("fenced", Fence::new())];
    let seen = Comparison::new("fixed_full").check(&main_place(), &fences, |dir| program.on(dir));
    assert_eq!(
        seen.stdout.matches("over it: there").count(),
        2,
        "{}",
        seen.report()
    );
}

/// What the library opened for a while (`/proc/self/maps`) lay at the lowest number. The program's dup2 to that number
/// was refused (EBUSY), or done, and then the library read from and closed what the program had put there. The kind: a
/// number that nobody has reserved.
#[test]
fn what_the_program_puts_at_a_free_number_stays_there() {
    let program = compile("low_number", &[]);
    for fence in [None, Some(Fence::new())] {
        let dir = main_place().directory();
        let mut command = program.on(dir.path());
        fence::apply(fence.as_ref(), &mut command);
        let seen = run(&mut command, Duration::from_secs(60)).expect("a program that starts");
        assert_eq!(seen.stdout, "refused 0, gone 0\n", "{}", seen.report());
    }
}
