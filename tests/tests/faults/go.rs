//! Programs that Go's own toolchain makes: they make their system calls themselves, on stacks of a few KiB, in threads that
//! signals interrupt at any time. Linked with C they are fenced with `coverage = "syscalls"`; what isn't fenced is said
//! before it runs, and not started where the policy says so.
//!
//! The kind: a door below the symbols, of which neither the library nor its user knows.

use pagefence_tests::compare::Comparison;
use pagefence_tests::fence::{self, Fence, split_own_lines};
use pagefence_tests::places::main_place;
use pagefence_tests::programs::{Program, go, go_source};
use pagefence_tests::run::{Outcome, run};
use pagefence_tests::skip;
use std::process::Command;
use std::time::Duration;
use summary::Counter;

const SYSCALLS: &str = "[defaults]\ncoverage = \"syscalls\"\n";
const REFUSE: &str = "[defaults]\non_uncovered = \"refuse\"\n";
const BOTH: &str = "[defaults]\non_uncovered = \"refuse\"\ncoverage = \"syscalls\"\n";

fn is_there() -> bool {
    let version = Command::new("go").arg("version").output();
    let there = version.is_ok_and(|version| version.status.success());
    if !there {
        skip("there is no Go compiler (apt: golang-go)");
    }
    there
}

/// Without a supervisor for what the library doesn't see.
fn outcome(command: &mut Command, fence: Option<&Fence>) -> Outcome {
    fence::apply(fence, command);
    command.env("PAGEFENCE_SUPERVISE", "never");
    let outcome = run(command, Duration::from_secs(120)).expect("a program of ours");
    assert!(outcome.hang.is_none(), "{}", outcome.report());
    outcome
}

/// With the ways to link it that a program of Go may be linked in.
fn linked(name: &str) -> [Program; 3] {
    let ways: [&[&str]; 3] = [&[], &["-buildmode=pie"], &["-ldflags=-buildid= -s -w"]];
    ways.map(|how| go(&go_source(name), how, true))
}

/// A program of this text.
fn written(name: &str, text: &str, how: &[&str], with_c: bool) -> Program {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join(format!("{name}.go"));
    std::fs::write(&file, text).expect("a source");
    go(&file, how, with_c)
}

/// What a run of `go_records records` has seen: anomalies in the process and in its child, and the writes.
fn numbers(outcome: &Outcome) -> [u64; 3] {
    assert_eq!(outcome.code(), 0, "{}", outcome.report());
    let words = outcome.stdout.split_whitespace();
    let all: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
    all.first_chunk().copied().expect("its line")
}

/// Bare they read halves of writes; fenced they don't, neither in the process that writes nor in one that it starts.
#[test]
fn records_are_whole() {
    if !is_there() {
        return;
    }
    let programs = linked("go_records");
    let dir = main_place().directory();
    let once = |program: &Program, fence: Option<&Fence>| {
        let mut command = Command::new(&program.path);
        command.arg("records").arg(dir.path().join("file"));
        outcome(&mut command, fence)
    };
    let bare = (0..5).any(|_| {
        let [own, child, _] = numbers(&once(&programs[0], None));
        own > 0 && child > 0
    });
    assert!(bare, "nothing was lost bare in five throws");
    for program in &programs {
        let fence = Fence::with_policy(SYSCALLS);
        let fenced = once(program, Some(&fence));
        let [own, child, writes] = numbers(&fenced);
        assert_eq!((own, child), (0, 0), "{}", fenced.report());
        let direct = fence.count(Counter::DirectWritesDirect);
        assert!(direct >= writes && writes > 0, "{direct} of {writes} by us");
        assert_eq!(fence.count(Counter::Processes), 2, "it and its child");
        let said = split_own_lines(&fenced.stderr).1;
        assert_eq!(said, Vec::<String>::new(), "{}", fenced.report());
    }
}

/// Stacks with next to no room, children, signals, errors, pipes, mappings: all as it is bare.
#[test]
fn they_run_as_they_do_bare() {
    if !is_there() {
        return;
    }
    for program in linked("go_records").into_iter().take(2) {
        let fences = [
            ("refuse", Fence::with_policy(BOTH)),
            (
                "atomic",
                Fence::with_policy(&format!("{SYSCALLS}isolation = \"atomic\"\n")),
            ),
        ];
        let comparison = Comparison::new("go_records").limit(120);
        let bare = comparison.check(&main_place(), &fences, |dir| {
            let mut command = Command::new(&program.path);
            command.arg("calls").arg(dir);
            command
        });
        assert_eq!(bare.code(), 0, "{}", bare.report());
        assert!(bare.stdout.contains("others: "), "{}", bare.report());
        for (how, fence) in &fences {
            let direct = fence.count(Counter::DirectWritesDirect);
            assert!(direct > 500, "{how}: {direct} by us");
        }
    }
}

const CGO: &str = "package main\n// #include <unistd.h>\nimport \"C\"\nimport \"os\"\nfunc main() { os.Exit(41 + int(C.getpid()/C.getpid())) }\n";
const PLAIN: &str = "package main\nimport \"os\"\nfunc main() { os.Exit(42) }\n";

/// A shell starts it, with each policy: what is told of it before it runs.
#[test]
fn what_is_not_fenced_is_said() {
    if !is_there() {
        return;
    }
    let own = "it is a Go program";
    let policies = [("", false), (REFUSE, false), (SYSCALLS, true), (BOTH, true)];
    for (name, source, how, reason, can_be) in [
        ("plain", PLAIN, &[] as &[&str], "it is static", false),
        ("cgo", CGO, &[], own, true),
        ("alone", PLAIN, &["-buildmode=pie"], own, false),
        ("without-id", CGO, &["-ldflags=-buildid= -s -w"], own, true),
    ] {
        let program = written(name, source, how, can_be);
        for (policy, covered) in policies {
            let fence = Fence::with_policy(policy);
            let mut shell = Command::new("bash");
            shell.arg("-c");
            shell.arg(format!("{}; exit $?", program.path.display()));
            fence.apply_traced(&mut shell);
            let outcome = outcome(&mut shell, None);
            let is_fenced = covered && can_be;
            let refused = policy.contains("refuse") && !is_fenced;
            let code = if refused { 126 } else { 42 };
            assert_eq!(outcome.code(), code, "{name}: {}", outcome.report());
            let mut told = fence.events();
            told.retain(|event| event["event"] == "uncovered" && event["program"] == "bash");
            assert_eq!(told.len(), usize::from(!is_fenced), "{name} {policy}");
            for event in told {
                let said = event["reason"].as_str();
                assert!(said.is_some_and(|said| said.starts_with(reason)), "{event}");
            }
        }
    }
}

/// One that is dynamic and not linked with C makes its threads itself, and takes the register by which libc knows them: it
/// is left alone from then on, which is said.
#[test]
fn one_that_makes_its_threads_is_left_alone() {
    if !is_there() {
        return;
    }
    let program = written("alone", PLAIN, &["-buildmode=pie"], false);
    let fence = Fence::with_policy(SYSCALLS);
    let outcome = outcome(&mut Command::new(&program.path), Some(&fence));
    assert_eq!(outcome.code(), 42, "{}", outcome.report());
    let said = split_own_lines(&outcome.stderr).1;
    let threads = |line: &String| line.contains("makes threads without libc");
    assert!(
        said.len() == 1 && said.iter().all(threads),
        "{}",
        outcome.report()
    );
}

const LIBRARY: &str = "package main\nimport \"C\"\nimport \"os\"\n//export Made\nfunc Made() C.int { _, err := os.Stat(\"/\"); if err != nil { return 1 }; return 42 }\nfunc main() {}\n";

/// A library of Go's that is loaded later isn't described yet where its functions begin: that its calls stay is said.
#[test]
fn a_library_of_its_is_said() {
    if !is_there() {
        return;
    }
    let library = written("library", LIBRARY, &["-buildmode=c-shared"], true);
    let library = library.path.display();
    let fence = Fence::with_policy(SYSCALLS);
    let mut python = Command::new("python3");
    let load = format!("import ctypes, sys; sys.exit(ctypes.CDLL('{library}').Made())");
    python.args(["-c", &load]);
    let outcome = outcome(&mut python, Some(&fence));
    assert_eq!(outcome.code(), 42, "{}", outcome.report());
    let said = split_own_lines(&outcome.stderr).1;
    let telling = said
        .iter()
        .filter(|line| line.contains(&format!("that {library} may make")));
    assert_eq!(telling.count(), 1, "{}", outcome.report());
}
