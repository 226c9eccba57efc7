//! What a call on a file costs beside itself, in system calls, counted by a tracer: for each way exactly so many, so that
//! none comes back. The files lie where direct I/O is real.

use kernel::supervised::{ANSWER, QUESTION};
use pagefence_tests::artefacts;
use pagefence_tests::fence::{self, Fence, found};
use pagefence_tests::places::main_place;
use pagefence_tests::programs::{Program, compile};
use pagefence_tests::run::run;
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;
use summary::Counter;

const LIMIT: Duration = Duration::from_secs(60);
/// How often the program makes its call.
const TIMES: usize = 16;

type Counts = BTreeMap<String, usize>;

/// The system calls that the program makes between its two lines.
fn counts(program: &Program, fence: Option<&Fence>, how: [&str; 2]) -> Counts {
    counts_behind(&[], program, fence, how)
}

/// The same of one that a command starts.
fn counts_behind(
    starter: &[String],
    program: &Program,
    fence: Option<&Fence>,
    how: [&str; 2],
) -> Counts {
    let dir = main_place().directory();
    let trace = dir.path().join("trace");
    let mut command = Command::new("strace");
    command.arg("-qq").arg("-o").arg(&trace);
    if let Some(fence) = fence {
        // The tracer itself is none of the fenced.
        let mut inside = Command::new("true");
        fence.apply(&mut inside);
        // A summary wants names.
        inside.env_remove("PAGEFENCE_SUMMARY");
        for (name, value) in inside.get_envs().filter(|(_, value)| value.is_some()) {
            let value = value.unwrap_or_default().to_string_lossy();
            command.arg(format!("-E{}={value}", name.to_string_lossy()));
        }
    }
    command.args(starter);
    command.arg(&program.path).arg(dir.path()).args(how);
    let outcome = run(&mut command, LIMIT).expect("strace");
    assert_eq!(outcome.code(), 0, "{how:?}: {}", outcome.report());
    let trace = std::fs::read_to_string(&trace).expect("strace wrote it");
    let says = |line: &&str, what: &str| line.starts_with(&format!("write(2, \"{what}\""));
    let between = trace
        .lines()
        .skip_while(|line| !says(line, "begin"))
        .skip(1)
        .take_while(|line| !says(line, "end"));
    let mut counts = Counts::new();
    for line in between {
        let name = line.split('(').next().unwrap_or(line);
        *counts.entry(name.to_string()).or_default() += 1;
    }
    counts
}

/// What each of so many calls adds to the bare program's.
fn costs(fenced_by: &Program, how: [&str; 2], added: &[(&str, usize)]) {
    costs_of(1, fenced_by, how, added);
}

/// The same of so many times some calls.
fn costs_of(calls: usize, fenced_by: &Program, how: [&str; 2], added: &[(&str, usize)]) {
    let bare = counts(fenced_by, None, how);
    let all = bare.values().sum::<usize>();
    assert_eq!(all, calls * TIMES, "{how:?}: {bare:?}");
    let mut expected = bare;
    for (name, each) in added {
        *expected.entry(name.to_string()).or_default() += each * TIMES;
    }
    let fenced = counts(fenced_by, Some(&Fence::new()), how);
    assert_eq!(fenced, expected, "{how:?}");
}

const BUFFERED: [&str; 5] = ["pread", "pwrite", "read", "write", "lseek"];

#[test]
fn in_one_mode_no_call_costs_another() {
    let program = compile("costs", &[]);
    for what in BUFFERED {
        costs(&program, ["one", what], &[]);
    }
}

#[test]
fn where_all_use_is_direct_no_call_costs_another() {
    let program = compile("costs", &[]);
    for what in ["pread", "pwrite", "read"] {
        costs(&program, ["direct", what], &[]);
    }
}

#[test]
fn in_mixed_use_reads_and_writes_cost_no_look_at_the_file() {
    let program = compile("costs", &[]);
    costs(&program, ["mixed", "pread"], &[]);
    costs(&program, ["mixed", "pwrite"], &[]);
    costs(&program, ["mixed", "direct pread"], &[]);
    costs(&program, ["mixed", "lseek"], &[]);
}

/// Which file it is is asked at its first use, and what lies on that mount isn't asked again.
#[test]
fn a_file_that_is_used_once_costs_one_look() {
    let program = compile("costs", &[]);
    costs_of(3, &program, ["one", "open"], &[("statx", 1)]);
}

#[test]
fn a_writable_mapping_costs_nothing() {
    let program = compile("costs", &[]);
    costs_of(2, &program, ["one", "mmap"], &[]);
}

/// None comes while what is known changes: at the first use and at the close; and while a mapping is registered, is put
/// in its place, and goes.
#[test]
fn in_a_program_with_handlers_they_are_kept_away() {
    let program = compile("costs", &[]);
    let looks = [("statx", 1), ("rt_sigprocmask", 4)];
    costs_of(3, &program, ["handled", "open"], &looks);
    costs_of(2, &program, ["handled", "mmap"], &[("rt_sigprocmask", 6)]);
}

/// At the writeback error.
#[test]
fn in_mixed_use_a_direct_write_costs_one_look() {
    let program = compile("costs", &[]);
    let look = [("sync_file_range", 1)];
    costs(&program, ["mixed", "direct pwrite"], &look);
}

/// Where the file offset is: asked before the range is taken and under it.
#[test]
fn in_mixed_use_calls_at_the_offset_ask_where_that_is() {
    let program = compile("costs", &[]);
    for what in ["read", "write"] {
        costs(&program, ["mixed", what], &[("lseek", 2)]);
    }
}

/// Every system call that the command makes from its start to its end, children's included, with nothing but the library in
/// its environment.
fn all_calls(command: &str, library: Option<&str>) -> Vec<String> {
    let dir = main_place().directory();
    let trace = dir.path().join("trace");
    let preload = library.map_or(String::new(), |at| format!("-E LD_PRELOAD={at}"));
    // Standard input and output are no files: those would be fenced.
    let script = format!(
        "strace -f -qqq -e signal=none -o '{}' {preload} {command} </dev/null 2>&1 | cat >&2",
        trace.display()
    );
    let outcome = run(Command::new("sh").args(["-c", &script]), LIMIT).expect("sh");
    assert!(
        !outcome.stderr.contains("pagefence"),
        "{command}: {}",
        outcome.report()
    );
    let trace = std::fs::read_to_string(&trace).expect("strace wrote it");
    let name = |line: &str| {
        let call = line.split_once(' ')?.1.trim_start();
        let is_whole = !call.starts_with('<') && !call.starts_with('+');
        is_whole.then(|| call.split('(').next().unwrap_or(call).to_string())
    };
    trace.lines().filter_map(name).collect()
}

/// The loader's eight, a look at who and where we are, and one for the machine's policy: no table is joined, none is made.
#[test]
fn a_program_without_files_pays_fifteen_calls_at_its_start() {
    let library = found(artefacts::library());
    let fenced = all_calls("/bin/true", library.to_str());
    let bare = all_calls("/bin/true", None);
    let own: Vec<&str> = fenced
        .iter()
        .rev()
        .skip(1)
        .take(7)
        .map(String::as_str)
        .collect();
    assert_eq!(
        own,
        [
            "statx",
            "statx",
            "prlimit64",
            "access",
            "statx",
            "getpid",
            "prctl"
        ]
    );
    assert_eq!(fenced.len() - bare.len(), 15, "{fenced:?}");
}

/// A child that makes no call which comes to us doesn't even find out that it is one.
#[test]
fn a_fork_costs_nothing() {
    let program = compile("forks", &[]);
    let between = |library: Option<&str>| {
        let dir = main_place().directory();
        let calls = all_calls(
            &format!("{} {}", program.path.display(), dir.path().display()),
            library,
        );
        let mut counts = Counts::new();
        let inside = calls.split(|call| call == "write").nth(1);
        for call in inside.expect("between two lines") {
            *counts.entry(call.clone()).or_default() += 1;
        }
        counts
    };
    let library = found(artefacts::library());
    assert_eq!(between(library.to_str()), between(None));
}

/// Memory of its own, which nobody shares, of a process that uses a file: `cat`, which shows what it has.
#[test]
fn a_process_takes_less_than_a_mebibyte_more() {
    let dir = main_place().directory();
    let file = dir.path().join("f");
    std::fs::write(&file, vec![b'\n'; 1 << 20]).expect("a file of ours");
    let taken = |fence: Option<&Fence>| {
        let mut command = Command::new("cat");
        command.arg(&file).arg("/proc/self/smaps_rollup");
        fence::apply(fence, &mut command);
        let outcome = run(&mut command, LIMIT).expect("cat");
        let line = outcome.stdout.lines().find(|l| l.starts_with("Anonymous:"));
        let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        number.expect("a line of the kernel's")
    };
    let fence = Fence::new();
    let (bare, fenced) = (taken(None), taken(Some(&fence)));
    assert!(fence.count(Counter::Processes) > 0, "it wasn't fenced");
    let more = fenced.saturating_sub(bare);
    assert!(
        (1..1024).contains(&more),
        "{bare} kB, and fenced {fenced} kB"
    );
}

/// The library is there, and does nothing: the supervisor sees the program's own calls.
#[test]
fn in_a_supervised_program_no_call_costs_another() {
    let (program, filter) = (compile("costs", &[]), compile("supervisors_filter", &[]));
    let starter = [
        filter.path.display().to_string(),
        QUESTION.to_string(),
        ANSWER.to_string(),
    ];
    for how in [["one", "open"], ["mixed", "direct pwrite"], ["one", "mmap"]] {
        let bare = counts(&program, None, how);
        let supervised = counts_behind(&starter, &program, Some(&Fence::new()), how);
        assert_eq!(supervised, bare, "{how:?}");
    }
}
