//! Descriptor numbers, the library's own and the program's, and what a call that is left in the middle gives back.

use pagefence_tests::compare::Comparison;
use pagefence_tests::fence::{Fence, split_own_lines};
use pagefence_tests::places::main_place;
use pagefence_tests::programs::{Program, compile};
use pagefence_tests::run::{Outcome, run};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// The program in a directory, started by a shell that sets limits first.
fn limited(limits: &str, program: &Program, arguments: &[&str], dir: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("{limits}; exec \"$0\" \"$@\""))
        .arg(&program.path)
        .arg(dir)
        .args(arguments);
    command
}

fn done(command: &mut Command) -> Outcome {
    let outcome = run(command, LIMIT).expect("a program of ours");
    assert!(outcome.hang.is_none(), "{}", outcome.report());
    assert_eq!(outcome.code(), 0, "{}", outcome.report());
    outcome
}

/// A number of the library's own that the program takes with dup2 while calls act through it: they wrote into the
/// program's file. Kind: who acts through a number that somebody else may change must have it reserved until he is done.
#[test]
fn a_number_taken_with_dup2_is_let_go_first() {
    let (program, fence) = (compile("number_taken", &[]), Fence::new());
    let dir = main_place().directory();
    let mut command = limited("ulimit -Sn 1024", &program, &[], dir.path());
    fence.apply_traced(&mut command);
    let outcome = done(&mut command);
    let right = "foreign bytes 0, wrong 0, written 1, taken 1\n";
    assert_eq!(outcome.stdout, right, "{}", outcome.report());
    assert!(
        fence.has_told("fallback"),
        "nothing fell back: this proves nothing"
    );
}

/// A number that comes to stand for another file while calls use it: they announced the old file, or held it, and
/// wrote the new one. Kind: what a number stands for is changed for the library before it is for the kernel.
#[test]
fn a_number_that_is_replaced_is_forgotten_before() {
    let program = compile("number_replaced", &[]);
    // The one who holds does so for the whole run: who meets it is refused at once.
    let policy = "[defaults]\nlock_timeout = \"1ms\"\n";
    let mut written_bare = 0;
    for (label, arguments) in [
        ("dup2, one mode", ["0", "0"]),
        ("dup2, mixed", ["1", "0"]),
        ("dup3", ["1", "1"]),
        ("freopen", ["1", "2"]),
    ] {
        let (place, fence) = (main_place(), Fence::with_policy(policy));
        let dir = place.directory();
        let held = dir.path().join("held");
        let fresh = || {
            std::fs::write(&held, [b'.'; 4096]).expect("a file of ours");
            std::fs::write(dir.path().join("free"), [b'.'; 4096]).expect("a file of ours");
        };
        fresh();
        let bare = run(
            Command::new(&program.path).arg(dir.path()).args(arguments),
            LIMIT,
        )
        .expect("a program of ours");
        assert_eq!(bare.code(), 0, "{}", bare.report());
        written_bare += usize::from(
            std::fs::read(&held)
                .expect("a file of ours")
                .contains(&b'x'),
        );
        fresh();
        let (table, slot, _) = fence.hold_whole(&held);
        let mut command = program.on(dir.path());
        command.args(arguments);
        fence.apply(&mut command);
        command.env("PAGEFENCE_LOG", "off");
        let outcome = done(&mut command);
        let (stderr, _) = split_own_lines(&outcome.stderr);
        eprintln!("{label}: {stderr}");
        assert_eq!(
            outcome.stdout,
            "done 1, refused 1\n",
            "{label}: {}",
            outcome.report()
        );
        let content = std::fs::read(&held).expect("a file of ours");
        assert!(
            content.iter().all(|b| *b == b'.'),
            "{label}: written while somebody else held it: {stderr}"
        );
        table.release(slot);
    }
    assert_eq!(
        written_bare, 4,
        "bare it is not written: this proves nothing"
    );
}

/// The program had one descriptor less than bare, and numbers that are closed for one call and open for another. Kind:
/// what is ours is nowhere where the program looks; where it must be, every call says that it is not, and it is given
/// up for the last number that the program wants.
#[test]
fn our_descriptors_do_not_show() {
    let program = compile("numbers_seen", &[]);
    for (limits, under) in [
        (":", "as is"),
        ("ulimit -Sn 1024", "as is"),
        ("ulimit -Sn 256", "as is"),
        ("ulimit -n 12", "as is"),
        (":", "5"),
        // No room above the limit, and no right to any.
        (":", "no rights"),
    ] {
        if under == "no rights" && !pagefence_tests::is_root() {
            continue; // who has no rights can't give any up
        }
        let fences = [("fenced", Fence::new())];
        let seen = Comparison::new("numbers_seen").check(&main_place(), &fences, |dir| {
            std::fs::write(dir.join("f"), vec![b'.'; 4 << 20]).expect("a file of ours");
            limited(limits, &program, &[under], dir)
        });
        assert_eq!(seen.code(), 0, "{limits}, {under}: {}", seen.report());
    }
}

/// A shell that has 12 numbers and moves its own to 10 and above, where it misses a third. What the tests were started
/// with up there is closed first (by bash: dash's redirections know one digit), so that the two are always free.
#[test]
fn a_shell_with_twelve_numbers() {
    let script = "exec 10>&- 11>&-; ulimit -n 12; exec dash -c 'echo one >f; { echo two; { echo three >&2; } 2>>f; } >>f; \
         while read -r line; do echo $line; done <f; exec 9<f; read -r a <&9; echo $a'";
    let fences = [("fenced", Fence::new())];
    let seen = Comparison::new("dash").check(&main_place(), &fences, |_| {
        let mut command = Command::new("bash");
        command.arg("-c").arg(script);
        command
    });
    let right = "one\ntwo\ndash: 1: 1: Too many open files\none\n";
    assert_eq!(seen.stdout, right, "{}", seen.report());
}

/// A handler that jumps out of calls left second descriptors in use, pins and entries in the register of mappings for
/// ever. Kind: what a call holds stands in its frame, which whoever comes after can clear.
#[test]
fn a_call_that_is_jumped_out_of_leaves_nothing() {
    let (program, fence) = (compile("jumps_out", &[]), Fence::new());
    let dir = main_place().directory();
    let mut command = limited("ulimit -Sn 1024", &program, &[], dir.path());
    fence.apply_traced(&mut command);
    let outcome = done(&mut command);
    eprintln!("{}", outcome.stderr);
    let right = "jumps 1, taken quickly 1\nanother process uses the range: exit 0\nin time: yes\n\
                 last: 4096\nflags: 1\n";
    assert_eq!(outcome.stdout, right, "{}", outcome.report());
    assert!(fence.has_told("fallback"), "nothing fell back");
    let last = |e: &serde_json::Value| e["event"] == "fallback" && e["first"] == 1_048_576;
    assert!(
        !fence.events().iter().any(last),
        "the last write fell back, beside no mapping"
    );
}

/// A kill between the two changes of a description's flags left whoever shared it without `O_DIRECT`. Kind: what is
/// changed for a moment carries a mark by which others can put it back.
#[test]
fn who_shares_a_description_puts_back_what_a_kill_left() {
    let (program, fence) = (compile("killed_taken_off", &[]), Fence::new());
    let dir = main_place().directory();
    let mut command = program.on(dir.path());
    fence.apply(&mut command);
    let outcome = done(&mut command);
    let right = "the other: killed by signal 9\nas before: 1\nit: buffered read: k..k\nit: direct read: k..k\n";
    assert_eq!(outcome.stdout, right, "{}", outcome.report());
}

/// The limit on numbers is raised for the moment in which one of ours is made: of the programs that another thread started
/// then each fortieth kept the raised one. Kind: what is changed for a moment must not be handed on in it.
#[test]
fn programs_get_the_limit_that_the_program_has() {
    let (program, fence) = (compile("limit_inherited", &[]), Fence::new());
    let dir = main_place().directory();
    let mut command = program.on(dir.path());
    fence.apply_traced(&mut command);
    let outcome = done(&mut command);
    assert_eq!(
        outcome.stdout,
        "enough: 1, wrong: 0\n",
        "{}",
        outcome.report()
    );
    assert!(fence.has_told("mixed"), "no file was used both ways");
}
