//! Traces: a ring for each process, whatever becomes of it, and of the disk; and what `pagefence report` makes of them.

use pagefence_tests::artefacts;
use pagefence_tests::fence::{Fence, found, split_own_lines, told_in};
use pagefence_tests::places::{Place, main_place, places};
use pagefence_tests::programs::{Program, compile};
use pagefence_tests::run::{Outcome, run, run_until};
use pagefence_tests::{is_root, skip};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use summary::Counter;

const LIMIT: Duration = Duration::from_secs(60);
/// How many records a ring has room for.
const ROOM: usize = 30_000;

fn traced() -> &'static Program {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    PROGRAM.get_or_init(|| compile("traced", &[]))
}

/// Fenced and traced, until `enough`.
fn until(fence: &Fence, what: &str, enough: impl Fn(&str) -> bool) -> Outcome {
    let dir = main_place().directory();
    let mut command = traced().on(dir.path());
    fence.apply_traced(command.arg(what));
    run_until(&mut command, LIMIT, enough).expect("a program of ours")
}

fn of(fence: &Fence, what: &str) -> Outcome {
    let outcome = until(fence, what, |_| false);
    assert!(outcome.hang.is_none(), "{}", outcome.report());
    assert!(
        outcome.stdout.ends_with("data right\n"),
        "{}",
        outcome.report()
    );
    outcome
}

fn rings(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder");
    entries
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

/// The processes of the events of that kind, in order.
fn who(events: &[Value], kind: &str) -> Vec<u64> {
    let of_kind = events.iter().filter(|event| event["event"] == kind);
    of_kind
        .filter_map(|event| event["process"].as_u64())
        .collect()
}

fn report(folder: &Path, options: &[&str]) -> Outcome {
    let mut command = Command::new(found(artefacts::command()));
    command.arg("report").args(options).arg(folder);
    run(&mut command, LIMIT).expect("the command")
}

#[test]
fn a_killed_process_leaves_what_it_told() {
    for _ in 0..5 {
        let fence = Fence::new();
        let outcome = until(&fence, "forever", |out| out.contains("ready"));
        assert_eq!(outcome.code(), 128 + libc::SIGKILL, "{}", outcome.report());
        let mut folder = report::Folder::open(&fence.trace()).expect("the folder");
        let events = folder.read(true);
        assert!(folder.take_problems().is_empty() && folder.rings() == 1);
        let fell_back = events
            .iter()
            .filter(|e| e.told.record.kind.word() == "fallback");
        assert!(fell_back.count() > 0);
        let lost = folder.lost();
        // Only what it was at when it was killed.
        assert!(lost.torn <= 1 && lost.dropped == 0, "{lost:?}");
        assert!(events.iter().all(|e| e.told.path.ends_with(b"/data")));
    }
}

#[test]
fn each_process_has_a_ring_of_its_own() {
    let fence = Fence::new();
    let outcome = of(&fence, "forks");
    let fell_back = who(&fence.events(), "fallback");
    let mut each = fell_back.clone();
    each.dedup();
    let times = each
        .iter()
        .map(|who| fell_back.iter().filter(|p| *p == who).count());
    assert_eq!(times.collect::<Vec<_>>(), [1, 2, 3], "{}", outcome.report());
    assert_eq!(rings(&fence.trace()).len(), 3);
    // The same process, as two programs.
    let fence = Fence::new();
    of(&fence, "becomes");
    let fell_back = who(&fence.events(), "fallback");
    assert_eq!((fell_back.len(), rings(&fence.trace()).len()), (3, 2));
    assert!(fell_back.iter().all(|p| *p == fell_back[0]));
}

/// It writes to its parent's; and what a vfork child tells is told in ours, and doesn't disturb it.
#[test]
fn a_child_that_cannot_make_a_ring() {
    let fence = Fence::new();
    of(&fence, "lends");
    assert_eq!(who(&fence.events(), "fallback").len(), 3);
    if !is_root() {
        return skip("chroot needs root");
    }
    let fence = Fence::new();
    let outcome = of(&fence, "rooted");
    let fell_back = who(&fence.events(), "fallback");
    assert_eq!(rings(&fence.trace()).len(), 1);
    assert!(fell_back.len() == 3 && fell_back[0] != fell_back[1] && fell_back[1] == fell_back[2]);
    let (_, own) = split_own_lines(&outcome.stderr);
    assert!(!own.iter().any(|l| l.contains("trace_error")), "{own:?}");
}

/// A ring is made while another thread puts its file at the number that this takes: the ring was written into that file.
/// Kind: where a number of ours leads is settled before anything is done by it.
#[test]
fn a_number_that_is_taken_while_a_ring_is_made() {
    let (program, fence) = (compile("ring_number", &["-pthread"]), Fence::new());
    let dir = main_place().directory();
    let mut command = program.on(dir.path());
    fence.apply_traced(command.arg(fence.trace()));
    let outcome = run(&mut command, LIMIT).expect("a program of ours");
    let right = "rings 400, disturbed 0, file right\n";
    assert_eq!(outcome.stdout, right, "{}", outcome.report());
}

#[test]
fn a_ring_that_is_full() {
    let fence = Fence::new();
    of(&fence, &(ROOM + 1000).to_string());
    let events = fence.events();
    assert_eq!(events.len(), ROOM);
    assert!(events.iter().all(|event| event["event"] == "fallback"));
    let outcome = report(&fence.trace(), &["--ndjson"]);
    assert_eq!((outcome.code(), outcome.stdout.lines().count()), (0, ROOM));
    // What came before the first fall back is among them.
    assert!(
        outcome.stderr.contains("overwritten by later ones"),
        "{}",
        outcome.stderr
    );
    let count = outcome
        .stderr
        .split(' ')
        .find_map(|word| word.parse::<usize>().ok());
    assert!(
        (1001..1010).contains(&count.expect("a number")),
        "{}",
        outcome.stderr
    );
}

#[test]
fn the_account_of_a_run() {
    let fence = Fence::new();
    of(&fence, "5");
    let page = report(&fence.trace(), &[]);
    assert_eq!(page.code(), 0, "{}", page.report());
    let verdict = page.stdout.lines().next().unwrap_or_default();
    let right = verdict.starts_with("traced uses /")
        && verdict.ends_with(
            "/data directly and through the page cache: direct requests went through the page cache 6 times",
        );
    assert!(right, "{}", page.report());
    let json = report(&fence.trace(), &["--json"]);
    let said: Value = serde_json::from_str(&json.stdout).expect("JSON");
    let file = &said["files"][0];
    assert_eq!(
        (&said["verdict"], &file["mixed"]),
        (&Value::from(verdict), &Value::from(true))
    );
    assert_eq!(file["fallbacks"][0]["what"], "mapped");
    assert_eq!(file["programs"][0]["modes"][0], "direct_read");
}

/// The program's own I/O goes on, elsewhere; what is lost is counted, and said once.
#[test]
fn a_full_disk() {
    if !is_root() {
        return skip("mounting needs root");
    }
    let fence = Fence::new();
    fs::create_dir(fence.trace()).expect("a folder");
    let mut mount = Command::new("mount");
    mount
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(fence.trace());
    assert!(mount.status().expect("mount").success());
    let outcome = of(&fence, "20");
    let left = rings(&fence.trace()).len();
    let mut unmount = Command::new("umount");
    assert!(
        unmount
            .arg(fence.trace())
            .status()
            .expect("umount")
            .success()
    );
    let (_, own) = split_own_lines(&outcome.stderr);
    let said = |word: &str| own.iter().filter(|line| line.contains(word)).count();
    assert_eq!(
        (said("trace_error"), said("the disk is full")),
        (1, 1),
        "{own:?}"
    );
    assert!(fence.count(Counter::TraceLost) >= 21);
    assert_eq!(left, 0, "half a ring is left behind");
}

/// Where the space that was allocated may be gone when the ring is written to, and the program be killed by that, there is none.
#[test]
fn where_no_ring_can_lie() {
    let is_btrfs = |place: &Place| place.name == "btrfs";
    let Some(place) = places().into_iter().find(is_btrfs) else {
        return skip("no btrfs here");
    };
    let (fence, dir, data) = (Fence::new(), place.directory(), main_place().directory());
    let folder = dir.path().join("trace");
    let mut command = traced().on(data.path());
    fence.apply(&mut command);
    command.arg("5").env("PAGEFENCE_TRACE", &folder);
    let outcome = run(&mut command, LIMIT).expect("a program of ours");
    assert_eq!(outcome.code(), 0, "{}", outcome.report());
    let (_, own) = split_own_lines(&outcome.stderr);
    let said = own
        .iter()
        .filter(|line| line.contains("can't lie on btrfs"));
    assert_eq!((said.count(), rings(&folder).len()), (1, 0), "{own:?}");
}

/// All that can be read is, and what can't is said, each with a reason.
#[test]
fn what_is_no_trace() {
    let fence = Fence::new();
    of(&fence, "5");
    let folder = fence.trace();
    let good = fence.events().len();
    let ring = rings(&folder).pop().expect("a ring");
    let bytes = fs::read(&ring).expect("the ring");
    let put = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).expect("our file");
    let mut other = bytes.clone();
    other[8] = 9;
    put("version.ring", &other);
    put(
        "random.ring",
        &bytes.iter().map(|b| b ^ 0x5a).collect::<Vec<_>>(),
    );
    put("cut.ring", &bytes[..bytes.len() - 100]);
    put("start.ring", &bytes[..100]);
    let fifo = Command::new("mkfifo")
        .arg(folder.join("fifo.ring"))
        .status();
    assert!(fifo.expect("mkfifo").success());
    let outcome = report(&folder, &["--ndjson"]);
    assert!(outcome.hang.is_none(), "{}", outcome.report());
    // The one that is cut has all that it told: its end was never reached.
    assert_eq!(
        (outcome.code(), outcome.stdout.lines().count()),
        (1, 2 * good)
    );
    for (name, why) in [
        ("version", "version 9"),
        ("random", "not a ring"),
        ("start", "too short"),
        ("fifo", "not a regular file"),
    ] {
        let said = |line: &&str| line.contains(&format!("{name}.ring")) && line.contains(why);
        let said = outcome.stderr.lines().filter(said).count();
        assert_eq!(said, 1, "{name}: {}", outcome.stderr);
    }
    for (path, why) in [
        (&ring, "a trace is a folder"),
        (&folder.join("gone"), "No such"),
    ] {
        let outcome = report(path, &[]);
        assert_eq!((outcome.code(), outcome.stdout.as_str()), (2, ""));
        assert!(outcome.stderr.contains(why), "{}", outcome.stderr);
    }
    let empty = tempfile::tempdir().expect("a folder");
    let outcome = report(empty.path(), &["--ndjson"]);
    assert_eq!((outcome.code(), outcome.stdout.as_str()), (0, ""));
    assert!(
        outcome.stderr.contains("no ring is in"),
        "{}",
        outcome.stderr
    );
}

/// Whatever stands in a ring, it is read to its end, and every line is JSON.
#[test]
fn a_ring_that_means_harm() {
    let fence = Fence::new();
    of(&fence, "50");
    let ring = rings(&fence.trace()).pop().expect("a ring");
    let file = fs::File::options()
        .write(true)
        .open(&ring)
        .expect("the ring");
    let original = fs::read(&ring).expect("the ring");
    let mut random = 1u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let records = original.len() - ROOM * 128;
    for round in 0..300 {
        // Among what is in use: the head's numbers, the texts and places, the first records.
        let within = [256, 64 * 1024, records, records + 60 * 128][round % 4];
        let at = next() as usize % within / 8 * 8;
        let value = [next(), next() % 100, u64::MAX, 1 << 32][next() as usize % 4];
        file.write_all_at(&value.to_ne_bytes(), at as u64)
            .expect("our file");
        // Some of it is no ring any more.
        let mut folder = report::Folder::open(&fence.trace()).expect("the folder");
        for event in folder.read(true) {
            let line = event.json();
            let parsed: Result<Value, _> = serde_json::from_str(&line);
            assert!(parsed.is_ok(), "{line}");
        }
        if round % 16 == 15 {
            file.write_all_at(&original, 0).expect("our file");
        }
    }
    file.write_all_at(&original, 0).expect("our file");
    assert!(told_in(&fence.trace()).len() > 50);
}

/// Events come while the program runs.
#[test]
fn events_are_followed() {
    let fence = Fence::new();
    fs::create_dir(fence.trace()).expect("a folder");
    let mut command = Command::new(found(artefacts::command()));
    command
        .args(["report", "--ndjson", "--follow"])
        .arg(fence.trace());
    let mut follower = command.stdout(Stdio::piped()).spawn().expect("the command");
    let out = follower.stdout.take().expect("a pipe");
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let deadline = Instant::now() + LIMIT;
    let fell_back = |events: usize| {
        let mut seen = 0;
        while seen < events {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = lines.recv_timeout(left).expect("more events");
            let event: Value = serde_json::from_str(&line).expect("JSON");
            seen += usize::from(event["event"] == "fallback");
        }
    };
    // One that still runs when its events are seen, and one after it.
    std::thread::scope(|scope| {
        let run = scope.spawn(|| until(&fence, "forever", |_| false));
        fell_back(100);
        assert!(!run.is_finished());
        for ring in rings(&fence.trace()) {
            let pid: i32 = ring
                .file_name()
                .and_then(|n| n.to_str()?.split('.').next()?.parse().ok())
                .expect("a number");
            // SAFETY: kills the program that this test started.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        let outcome = run.join().expect("no panic");
        assert_eq!(outcome.code(), 128 + libc::SIGKILL, "{}", outcome.report());
    });
    of(&fence, "7");
    fell_back(7);
    follower.kill().expect("the command");
    follower.wait().expect("the command");
}
