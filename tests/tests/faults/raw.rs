//! System calls that a program, or a library of its, makes by instructions of its own, without libc: with `coverage =
//! "syscalls"` they are fenced, and are what they are on the bare kernel; what can't be covered is said.
//!
//! The kind: a door below the symbols, of which neither the library nor its user knows.

use pagefence_tests::compare::Comparison;
use pagefence_tests::fence::{self, Fence, split_own_lines};
use pagefence_tests::places::main_place;
use pagefence_tests::programs::{Program, compile};
use pagefence_tests::run::{Outcome, run};
use std::process::Command;
use std::time::Duration;
use summary::Counter;

fn syscalls() -> Fence {
    Fence::with_policy("[defaults]\ncoverage = \"syscalls\"\n")
}

/// Runs a program on a directory of the main place.
fn on_place(program: &Program, more: &[&str], fence: Option<&Fence>) -> Outcome {
    let dir = main_place().directory();
    let mut command = Command::new(&program.path);
    command.arg(dir.path()).args(more);
    fence::apply(fence, &mut command);
    let outcome = run(&mut command, Duration::from_secs(60)).expect("a program of ours");
    assert_eq!(outcome.code(), 0, "{more:?}: {}", outcome.report());
    if let Some(fence) = fence {
        assert!(fence.count(Counter::Processes) > 0, "it wasn't fenced");
    }
    outcome
}

fn said(outcome: &Outcome) -> Vec<String> {
    split_own_lines(&outcome.stderr).1
}

/// Each shape, with how often it writes.
const SHAPES: [(&str, u64); 9] = [
    ("argument", 1),
    ("near", 1),
    ("far", 1),
    ("relative", 1),
    ("again", 2),
    ("entered", 1),
    ("table", 1),
    ("hand", 1),
    ("popped", 1),
];

/// Compilers put what belongs to a call in any order, and people write it in other ways again.
#[test]
fn every_shape_comes_in() {
    for how in [&[][..], &["-O2", "-no-pie"]] {
        let program = compile("raw_shapes", how);
        for (shape, writes) in SHAPES {
            let bare = on_place(&program, &[shape], None);
            assert_eq!(bare.stdout, format!("{shape}: 4096, and there is x\n"));
            for (fence, comes) in [(Fence::new(), 0), (syscalls(), writes)] {
                let fenced = on_place(&program, &[shape], Some(&fence));
                assert_eq!(fenced.stdout, bare.stdout, "{shape}");
                assert_eq!(
                    fence.count(Counter::DirectWritesDirect),
                    comes,
                    "{how:?} {shape}: {}",
                    fenced.report()
                );
                assert_eq!(said(&fenced), Vec::<String>::new(), "{shape}");
            }
        }
    }
}

/// What isn't certain, or can't be changed, stays as it is, and is said: with the program's name, and how many there are.
#[test]
fn what_cannot_be_covered_is_said() {
    let program = compile("raw_shapes", &["-DUNKNOWN"]);
    let fence = syscalls();
    let fenced = on_place(&program, &["unknown"], Some(&fence));
    assert_eq!(fenced.stdout, "unknown: 4096, and there is x\n");
    assert_eq!(fence.count(Counter::DirectWritesDirect), 0);
    let lines = said(&fenced);
    assert!(
        lines.len() == 1 && lines[0].contains("1 system call that raw_shapes may make"),
        "{}",
        fenced.report()
    );
}

/// Memory that may not be both written and run, in a place without /proc.
#[test]
fn code_that_may_not_be_written() {
    let program = compile("raw_shapes", &[]);
    let fence = syscalls();
    let fenced = on_place(&program, &["near", "denied"], Some(&fence));
    assert_eq!(fenced.stdout, "near: 4096, and there is x\n");
    assert_eq!(fence.count(Counter::DirectWritesDirect), 0);
    let lines = said(&fenced);
    let telling = lines
        .iter()
        .filter(|line| line.contains("the program may make"));
    assert_eq!(telling.count(), 1, "{}", fenced.report());
}

/// Errors, offsets, registers, stacks of next to nothing, handlers that make calls and that jump out of them, cancellation,
/// children: all as it is bare.
#[test]
fn they_are_what_they_are_bare() {
    let program = compile("raw_calls", &[]);
    let bare = on_place(&program, &[], None);
    for policy in ["", "isolation = \"atomic\"\n", "mode = \"observe\"\n"] {
        let text = format!("[defaults]\ncoverage = \"syscalls\"\n{policy}");
        let fence = Fence::with_policy(&text);
        let fenced = on_place(&program, &[], Some(&fence));
        assert_eq!(fenced.stdout, bare.stdout, "{policy}: {}", fenced.report());
        let counted = fence.count(Counter::DirectWritesDirect) > 100;
        assert!(counted || fence.observes(), "{policy}: not by us");
    }
}

/// A library that is loaded, unloaded and loaded again, by one thread and by several at once.
#[test]
fn a_library_that_is_loaded_later() {
    let program = compile("raw_loaded", &[]);
    let library = compile("raw_library", &["-shared", "-fPIC"]);
    let library = library.path.to_str().expect("a path of ours");
    for (more, writes) in [(&[library][..], 5), (&[library, "threads"], 25)] {
        let bare = on_place(&program, more, None);
        let line = "written by a library: 4096\n";
        assert_eq!(bare.stdout, line.repeat(writes));
        for (fence, comes) in [(Fence::new(), 0), (syscalls(), writes)] {
            let fenced = on_place(&program, more, Some(&fence));
            assert_eq!(fenced.stdout, bare.stdout, "{more:?}");
            assert_eq!(
                fence.count(Counter::DirectWritesDirect),
                comes as u64,
                "{more:?}: {}",
                fenced.report()
            );
            assert_eq!(said(&fenced), Vec::<String>::new(), "{more:?}");
        }
    }
}

/// Linux AIO by libaio, whose own calls are those of its names, and by one that is a part of the program.
#[test]
fn libaio_comes_in_once() {
    for how in ["-laio", "-l:libaio.a"] {
        let program = compile("aio_calls", &[how]);
        let fences = [("syscalls", syscalls())];
        let comparison = Comparison::new("aio_calls").limit(150);
        let bare = comparison.check(&main_place(), &fences, |dir| program.on(dir));
        assert_eq!(bare.code(), 0, "{how}: {}", bare.report());
        let direct = fences[0].1.count(Counter::DirectWritesDirect);
        assert!(direct > 10, "{how}: {direct} by us");
    }
}

/// A ring of io_uring is refused as it is by the names, and nothing else is said of it.
#[test]
fn rings_are_refused() {
    let program = compile("uring_static", &["-l:liburing.a", "-s"]);
    let fenced = on_place(&program, &[], Some(&syscalls()));
    assert_eq!(fenced.stdout, "a ring of its own: ENOSYS\n");
    let lines = said(&fenced);
    assert!(
        lines.len() == 1 && lines[0].contains("refused with ENOSYS"),
        "{}",
        fenced.report()
    );
}

/// Programs that people use run as they do: large ones too, whose code is full of bytes that look like system calls.
#[test]
fn large_programs_run_as_they_do() {
    let words: [&[&str]; 5] = [
        &[
            "python3",
            "-c",
            "import ssl, sqlite3, json; print(sum(range(10)))",
        ],
        &["mariadbd", "--no-defaults", "--version"],
        &["qemu-img", "--version"],
        &[
            "node",
            "-e",
            "console.log(require('fs').readdirSync('/').length > 0)",
        ],
        &["git", "--version"],
    ];
    for words in words {
        let once = |fence: Option<&Fence>| {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]);
            fence::apply(fence, &mut command);
            let outcome = run(&mut command, Duration::from_secs(60));
            outcome.unwrap_or_else(|error| panic!("{}: install it: {error}", words[0]))
        };
        let bare = once(None);
        let fenced = once(Some(&syscalls()));
        assert_eq!(fenced.stdout, bare.stdout, "{}", fenced.report());
        assert_eq!(fenced.code(), bare.code(), "{}", fenced.report());
    }
}

/// A debugger finds its way through what stands in the program's code, and through the library's: a breakpoint in the call,
/// and the stack at the real one.
#[test]
fn a_debugger_finds_its_way() {
    let program = compile("raw_shapes", &["-O2"]);
    let fence = syscalls();
    let dir = main_place().directory();
    let mut command = Command::new("gdb");
    command.args(["-q", "-batch", "-nx", "-iex", "set debuginfod enabled off"]);
    command.args(["-ex", "set startup-with-shell off"]);
    for (name, value) in fence.environment() {
        command.arg("-ex");
        command.arg(format!("set environment {name} {}", value.display()));
    }
    let commands = [
        "break raw_near",
        "run",
        "catch syscall pwrite64",
        "continue",
        "backtrace",
        "delete",
        "continue",
    ];
    commands.iter().for_each(|words| {
        command.args(["-ex", words]);
    });
    command
        .arg("--args")
        .arg(&program.path)
        .arg(dir.path())
        .arg("near");
    let outcome = run(&mut command, Duration::from_secs(60)).expect("gdb: install it");
    for words in [
        "near: 4096, and there is x",
        "in raw_near",
        "in main",
        "exited normally",
    ] {
        assert!(
            outcome.stdout.contains(words),
            "{words}: {}",
            outcome.report()
        );
    }
    assert_eq!(fence.count(Counter::DirectWritesDirect), 1);
}

/// What it costs: a few instructions for a call that has nothing to do with files, and a change of stacks and all registers
/// for one that comes in. (Shown with `--nocapture`; the limits leave room for busy processors.)
#[test]
fn what_it_costs() {
    let program = compile("raw_cost", &["-O2"]);
    let cost = |fence: Option<&Fence>| -> Vec<f64> {
        let outcome = on_place(&program, &[], fence);
        let words = outcome.stdout.split_whitespace();
        words.map(|word| word.parse().expect("a number")).collect()
    };
    let (bare, calls, syscalls) = (
        cost(None),
        cost(Some(&Fence::new())),
        cost(Some(&syscalls())),
    );
    println!(
        "no file, a file, a file by libc (ns): bare {bare:?}, calls {calls:?}, syscalls {syscalls:?}"
    );
    let other = syscalls[0] - bare[0];
    assert!(other < 60.0, "{other} ns more for a call that isn't ours");
    let taken = syscalls[1] - syscalls[2];
    assert!(taken < 1000.0, "{taken} ns more than by libc");
}
