//! Doors that the library doesn't watch are refused or said, and symbols that a libc may lack don't matter.

use lock_table::summary::Counter;
use pagefence_tests::artefacts;
use pagefence_tests::compare::Comparison;
use pagefence_tests::exports::versions;
use pagefence_tests::fence::{Fence, found, split_own_lines};
use pagefence_tests::places::main_place;
use pagefence_tests::programs::compile;
use pagefence_tests::run::{Outcome, run};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const ALLOW: &str = "[defaults]\nio_uring = \"allow\"\n";
const OBSERVE: &str = "[defaults]\nmode = \"observe\"\n";

/// Runs a program on a directory of the main place.
fn on_place(program: &Path, more: &[&Path], fence: Option<&Fence>) -> Outcome {
    let dir = main_place().directory();
    let mut command = Command::new(program);
    command.arg(dir.path()).args(more);
    if let Some(fence) = fence {
        fence.apply(&mut command);
    }
    let outcome = run(&mut command, Duration::from_secs(30)).expect("a program of ours");
    assert_eq!(outcome.code(), 0, "{}", outcome.report());
    if let Some(fence) = fence {
        assert!(fence.count(Counter::Processes) > 0, "it wasn't fenced");
    }
    outcome
}

/// What the library said of io_uring.
fn said_of_uring(outcome: &Outcome) -> Vec<String> {
    let (_, own) = split_own_lines(&outcome.stderr);
    own.into_iter()
        .filter(|line| line.contains("io_uring"))
        .collect()
}

/// liburing makes its own system calls, so that a hook of `syscall` saw nothing of it: its programs wrote unfenced under
/// `io_uring = "refuse"`, and nobody said so. The kind: a door below the symbols that are watched, with symbols of its own.
#[test]
fn liburing_is_refused() {
    let program = compile("uring_doors", &["-luring"]);
    let bare = on_place(&program.path, &[], None);
    assert_eq!(
        bare.stdout,
        "io_uring_queue_init: made\nio_uring_queue_init_params: made\nio_uring_get_probe: one\nio_uring_setup: made\n\
         io_uring_queue_mmap: made\nsyscall(io_uring_setup): made\na write through it: 4096\n"
    );
    let fenced = on_place(&program.path, &[], Some(&Fence::new()));
    assert_eq!(
        fenced.stdout,
        "io_uring_queue_init: ENOSYS\nio_uring_queue_init_params: ENOSYS\nio_uring_get_probe: none\nio_uring_setup: ENOSYS\n\
         syscall(io_uring_setup): ENOSYS\nno ring, no write\n"
    );
    let said = said_of_uring(&fenced);
    assert!(
        said.len() == 1 && said[0].contains("refused with ENOSYS"),
        "{said:?}"
    );
}

/// Where it is allowed, or where the policy only looks on, the rings work and are said, once.
#[test]
fn liburing_is_allowed_and_said() {
    let program = compile("uring_doors", &["-luring"]);
    let bare = on_place(&program.path, &[], None);
    for policy in [ALLOW, OBSERVE] {
        let fence = Fence::with_policy(policy);
        let fenced = on_place(&program.path, &[], Some(&fence));
        assert_eq!(fenced.stdout, bare.stdout, "{policy}");
        let said = said_of_uring(&fenced);
        assert!(
            said.len() == 1
                && said[0].contains("uncovered")
                && said[0].contains("program=uring_doors")
                && said[0].contains("passed through"),
            "{policy}: {said:?}"
        );
        assert_eq!(fence.count(Counter::Uncovered), 1, "{policy}");
    }
}

/// liburing's names needn't be where the preloaded library would look for them.
#[test]
fn liburing_in_a_scope_of_its_own() {
    let program = compile("uring_hidden", &[]);
    let library = compile("uring_library", &["-shared", "-fPIC", "-luring"]);
    for (fence, result) in [
        (None, "made"),
        (Some(Fence::new()), "ENOSYS"),
        (Some(Fence::with_policy(ALLOW)), "made"),
    ] {
        let outcome = on_place(&program.path, &[&library.path], fence.as_ref());
        assert_eq!(
            outcome.stdout,
            format!("a hidden library's ring: {result}\n")
        );
        assert_eq!(
            said_of_uring(&outcome).len(),
            usize::from(fence.is_some()),
            "{}",
            outcome.report()
        );
    }
}

/// One that brings its own liburing can't be refused; but its ring shows, and is said.
#[test]
fn a_static_liburing_is_said() {
    let program = compile("uring_static", &["-l:liburing.a"]);
    let bare = on_place(&program.path, &[], None);
    assert_eq!(
        bare.stdout,
        "a ring of its own: made\na write through it: 4096\n"
    );
    let fenced = on_place(&program.path, &[], Some(&Fence::new()));
    assert_eq!(fenced.stdout, bare.stdout);
    let said = said_of_uring(&fenced);
    assert!(
        said.len() == 1 && said[0].contains("passed through"),
        "{}",
        fenced.report()
    );
}

/// A program that people use: it hears what it would hear from a kernel without io_uring, and its file is left alone.
#[test]
fn fio_hears_that_there_is_no_uring() {
    let ring = |fence: Option<&Fence>| {
        let dir = main_place().directory();
        let mut command = Command::new("fio");
        command.current_dir(dir.path()).args([
            "--name=ring",
            "--filename=data",
            "--ioengine=io_uring",
            "--direct=1",
            "--rw=write",
            "--bs=4k",
            "--size=64k",
        ]);
        if let Some(fence) = fence {
            fence.apply(&mut command);
        }
        run(&mut command, Duration::from_secs(30)).expect("fio: install it")
    };
    let bare = ring(None);
    assert_eq!(bare.code(), 0, "{}", bare.report());
    let fenced = ring(Some(&Fence::new()));
    assert!(
        fenced.code() != 0 && fenced.stdout.contains("error=Function not implemented"),
        "{}",
        fenced.report()
    );
    assert_eq!(said_of_uring(&fenced).len(), 1, "{}", fenced.report());
}

/// A libc of this kind without some of its functions: their names are others in it.
fn libc_without(names: &[&str], directory: &Path) {
    let mut bytes = std::fs::read(artefacts::libc()).expect("libc");
    for name in names {
        let whole = format!("\0{name}\0").into_bytes();
        let places: Vec<_> = (0..bytes.len() - whole.len())
            .filter(|at| bytes[*at..].starts_with(&whole))
            .collect();
        assert!(!places.is_empty(), "{name} is not in libc");
        places.into_iter().for_each(|at| bytes[at + 1] = b'X');
    }
    std::fs::write(directory.join("libc.so.6"), bytes).expect("a directory of ours");
}

/// `execveat` was looked up as if every libc had it, and what isn't found ended the program before `main`: every program,
/// on glibc older than 2.34. The kind: names that a libc may lack. This libc is as old as Debian 11's, of what is hooked.
#[test]
fn an_older_libc() {
    let libc = versions(&artefacts::libc());
    let hooks = versions(&found(artefacts::library()));
    // In librt then, which no program here is linked to.
    let elsewhere =
        |name: &str| ["aio_", "lio_"].iter().any(|p| name.starts_with(p)) || name == "shm_open";
    let newer: Vec<&str> = libc
        .iter()
        .filter(|(name, since)| **since > (2, 31) || elsewhere(name))
        .map(|(name, _)| name.as_str())
        .filter(|name| hooks.contains_key(*name))
        // The program is built with today's headers, and calls it.
        .filter(|name| !name.starts_with("fstat"))
        .collect();
    for wanted in [
        "execveat",
        "close_range",
        "closefrom",
        "_Fork",
        "pidfd_open",
        "shm_open",
    ] {
        assert!(newer.contains(&wanted), "{wanted}: not in {newer:?}");
    }
    let (program, fence, dir) = (
        compile("both_ways", &[]),
        Fence::new(),
        main_place().directory(),
    );
    let old = tempfile::tempdir().expect("a directory");
    libc_without(&newer, old.path());
    let mut command = Command::new(&program.path);
    command.arg(dir.path()).env("LD_LIBRARY_PATH", old.path());
    let bare = run(&mut command, Duration::from_secs(30)).expect("a program of ours");
    assert_eq!(bare.code(), 0, "{}", bare.report());
    fence.apply(&mut command);
    let fenced = run(&mut command, Duration::from_secs(30)).expect("a program of ours");
    assert_eq!(
        (fenced.code(), fenced.stderr.as_str()),
        (0, ""),
        "{}",
        fenced.report()
    );
    assert_eq!(fenced.stdout, bare.stdout);
    assert_eq!(fence.count(Counter::Processes), 1, "it wasn't fenced");
}

/// What programs show bare and fenced is the same whether it is handled or not: that a child which maps, a descriptor that
/// becomes direct, and a process that has closed everything are still fenced shows in what was done, and in the trace.
#[test]
fn handled_all_the_same() {
    let program = compile("handled", &[]);
    for (how, times) in [
        ("child", 1),
        ("inherited", 1),
        ("setfl", 1),
        ("vfork", 20),
        ("all closed", 1),
        ("by number", 2),
        ("grows", 4),
    ] {
        let fence = Fence::new();
        let dir = main_place().directory();
        let trace = fence.table().with_file_name("trace");
        let mut command = Command::new(&program.path);
        command.arg(dir.path()).arg(how);
        fence.apply(&mut command);
        command.env("PAGEFENCE_TRACE", &trace);
        let outcome = run(&mut command, Duration::from_secs(30)).expect("a program of ours");
        assert_eq!(outcome.code(), 0, "{how}: {}", outcome.report());
        let back = fence.count(Counter::FallbackMapped);
        assert_eq!(back, times, "{how}: so many direct writes fell back");
        let trace = std::fs::read_to_string(&trace).expect("a trace");
        assert!(trace.contains("\"fallback\""), "{how}: {trace}");
    }
}

/// Programs of long ago are linked to the first versions of functions that have several.
#[test]
fn old_versions_of_symbols() {
    let program = compile("versions", &[]);
    let fences = [("fenced", Fence::new())];
    let seen = Comparison::new("versions")
        .expect_said(&["uncovered POSIX aio"])
        .check(&main_place(), &fences, |dir| {
            let mut command = Command::new(&program.path);
            command.arg(dir);
            command
        });
    assert_eq!(seen.code(), 0, "{}", seen.report());
    // One for each file, and what is spawned joins.
    let [(_, fence)] = &fences;
    assert_eq!(fence.count(Counter::Uncovered), 3);
    assert_eq!(fence.count(Counter::Processes), 2);
}
