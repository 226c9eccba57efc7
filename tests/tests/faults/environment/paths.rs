//! Paths that lead to no plain file. A pipe named as trace or policy made every program wait before `main`, and one whose
//! reader had gone killed it by SIGPIPE. The kind: a path from the environment or a policy that is opened, read or written
//! as if it were a regular file. Each variable is tried with each kind of file.

use super::{assert_as_bare, said, through, traced};
use pagefence_tests::artefacts;
use pagefence_tests::fence::{Fence, found};
use pagefence_tests::places::main_place;
use pagefence_tests::programs::compile;
use std::ffi::CString;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
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
            assert!(
                told == usize::from(!words.is_empty()),
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

/// A pipe that somebody reads is a good trace. It is never waited for: what a slow reader doesn't take is dropped, and a
/// reader that goes away is no SIGPIPE.
#[test]
fn a_pipe_as_a_trace() {
    let program = compile("file_limit", &[]);
    for (reader, full) in [(true, false), (true, true), (false, false)] {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("fifo");
        fifo(&path);
        let nonblocking = |options: &mut std::fs::OpenOptions| {
            options
                .custom_flags(libc::O_NONBLOCK)
                .open(&path)
                .expect("our pipe")
        };
        let mut read = nonblocking(std::fs::File::options().read(true));
        let write = nonblocking(std::fs::File::options().write(true));
        // SAFETY: makes our own pipe a page long.
        assert!(unsafe { libc::fcntl(write.as_raw_fd(), libc::F_SETPIPE_SZ, 4096) } >= 4096);
        if full {
            std::io::Write::write_all(&mut &write, &[b'\n'; 4096]).expect("room for a page");
        }
        let fence = Fence::new();
        let place = main_place().directory();
        let at = place.path().to_string_lossy();
        let of = |fence: Option<&Fence>| {
            let more = [("PAGEFENCE_TRACE", path.as_path())];
            through(&[], fence, &more, &program.path, &[&at, "ignored"])
        };
        let bare = of(None);
        if !reader {
            // It goes when the program has opened the pipe: the first event finds nobody.
            drop(read);
            drop(write);
            let fenced = of(Some(&fence));
            assert_as_bare(&bare, &fenced);
            assert_eq!(
                // A child that another test is starting may have the pipe open until it execs: then somebody reads.
                said(&fenced, &["trace_error"]),
                1,
                "{}",
                fenced.report()
            );
            continue;
        }
        let fenced = of(Some(&fence));
        drop(write);
        assert_as_bare(&bare, &fenced);
        let mut text = Vec::new();
        // To its end, or to where there is no more: a process that is just being forked may have it open too.
        let _ = read.read_to_end(&mut text);
        let text = String::from_utf8(text).expect("text");
        let seen = dir.path().join("seen");
        std::fs::write(&seen, text.trim_start()).expect("our file");
        assert_eq!(
            traced(&seen, "mixed").len(),
            usize::from(!full),
            "{}",
            fenced.report()
        );
        assert_eq!(
            said(&fenced, &["trace_error"]),
            usize::from(full),
            "{}",
            fenced.report()
        );
    }
}

/// Whoever reads the trace goes away in the middle.
#[test]
fn a_reader_that_goes_away() {
    let program = compile("reader_gone", &[]);
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("fifo");
    fifo(&path);
    let read = std::fs::File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&path)
        .expect("our pipe");
    let (fence, place) = (Fence::new(), main_place().directory());
    let at = place.path().to_string_lossy();
    std::thread::scope(|scope| {
        let go = place.path().join("go");
        scope.spawn(move || {
            // The program waits for it before it does what is told.
            std::thread::sleep(std::time::Duration::from_millis(300));
            drop(read);
            std::fs::write(go, "").expect("our file");
        });
        let more = [("PAGEFENCE_TRACE", path.as_path())];
        let fenced = through(&[], Some(&fence), &more, &program.path, &[&at]);
        assert_eq!(
            (fenced.code(), fenced.stdout.as_str()),
            (0, "data right\n"),
            "{}",
            fenced.report()
        );
        assert_eq!(
            said(&fenced, &["trace_error", "gone"]),
            1,
            "{}",
            fenced.report()
        );
    });
}
