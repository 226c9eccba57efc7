//! Races between programs: supervised ones, static in C and in Go, and fenced ones, dynamic, each reading or writing the same
//! records in its own way, with the oracle of `race.c`. Bare they see halves and what is old; with both fences around them
//! nobody does.

use crate::supervised;
use pagefence_tests::fence::Fence;
use pagefence_tests::places::{Place, places};
use pagefence_tests::programs::{Program, compile, go, go_source};
use pagefence_tests::run::{Outcome, run};
use pagefence_tests::{long, skip};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use summary::Counter;

/// Whose side it is.
#[derive(Clone, Copy, PartialEq)]
enum By {
    Fenced,
    Static,
    Go,
}
use By::*;

type Side = (By, &'static str);

/// Who reads and writes against whom, in words of `race` (T: for so long): every mode of a supervised program against every mode of a fenced one.
const SCENES: [&[Side]; 3] = [
    &[
        (Go, "write 0 direct T"),
        (Fenced, "write 1 buffered T"),
        (Static, "read buffered T 2"),
        (Static, "read direct T"),
        (Fenced, "read direct T"),
        (Fenced, "read mapped T"),
    ],
    &[
        (Fenced, "write 0 direct T"),
        (Static, "write 1 buffered T"),
        (Static, "read buffered T 2"),
        (Go, "read buffered T"),
        (Go, "read direct T"),
        (Fenced, "read buffered T"),
    ],
    &[
        (Static, "write 0 direct T"),
        (Go, "write 1 buffered T"),
        (Static, "read mapped T"),
        (Fenced, "read buffered T 2"),
        (Fenced, "read direct T"),
        (Fenced, "read mapped T"),
    ],
];

struct Programs {
    dynamic: Program,
    statically: Program,
    go: Program,
}

impl Programs {
    fn new() -> Programs {
        Programs {
            dynamic: compile("race", &[]),
            statically: compile("race", &["-static"]),
            go: go(&go_source("race"), &[], false),
        }
    }

    fn of(&self, by: By) -> &Path {
        match by {
            Fenced => &self.dynamic.path,
            Static => &self.statically.path,
            Go => &self.go.path,
        }
    }

    /// Without a fence all run bare.
    fn start(&self, (by, words): Side, fence: Option<&Fence>, dir: &Path, seconds: f64) -> Command {
        let path = self.of(by);
        let mut command = match (fence, by) {
            (None, _) => Command::new(path),
            (Some(fence), Fenced) => {
                let mut command = Command::new(path);
                fence.apply_traced(&mut command);
                command
            }
            (Some(fence), _) => supervised(fence, path),
        };
        let words = words.replace('T', &seconds.to_string());
        command.arg(dir).args(words.split(' '));
        command
    }
}

/// The records and the board, all zero.
fn lay_out(dir: &Path) {
    for (name, len) in [("records", 1 << 20), ("board", 4096)] {
        std::fs::write(dir.join(name), vec![0; len]).expect("a file of ours");
    }
}

fn number(outcome: &Outcome, name: &str) -> u64 {
    assert_eq!(outcome.code(), 0, "{}", outcome.report());
    let last = outcome.stdout.lines().last().unwrap_or_default();
    let mut words = last.split(' ');
    let word = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let number = word.and_then(|word| word.parse().ok());
    number.unwrap_or_else(|| panic!("its line: {}", outcome.report()))
}

/// All sides at once: how many anomalies they saw, and what they say of them.
fn race(
    programs: &Programs,
    scene: &[Side],
    place: &Place,
    fence: Option<&Fence>,
) -> (u64, String) {
    let seconds = if long() && fence.is_some() { 60.0 } else { 1.5 };
    let dir = place.directory();
    lay_out(dir.path());
    let ended: Vec<Outcome> = std::thread::scope(|scope| {
        let all: Vec<_> = scene
            .iter()
            .map(|side| {
                let mut command = programs.start(*side, fence, dir.path(), seconds);
                let limit = Duration::from_secs_f64(seconds + 60.0);
                scope.spawn(move || run(&mut command, limit).expect("a program of ours"))
            })
            .collect();
        let ends = all.into_iter().map(|one| one.join().expect("a thread"));
        ends.collect()
    });
    let mut said = String::new();
    let mut anomalies = 0;
    for ((_, words), outcome) in scene.iter().zip(&ended) {
        anomalies += number(outcome, "anomalies");
        assert!(
            number(outcome, "calls") > 0,
            "{words}: {}",
            outcome.report()
        );
        said += &format!("{words}: {}", outcome.report());
    }
    (anomalies, said)
}

fn those(names: &[&str]) -> Vec<Place> {
    let mut all = places();
    all.retain(|place| names.contains(&place.name.as_str()));
    if all.len() < names.len() {
        skip("there are no filesystems to race on (scripts/filesystems)");
    }
    all
}

/// Bare something is lost on ext4 or xfs; with both fences nothing is, anywhere.
#[test]
fn supervised_programs_race_fenced_ones() {
    let programs = Programs::new();
    for (at, scene) in SCENES.iter().enumerate() {
        let lossy = those(&["ext4", "xfs"]);
        let mut throws = lossy.iter().cycle().take(20);
        let is_lost = throws.any(|place| race(&programs, scene, place, None).0 > 0);
        assert!(
            lossy.is_empty() || is_lost,
            "scene {at}: nothing was lost bare in 20 throws"
        );
        for place in those(&["ext4", "xfs", "btrfs-nocow", "tmpfs"]) {
            let fence = Fence::new();
            let (anomalies, said) = race(&programs, scene, &place, Some(&fence));
            assert_eq!(anomalies, 0, "scene {at} on {}:\n{said}", place.name);
            assert_eq!(fence.damage(), None);
            // In a minute a ring has been written over more than once.
            let is_mixed = long() || fence.has_told("mixed");
            assert!(is_mixed, "scene {at} on {}", place.name);
        }
    }
}

/// One that is killed at any moment takes nothing with it: neither what it held nor its neighbours' supervisors.
#[test]
fn killed_ones_leave_the_others_alone() {
    let programs = Programs::new();
    let steady: [Side; 3] = [
        (Fenced, "write 0 direct T"),
        (Static, "read buffered T"),
        (Fenced, "read direct T"),
    ];
    let killed: [Side; 3] = [
        (Static, "read direct T 2"),
        (Go, "read buffered T"),
        (Static, "write 1 buffered T 2"),
    ];
    for place in those(&["ext4", "xfs"]) {
        let (fence, dir) = (Fence::new(), place.directory());
        lay_out(dir.path());
        let seconds = if long() { 30.0 } else { 3.0 };
        let until = Instant::now() + Duration::from_secs_f64(seconds);
        let (fence, dir) = (&fence, dir.path());
        std::thread::scope(|scope| {
            for (at, side) in killed.iter().enumerate() {
                let programs = &programs;
                scope.spawn(move || {
                    for n in (1_u64..).take_while(|_| Instant::now() < until) {
                        // Of writer 1's records nobody says anything who isn't killed.
                        let mut command = programs.start(*side, Some(fence), dir, 60.0);
                        command.stdout(Stdio::null()).process_group(0);
                        let mut child = command.spawn().expect("a program");
                        std::thread::sleep(Duration::from_micros(
                            (n * 7919 + at as u64 * 131) * 997 % 150_000,
                        ));
                        // SAFETY: a plain call; the group is the child's, which isn't reaped yet.
                        unsafe { libc::kill(-(child.id() as i32), libc::SIGKILL) };
                        child.wait().expect("a child of ours");
                    }
                });
            }
            let all = steady.map(|side| {
                let mut command = programs.start(side, Some(fence), dir, seconds);
                let limit = Duration::from_secs_f64(seconds + 30.0);
                (
                    side,
                    scope.spawn(move || run(&mut command, limit).expect("a program of ours")),
                )
            });
            for (side, one) in all {
                let outcome = one.join().expect("a thread");
                assert!(
                    number(&outcome, "calls") > 20,
                    "{}: {}",
                    side.1,
                    outcome.report()
                );
                let of_writer_1 =
                    |line: &str| line.contains("record 2") || line.contains("record 3");
                let anomalies = outcome
                    .stdout
                    .lines()
                    .filter(|line| line.contains(" holds "));
                let others: Vec<_> = anomalies.filter(|line| !of_writer_1(line)).collect();
                assert!(
                    others.is_empty(),
                    "{} on {}: {others:?}",
                    side.1,
                    place.name
                );
            }
        });
        assert_eq!(fence.damage(), None);
    }
}

/// A shell is fenced by the library, and the static program that it starts by a supervisor: the summary has what both did.
#[test]
fn what_a_fenced_shell_starts_is_in_the_summary() {
    let program = compile("both_ways", &["-static"]);
    for place in those(&["ext4"]) {
        let (fence, dir) = (Fence::new(), place.directory());
        let script = format!("{} {}", program.path.display(), dir.path().display());
        let mut command = supervised(&fence, Path::new("bash"));
        command.args(["-c", &script]);
        let outcome = run(&mut command, Duration::from_secs(30)).expect("a shell");
        assert_eq!(outcome.stdout, "data right\n", "{}", outcome.report());
        assert!(fence.has_told("mixed"), "{}", outcome.report());
        assert!(fence.count(Counter::DirectWritesDirect) > 0);
        assert!(fence.uses().iter().any(|one| one.path.ends_with(b"/data")));
    }
}

const RECORD: usize = 256 << 10;
/// In the board: so many bytes for each record, and in them the numbers of the write that was begun last and of that done last,
/// and whether its writer goes past the cache.
const PLACE: u64 = 24;

/// busybox copies records out of a file that a fenced program writes past the cache, and into it, beside fenced readers.
#[test]
fn busybox_reads_and_writes_records() {
    use std::os::unix::fs::FileExt;
    let (programs, busybox) = (Programs::new(), Path::new("/bin/busybox"));
    if !busybox.exists() {
        return skip("there is no static busybox (apt: busybox-static)");
    }
    let steady: [Side; 3] = [
        (Fenced, "write 0 direct T"),
        (Fenced, "read buffered T"),
        (Fenced, "read direct T"),
    ];
    for place in those(&["ext4", "xfs"]) {
        let (fence, dir) = (&Fence::new(), place.directory());
        let (dir, seconds) = (dir.path(), 3.0);
        lay_out(dir);
        let mut both = std::fs::File::options();
        let board = both.read(true).write(true).open(dir.join("board"));
        let board = board.expect("it is laid out");
        let dd = |words: &str| {
            let mut command = supervised(fence, busybox);
            command.arg("dd").args(words.split(' ')).current_dir(dir);
            let outcome = run(&mut command, Duration::from_secs(30)).expect("busybox");
            assert_eq!(outcome.code(), 0, "{words}: {}", outcome.report());
        };
        let done = |record: u64| {
            let mut word = [0; 8];
            board
                .read_exact_at(&mut word, record * PLACE + 8)
                .expect("a page");
            u64::from_ne_bytes(word)
        };
        board
            .write_all_at(&1_u32.to_ne_bytes(), 2 * PLACE + 16)
            .expect("a page");
        std::thread::scope(|scope| {
            let all = steady.map(|side| {
                let mut command = programs.start(side, Some(fence), dir, seconds);
                scope.spawn(move || run(&mut command, Duration::from_secs(60)).expect("a program"))
            });
            let until = Instant::now() + Duration::from_secs_f64(seconds);
            for number in (1_u64..).take_while(|_| Instant::now() < until) {
                let (record, flag) = (number % 2, ["", " iflag=direct"][number as usize / 2 % 2]);
                let before = done(record);
                dd(&format!(
                    "if=records of=copy bs={RECORD} skip={record} count=1{flag}"
                ));
                let copy = std::fs::read(dir.join("copy")).expect("dd made it");
                let mut words = copy
                    .chunks_exact(8)
                    .map(|word| word.try_into().unwrap_or_default());
                let first = words.next().map(u64::from_ne_bytes).expect("a record");
                let is_whole = words.all(|word| u64::from_ne_bytes(word) == first);
                let what = format!(
                    "{}, record {record}{flag}: {first}, and {before} was done",
                    place.name
                );
                assert!(
                    copy.len() == RECORD && is_whole && first >= before,
                    "{what}"
                );

                std::fs::write(dir.join("new"), number.to_ne_bytes().repeat(RECORD / 8))
                    .expect("a file");
                dd(&format!(
                    "if=new of=records bs={RECORD} seek=2 count=1 conv=notrunc oflag=direct"
                ));
                board
                    .write_all_at(&number.to_ne_bytes(), 2 * PLACE + 8)
                    .expect("a page");
            }
            assert!(done(2) > 3, "busybox wrote {} times", done(2));
            for one in all {
                let outcome = one.join().expect("a thread");
                assert_eq!(
                    number(&outcome, "anomalies"),
                    0,
                    "{}: {}",
                    place.name,
                    outcome.report()
                );
            }
        });
    }
}
