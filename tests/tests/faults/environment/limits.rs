//! Resource limits. `RLIMIT_FSIZE` holds for our own files too (the lock table, the trace, a log on standard error), and
//! the kernel raises SIGXFSZ for what goes beyond it: the program was killed by our writes. None of them may raise a
//! signal in it.

use super::{assert_as_bare, said, through, traced};
use lock_table::{Geometry, Table};
use pagefence_tests::artefacts;
use pagefence_tests::fence::{Fence, found};
use pagefence_tests::places::{Place, main_place, places};
use pagefence_tests::programs::{Program, compile};
use pagefence_tests::run::{Outcome, run};
use std::path::Path;
use std::process::Command;
use summary::Counter;

/// Less than the table needs, and more than the program's own file.
const FILE_LIMIT: u64 = 8 << 20;
const MODES: [&str; 4] = ["default", "handled", "ignored", "pending"];

fn file_limited(
    fence: Option<&Fence>,
    more: &[(&str, &Path)],
    program: &Program,
    mode: &str,
) -> Outcome {
    limited_to(FILE_LIMIT, fence, more, program, mode)
}

fn limited_to(
    limit: u64,
    fence: Option<&Fence>,
    more: &[(&str, &Path)],
    program: &Program,
    mode: &str,
) -> Outcome {
    let dir = main_place().directory();
    let at = dir.path().to_string_lossy();
    let limit = format!("--fsize={limit}");
    let words = ["prlimit", &limit, "--"];
    through(&words, fence, more, &program.path, &[&at, mode])
}

/// Everything that lies where the table does, but for what the fence puts there itself.
fn beside(fence: &Fence) -> Vec<String> {
    let dir = fence.table();
    let dir = std::fs::read_dir(dir.parent().expect("a directory")).expect("our directory");
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
    dir.map(|e| name(e).to_string_lossy().into_owned())
        .filter(|name| name != "counters")
        .collect()
}

#[test]
fn a_table_that_is_larger_than_files_may_be() {
    let program = compile("file_limit", &[]);
    for mode in MODES {
        let bare = file_limited(None, &[], &program, mode);
        let fence = Fence::new();
        let fenced = file_limited(Some(&fence), &[], &program, mode);
        assert_as_bare(&bare, &fenced);
        // Where it is said, and what to do: once.
        let words = ["table_error", "RLIMIT_FSIZE", "pagefence table create"];
        assert_eq!(said(&fenced, &words), 1, "{mode}: {}", fenced.report());
        assert_eq!(beside(&fence), [""; 0], "{mode}: something is left behind");
    }
}

/// A table that is there already is joined.
#[test]
fn an_older_table_under_the_limit() {
    let program = compile("file_limit", &[]);
    for mode in MODES {
        let bare = file_limited(None, &[], &program, mode);
        let fence = Fence::new();
        Table::create(&fence.table_name(), &Geometry::default()).expect("a table");
        let info = [("PAGEFENCE_LOG", Path::new("info"))];
        let fenced = file_limited(Some(&fence), &info, &program, mode);
        assert_as_bare(&bare, &fenced);
        assert_eq!(said(&fenced, &["table_error"]), 0, "{}", fenced.report());
        assert!(said(&fenced, &["mixed"]) > 0, "{}", fenced.report());
    }
}

/// A ring is longer than files may be: none is made, and that is said once.
#[test]
fn a_ring_that_is_larger_than_files_may_be() {
    const LIMIT: u64 = 2 << 20;
    let program = compile("file_limit", &[]);
    for mode in MODES {
        let bare = limited_to(LIMIT, None, &[], &program, mode);
        let fence = Fence::new();
        Table::create(&fence.table_name(), &Geometry::default()).expect("a table");
        let trace = fence.trace();
        let more = [
            ("PAGEFENCE_TRACE", trace.as_path()),
            ("PAGEFENCE_LOG", Path::new("info")),
        ];
        let fenced = limited_to(LIMIT, Some(&fence), &more, &program, mode);
        assert_as_bare(&bare, &fenced);
        assert!(said(&fenced, &["mixed"]) > 0, "{}", fenced.report());
        let words = ["trace_error", "RLIMIT_FSIZE"];
        assert_eq!(said(&fenced, &words), 1, "{}", fenced.report());
        assert_eq!(said(&fenced, &["trace_error"]), 1, "{}", fenced.report());
        assert!(fence.count(Counter::TraceLost) > 0);
        let left = std::fs::read_dir(&trace).expect("the folder").count();
        assert_eq!(left, 0, "{mode}: half a ring is left behind");
    }
}

/// Standard error is a file that is as long as it may be.
#[test]
fn a_log_that_has_grown_to_the_limit() {
    use std::os::unix::process::CommandExt;
    let program = compile("file_limit", &[]);
    let (fence, dir) = (Fence::new(), main_place().directory());
    Table::create(&fence.table_name(), &Geometry::default()).expect("a table");
    let trace = fence.table().with_file_name("trace");
    let log = dir.path().join("log");
    let full = std::fs::File::create(&log).expect("our file");
    full.set_len(FILE_LIMIT).expect("our file");
    let log = std::fs::File::options()
        .append(true)
        .open(&log)
        .expect("our file");
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$1\" handled 2>&9"]);
    command.arg(&program.path).arg(dir.path());
    fence.apply(&mut command);
    command
        .env("PAGEFENCE_TRACE", &trace)
        .env("PAGEFENCE_LOG", "debug");
    // SAFETY: plain system calls between fork and exec.
    unsafe {
        let log = std::os::fd::AsRawFd::as_raw_fd(&log);
        command.pre_exec(move || {
            let limit = libc::rlimit {
                rlim_cur: FILE_LIMIT,
                rlim_max: FILE_LIMIT,
            };
            libc::setrlimit(libc::RLIMIT_FSIZE, &limit);
            libc::dup2(log, 9);
            // If it is that number already, it would close there.
            libc::fcntl(9, libc::F_SETFD, 0);
            Ok(())
        });
    }
    let fenced = run(&mut command, super::LIMIT).expect("sh");
    let bare = file_limited(None, &[], &program, "handled");
    assert_as_bare(&bare, &fenced);
    assert!(!traced(&trace, "mixed").is_empty(), "{}", fenced.report());
}

#[test]
fn the_command_under_the_limit() {
    let fence = Fence::new();
    let pagefence = found(artefacts::command());
    let table = fence.table();
    let table = table.to_string_lossy();
    let small = |arguments: &[&str]| {
        let words = ["prlimit", "--fsize=65536", "--"];
        through(&words, None, &[], &pagefence, arguments)
    };
    let made = small(&["table", "create", "--table", &table]);
    assert_eq!(made.code(), 1, "{}", made.report());
    assert!(made.stderr.contains("RLIMIT_FSIZE"), "{}", made.report());
    let run = small(&["run", "--table", &table, "--", "echo", "ran"]);
    assert_eq!(
        (run.code(), run.stdout.as_str()),
        (125, ""),
        "{}",
        run.report()
    );
    assert!(run.stderr.contains("RLIMIT_FSIZE"), "{}", run.report());
    assert_eq!(beside(&fence), [""; 0]);
    Table::create(&fence.table_name(), &Geometry::default()).expect("a table");
    let run = small(&["run", "--table", &table, "--summary", "--", "echo", "ran"]);
    assert_eq!(
        (run.code(), run.stdout.as_str()),
        (125, ""),
        "{}",
        run.report()
    );
    assert!(run.stderr.contains("RLIMIT_FSIZE"), "{}", run.report());
    let run = small(&["run", "--table", &table, "--", "echo", "ran"]);
    assert_eq!(
        (run.code(), run.stdout.as_str()),
        (0, "ran\n"),
        "{}",
        run.report()
    );
}

/// Limits that leave the library less than it would like: the program goes on as it does bare, and what isn't fenced
/// is said.
#[test]
fn other_limits() {
    let program = compile("both_ways", &[]);
    let fence = Fence::new();
    Table::create(&fence.table_name(), &Geometry::default()).expect("a table");
    let info = [("PAGEFENCE_LOG", Path::new("info"))];
    let tight = ["--as=16777216", "--nofile=4096"];
    let fine = [
        "--cpu=5",
        "--memlock=0",
        "--locks=0",
        "--nproc=1",
        "--sigpending=0",
        "--stack=65536",
        "--data=16777216",
        "--nofile=10",
    ];
    for limit in tight.into_iter().chain(fine) {
        let of = |fence: Option<&Fence>| {
            let dir = main_place().directory();
            let at = dir.path().to_string_lossy();
            through(
                &["prlimit", limit, "--"],
                fence,
                &info,
                &program.path,
                &[&at],
            )
        };
        let (bare, fenced) = (of(None), of(Some(&fence)));
        assert_eq!(bare.stdout, "data right\n", "{limit}: {}", bare.report());
        assert_as_bare(&bare, &fenced);
        let joined = said(&fenced, &["mixed"]) == 1;
        let not_joined = said(&fenced, &["table_error", "RLIMIT_AS", "raise the limit"]) == 1;
        assert_eq!(
            (joined, not_joined),
            (limit != tight[0], limit == tight[0]),
            "{limit}: {}",
            fenced.report()
        );
    }
}

/// The program itself has mapped all that it may: opening more files neither hangs nor goes unsaid. (It hung: what is
/// said of a failed allocation is written through the hook for `write`, which waited for the lock that was held.)
#[test]
fn no_memory_left() {
    let program = compile("no_memory_left", &[]);
    let fence = Fence::new();
    Table::create(&fence.table_name(), &Geometry::default()).expect("a table");
    for megabytes in [32, 48] {
        let address_space = format!("--as={}", megabytes << 20);
        let of = |fence: Option<&Fence>| {
            let dir = tmpfs().directory();
            let at = dir.path().to_string_lossy();
            let words = ["prlimit", "--nofile=10000", &address_space, "--"];
            through(&words, fence, &[], &program.path, &[&at])
        };
        let (bare, fenced) = (of(None), of(Some(&fence)));
        assert_as_bare(&bare, &fenced);
        assert!(bare.stdout.contains("opened 9000"), "{}", bare.report());
        let told =
            said(&fenced, &["uncovered", "no memory is left"]) + said(&fenced, &["table_error"]);
        assert!(told >= 1, "{}", fenced.report());
    }
}

/// Thousands of files are made quickly there.
fn tmpfs() -> Place {
    let all = places();
    let found = all.iter().find(|place| place.name == "tmpfs").cloned();
    found.unwrap_or_else(main_place)
}
