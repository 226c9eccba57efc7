//! Paths that lead to no plain file. A pipe named as trace or policy made every program wait before `main`, and one whose
//! reader had gone killed it by SIGPIPE. The kind: a path from the environment or a policy that is opened, read or written
//! as if it were a regular file. Each variable is tried with each kind of file.

use super::{assert_as_bare, said, through};
use pagefence_tests::artefacts;
use pagefence_tests::fence::{Fence, found};
use pagefence_tests::places::main_place;
use pagefence_tests::programs::compile;
use std::ffi::CString;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// What a path may lead to: a directory of ours with one of each.
fn odd_files(dir: &Path) -> Vec<PathBuf> {
    let name = |name: &str| dir.join(name);
    fifo(&name("fifo"));
    drop(UnixListener::bind(name("socket")).expect("a socket of ours"));
    std::fs::create_dir(name("directory")).expect("a directory of ours");
    std::os::unix::fs::symlink(name("fifo"), name("link")).expect("a link of ours");
    let made = ["fifo", "socket", "directory", "link"].map(name);
    let known = [
        "/dev/stdin",
        "/dev/tty",
        "/dev/zero",
        "/dev/ptmx",
        "/proc/self/fd",
        "/proc/kmsg",
    ];
    made.into_iter().chain(known.map(PathBuf::from)).collect()
}

fn fifo(path: &Path) {
    let name = CString::new(path.to_str().expect("UTF-8")).expect("no zero byte");
    // SAFETY: a terminated name.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
}

/// The program under one variable that names each of these: as bare, and one message that names the file or the variable.
#[test]
fn a_path_that_leads_to_no_plain_file() {
    let program = compile("both_ways", &[]);
    let odd = tempfile::tempdir().expect("a directory");
    let files = odd_files(odd.path());
    for (variable, words) in [
        ("PAGEFENCE_POLICY", &["can't read the policy"][..]),
        ("PAGEFENCE_TRACE", &["trace_error", "PAGEFENCE_TRACE"]),
        ("PAGEFENCE_TABLE", &["table_error", "lock table"]),
        ("PAGEFENCE_SUMMARY", &[]),
    ] {
        for file in &files {
            let of = |fence: Option<&Fence>| {
                let dir = main_place().directory();
                let at = dir.path().to_string_lossy();
                through(&[], fence, &[(variable, file)], &program.path, &[&at])
            };
            let (bare, fenced) = (of(None), of(Some(&Fence::new())));
            assert_as_bare_but_for_errors(&bare, &fenced);
            assert_eq!(bare.stdout, "data right\n", "{}", bare.report());
            let what = format!("{variable}={}", file.display());
            let told = fenced
                .stderr
                .lines()
                .filter(|line| words.iter().all(|word| line.contains(word)));
            let told = told.count();
            // Where a trace is a folder, that is right.
            let right = variable == "PAGEFENCE_TRACE" && file.ends_with("directory");
            assert!(
                told == usize::from(!words.is_empty() && !right),
                "{what}: {told}: {}",
                fenced.report()
            );
        }
    }
}

/// An error in a policy takes several lines.
fn assert_as_bare_but_for_errors(
    bare: &pagefence_tests::run::Outcome,
    fenced: &pagefence_tests::run::Outcome,
) {
    assert!(fenced.hang.is_none(), "{}", fenced.report());
    assert_eq!(
        (bare.code(), &bare.stdout),
        (fenced.code(), &fenced.stdout),
        "{}",
        fenced.report()
    );
}

/// The command refuses the same beforehand.
#[test]
fn the_command_refuses_them() {
    let pagefence = found(artefacts::command());
    let odd = tempfile::tempdir().expect("a directory");
    for file in odd_files(odd.path()) {
        let name = file.to_string_lossy();
        for (option, variable) in [
            ("--policy", "PAGEFENCE_POLICY"),
            ("--trace", "PAGEFENCE_TRACE"),
            ("--table", "PAGEFENCE_TABLE"),
        ] {
            for outcome in [
                through(
                    &[],
                    None,
                    &[],
                    &pagefence,
                    &["run", option, &name, "--", "echo", "ran"],
                ),
                through(
                    &[],
                    None,
                    &[(variable, &file)],
                    &pagefence,
                    &["run", "--", "echo", "ran"],
                ),
            ] {
                let what = format!("{option} {name}: {}", outcome.report());
                if option == "--trace" && file.ends_with("directory") {
                    assert_eq!(outcome.stdout, "ran\n", "{what}");
                    continue;
                }
                assert!(outcome.hang.is_none(), "{what}");
                assert_eq!(
                    (outcome.code(), outcome.stdout.as_str()),
                    (125, ""),
                    "{what}"
                );
                assert!(outcome.stderr.contains(&*name), "{what}");
            }
        }
    }
    let fifo = [("PAGEFENCE_LIBRARY", odd.path().join("fifo"))];
    let fifo = fifo.each_ref().map(|(name, path)| (*name, path.as_path()));
    let outcome = through(&[], None, &fifo, &pagefence, &["run", "--", "echo", "ran"]);
    assert!(
        outcome.hang.is_none() && outcome.code() == 125,
        "{}",
        outcome.report()
    );
}

#[test]
fn a_policy_that_never_ends() {
    let program = compile("both_ways", &[]);
    let fence = Fence::with_policy(&"# \n".repeat(500_000));
    let dir = main_place().directory();
    let at = dir.path().to_string_lossy();
    let fenced = through(&[], Some(&fence), &[], &program.path, &[&at]);
    assert_eq!(fenced.stdout, "data right\n", "{}", fenced.report());
    assert!(
        fenced.stderr.contains("longer than 1 MiB"),
        "{}",
        fenced.report()
    );
}

/// A trace is a folder of rings. A file that stands there, an older trace perhaps, is left alone.
#[test]
fn a_file_where_the_trace_is_to_be() {
    let program = compile("both_ways", &[]);
    let (dir, fence, place) = (
        tempfile::tempdir().expect("a directory"),
        Fence::new(),
        main_place().directory(),
    );
    let path = dir.path().join("events.ndjson");
    std::fs::write(&path, "{}\n").expect("our file");
    let at = place.path().to_string_lossy();
    let more = [("PAGEFENCE_TRACE", path.as_path())];
    let fenced = through(&[], Some(&fence), &more, &program.path, &[&at]);
    assert_as_bare(&through(&[], None, &[], &program.path, &[&at]), &fenced);
    let words = ["trace_error", "a file stands there", "PAGEFENCE_TRACE"];
    assert_eq!(said(&fenced, &words), 1, "{}", fenced.report());
    assert_eq!(said(&fenced, &["trace_error"]), 1, "{}", fenced.report());
    assert_eq!(std::fs::read(&path).expect("our file"), b"{}\n");
}

/// The folder can't be made, or no ring in it: that is said once, the program goes on, and what is lost is counted.
#[test]
fn a_folder_that_cannot_be_written_to() {
    let program = compile("both_ways", &[]);
    let dir = tempfile::tempdir().expect("a directory");
    let missing = dir.path().join("not/there");
    // Whoever may read it may not write there, not even root.
    for (folder, why) in [
        (missing.as_path(), "can't be made"),
        (Path::new("/proc/self/fd"), ""),
    ] {
        let (fence, place) = (Fence::new(), main_place().directory());
        let at = place.path().to_string_lossy();
        let more = [("PAGEFENCE_TRACE", folder)];
        let fenced = through(&[], Some(&fence), &more, &program.path, &[&at]);
        assert_as_bare(&through(&[], None, &[], &program.path, &[&at]), &fenced);
        assert_eq!(
            said(&fenced, &["trace_error", why]),
            1,
            "{}",
            fenced.report()
        );
        let lost = fence.count(summary::Counter::TraceLost);
        assert_eq!(lost > 0, why.is_empty(), "{lost}: {}", fenced.report());
    }
}
