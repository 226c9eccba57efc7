//! Files that were used in two modes once, and locked for ever: by who had opened them the other way and closed them, or was
//! killed; and fell back for ever, for a mapping whose process had died. Now a file goes back to one mode, which the lock
//! table shows: the words of the living say so, and direct I/O goes past the cache again.

use pagefence_tests::fence::Fence;
use pagefence_tests::places::main_place;
use pagefence_tests::programs::compile;
use pagefence_tests::run::run;
use pagefence_tests::state::{id_of, mapped, snapshot};
use pagefence_tests::stepper::Stepper;
use std::path::Path;
use std::process::Command;
use summary::Counter;

/// What the words of all who use the file say.
#[derive(PartialEq, Eq, Debug, Clone, Copy)]
enum Says {
    Nothing,
    DirectAlone,
    Mixed,
}

fn says(fence: &Fence, path: &Path) -> Says {
    let id = id_of(path);
    let uses = snapshot(fence).uses;
    let mut words =
        uses.iter()
            .filter(|u| u.file == id)
            .map(|u| match (u.locks, u.direct_alone, u.mixed) {
                (false, ..) => Says::Nothing,
                (_, true, _) => Says::DirectAlone,
                (_, _, true) => Says::Mixed,
                _ => panic!("neither one mode nor mixed: {u:?}"),
            });
    let first = words.next().expect("somebody uses it");
    assert!(words.all(|w| w == first), "they don't agree: {uses:?}");
    first
}

fn steps(what: &str, steps: &[(&str, Says)], look: impl Fn(&str, &Fence, &Path)) {
    let (program, dir, fence) = (
        compile("modes", &[]),
        main_place().directory(),
        Fence::new(),
    );
    let mut command = Command::new(&program.path);
    command.arg(dir.path()).arg(what);
    fence.apply(&mut command);
    let mut stepper = Stepper::start(&mut command);
    let file = dir.path().join("f");
    for (i, (step, expected)) in steps.iter().enumerate() {
        match i {
            0 => assert_eq!(&stepper.line(), step),
            _ => stepper.go_to(step),
        }
        assert_eq!(says(&fence, &file), *expected, "{step}");
        look(step, &fence, &file);
    }
    assert_eq!(stepper.end(), (0, "done\n".to_owned()));
}

#[test]
fn a_direct_file_that_was_opened_buffered_once_takes_no_ranges() {
    let expected = [
        ("all direct", Says::DirectAlone),
        ("mixed", Says::Mixed),
        ("all direct again", Says::DirectAlone),
    ];
    steps("opened buffered once", &expected, |_, _, _| {});
}

#[test]
fn a_buffered_file_that_a_killed_process_used_directly_takes_no_ranges() {
    let expected = [
        ("all buffered", Says::Nothing),
        ("mixed", Says::Mixed),
        ("all buffered again", Says::Nothing),
    ];
    steps("killed direct", &expected, |_, _, _| {});
}

#[test]
fn a_killed_child_s_mapping_keeps_its_parent_not_falling_back() {
    let expected = [
        ("mapped", Says::Mixed),
        ("mapped by nobody", Says::DirectAlone),
    ];
    steps("killed mapper", &expected, |step, fence, file| {
        let fell_back = fence.count(Counter::FallbackMapped);
        match step {
            "mapped" => {
                assert_eq!(mapped(fence, file).len(), 1);
                assert_eq!(fell_back, 1);
            }
            // A few, until it is known that the child is dead.
            _ => {
                assert!(mapped(fence, file).is_empty());
                assert!(fell_back < 40, "{fell_back}");
            }
        }
    });
}

/// What a process has open was turned to the other mode by one that shared it, and is gone: the table said that all use was in
/// the mode that it isn't in any more, and returned writes were lost. The kind: what is remembered of a thing that others can
/// change.
#[test]
fn a_file_whose_description_another_process_has_turned_stays_mixed() {
    let expected = [("all buffered", Says::Nothing), ("turned", Says::Mixed)];
    steps("turned by another", &expected, |_, _, _| {});
}

/// A child counts as a user of what it has inherited from its first call on, and no sooner: a shell's children, which use
/// nothing, kept a file mixed. And what it inherited may be direct by then, when nobody is left who knows.
#[test]
fn a_child_uses_what_it_has_inherited_from_its_first_call_on() {
    let expected = [
        ("both", Says::Mixed),
        ("the child uses nothing", Says::DirectAlone),
        ("the child reads", Says::Mixed),
        ("the child is gone", Says::DirectAlone),
    ];
    steps("inherited and used late", &expected, |_, _, _| {});
}

#[test]
fn a_child_sees_that_what_it_has_inherited_was_turned() {
    let expected = [
        ("the child uses nothing", Says::Nothing),
        ("the child reads directly", Says::Mixed),
    ];
    steps("turned before it was used", &expected, |_, _, _| {});
}

/// The same as a race, on filesystems where it loses something bare.
#[test]
fn nothing_is_lost_beside_a_child_that_begins_to_use_what_it_has_inherited() {
    let program = compile("inherited", &[]);
    let (dir, fence) = (main_place().directory(), Fence::new());
    let mut command = program.on(dir.path());
    fence.apply(&mut command);
    let outcome = run(&mut command, std::time::Duration::from_secs(300)).expect("inherited");
    assert_eq!(
        (outcome.code(), outcome.stdout.as_str()),
        (0, "done\n"),
        "{}",
        outcome.report()
    );
}
