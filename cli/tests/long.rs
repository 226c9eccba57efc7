//! `pagefence report` of what is long, of what means harm, and when it is ended in the middle.

mod common;
mod traces;

use std::io::Read;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use common::Fixture;
use serde_json::Value;
use trace::{Alone, Kind, Record, Ring, Shape};
use traces::{ring, tell, traced};

/// What it says on standard output and error, how it ends, and the most memory that it had, in MiB.
#[allow(
    clippy::zombie_processes,
    reason = "it is waited for by wait4, which says what it took"
)]
fn peak(command: &mut Command) -> (String, String, ExitStatus, u64) {
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut error = child.stderr.take().unwrap();
    let error = std::thread::spawn(move || {
        let mut text = String::new();
        error.read_to_string(&mut text).map(|_| text).unwrap()
    });
    let mut out = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut out)
        .unwrap();
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: both pointers are to values of the right type; the child is ours, and nobody else waits for it.
    let waited = unsafe { libc::wait4(child.id() as i32, &mut status, 0, usage.as_mut_ptr()) };
    assert_eq!(waited, child.id() as i32);
    // SAFETY: filled in by the kernel, and valid when zeroed.
    let usage = unsafe { usage.assume_init() };
    let peak = usage.ru_maxrss as u64 / 1024;
    (
        out,
        error.join().unwrap(),
        ExitStatus::from_raw(status),
        peak,
    )
}

/// A ring that is full, by so many names.
fn many(folder: &Path, names: usize) {
    let full = ring(folder, 10, "backup");
    for n in 0..30_000 {
        tell(full, (10, 20), Kind::Collision, n % 5000, "/srv/db");
    }
    let first = std::fs::read_dir(folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    for n in 1..names {
        std::fs::hard_link(&first, folder.join(format!("{n}.ring"))).unwrap();
    }
}

/// 100 rings: 400 MiB of a trace, 3,000,000 events, which would take a gigabyte. More by PAGEFENCE_TEST_RINGS.
#[test]
fn a_long_trace_takes_no_more_memory_than_a_short_one() {
    let rings = std::env::var("PAGEFENCE_TEST_RINGS").map_or(100, |rings| rings.parse().unwrap());
    let fixture = traced(|folder| many(folder, rings));
    let begun = std::time::Instant::now();
    let mut command = fixture.pagefence();
    let (out, error, status, peak) = peak(command.args(["report", "--json", "trace"]));
    let said: Value = serde_json::from_str(&out).unwrap();
    eprintln!(
        "{rings} rings, {} MiB: {:.1?}, at most {peak} MiB of memory",
        4 * rings,
        begun.elapsed()
    );
    assert_eq!(said["events"], 30_000 * rings);
    assert_eq!(said["files"][0]["pairs"][0]["count"], 30_000 * rings);
    // No progress where standard error is no terminal.
    assert_eq!((error.as_str(), status.code()), ("", Some(0)));
    assert!(peak < 80, "{peak} MiB");
}

/// On a terminal, and without colours.
#[test]
fn progress_is_shown_on_a_terminal() {
    let fixture = traced(|folder| many(folder, 60));
    let command = format!("{} report trace >said", env!("CARGO_BIN_EXE_pagefence"));
    let mut script = fixture.bare("/usr/bin/script");
    let output = script
        .args(["-qec", &command, "/dev/null"])
        .env("TERM", "xterm")
        .output()
        .unwrap();
    let shown = common::stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{shown}");
    assert!(shown.contains("of 60 rings"), "{shown:?}");
    assert!(!shown.contains("\u{1b}[3"), "colours: {shown:?}");
    let said = std::fs::read_to_string(fixture.path("said")).unwrap();
    assert!(
        said.contains("1800000 events in 60 rings") && !said.contains('\u{1b}'),
        "{said}"
    );
}

const SHAPE: Shape = Shape {
    files: 16,
    index: 64,
    text_words: 1 << 18,
    records: 500_000,
};

/// Each of its records is of another file and another process, and has five texts of 4 KiB, all of which lie over each other.
fn hostile(folder: &Path) {
    let name = std::ffi::CString::new(folder.to_str().unwrap()).unwrap();
    let ring = Ring::make(&name, (1, b"x"), SHAPE, &Alone).unwrap();
    let path = std::fs::read_dir(folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let texts = 4096u64.to_le_bytes().repeat(SHAPE.text_words);
    // Behind the head, the files and the index.
    file.write_all_at(&texts, 8 * (512 + 16 * 4 + 64)).unwrap();
    for n in 0..SHAPE.records as u64 {
        let kind = [Kind::Uncovered, Kind::Fallback, Kind::Collision][n as usize % 3];
        let record = Record {
            file: Some((n % 1000, n)),
            range: Some((n << 22, n << 22)),
            ..Record::of(kind, n, n as u32, 1)
        };
        let mut words = record.words();
        let text = |k: u64| (5 * n + k) % (SHAPE.text_words as u64 - 600) + 1;
        words[3] |= text(0) << 32;
        words[8] = text(1) | text(2) << 32;
        words[9] = text(3) | text(4) << 32;
        ring.write_words(&mut words);
    }
}

#[test]
fn a_ring_that_means_harm_takes_so_much_memory_and_no_more() {
    let fixture = traced(hostile);
    let mut command = fixture.pagefence();
    let (out, error, status, peak) = peak(command.args(["report", "--json", "trace"]));
    eprintln!(
        "a hostile ring of {} MiB: at most {peak} MiB of memory; {error}",
        SHAPE.bytes() >> 20
    );
    assert_eq!(status.code(), Some(0), "{error}");
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(said["events"], SHAPE.records);
    assert!(
        said["missing"]["texts"].as_u64().unwrap() > 1000,
        "{}",
        said["missing"]
    );
    assert!(
        said["missing"]["left_out"].as_u64().unwrap() > 1000,
        "{}",
        said["missing"]
    );
    for words in [
        "names and reasons are missing",
        "events are not told in full",
    ] {
        assert!(error.contains(words), "{words}: {error}");
    }
    assert!(peak < 400, "{peak} MiB");
}

/// SIGXFSZ, in the middle of the page.
#[test]
fn who_is_killed_leaves_nothing_beside_the_file() {
    let fixture = traced(|folder| many(folder, 1));
    std::fs::create_dir(fixture.path("out")).unwrap();
    for form in ["--html", "--perfetto"] {
        let mut shell = fixture.bare("/bin/bash");
        let program = env!("CARGO_BIN_EXE_pagefence");
        let script = format!("ulimit -f 100 -c 0; exec {program} report trace {form} out/page");
        let output = shell.args(["-c", &script]).output().unwrap();
        assert_ne!(output.status.code(), Some(0));
        assert_eq!(names(&fixture), [""; 0], "{form}");
    }
    fixture.write("out/page", b"what was there");
    let output = fixture
        .pagefence()
        .args(["report", "trace", "--html", "out/page"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", common::stderr(&output));
    assert_eq!(names(&fixture), ["page"]);
    assert!(std::fs::metadata(fixture.path("out/page")).unwrap().len() > 1 << 20);
}

fn names(fixture: &Fixture) -> Vec<String> {
    let all = std::fs::read_dir(fixture.path("out")).unwrap();
    all.map(|one| one.unwrap().file_name().into_string().unwrap())
        .collect()
}
