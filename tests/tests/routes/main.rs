//! `route = "buffered"`: direct requests go through the page cache. The program sees what it sees bare: what direct I/O
//! grants and refuses, its flags, in its children and after exec. The file stays in one mode: nothing is lost that is lost
//! bare, nobody waits, and nothing goes past the cache. `past` has the other way.

mod full;
mod past;

use pagefence_tests::artefacts;
use pagefence_tests::compare::Comparison;
use pagefence_tests::fence::{Fence, ROUTED, found};
use pagefence_tests::places::{main_place, places};
use pagefence_tests::programs::compile;
use pagefence_tests::run::{Outcome, run};
use pagefence_tests::seen::Seen;
use std::process::Command;
use std::time::Duration;
use summary::Counter;

const LIMIT: Duration = Duration::from_secs(60);

/// Bare and routed alike, and of what was used directly nothing went past the cache or waited.
fn alike(name: &str, flags: &[&str]) {
    let program = compile(name, flags);
    for place in places() {
        let fences = [("routed", Fence::with_policy(ROUTED))];
        let seen = Comparison::new(name).check(&place, &fences, |dir| program.on(dir));
        assert_eq!(seen.code(), 0, "{name} bare: {}", seen.report());
        nobody_noticed(&fences[0].1, &format!("{name} on {}", place.name));
    }
}

/// All use was buffered: nothing could wait, fall back, or go past the cache.
fn nobody_noticed(fence: &Fence, what: &str) {
    for counter in [
        Counter::DirectWritesDirect,
        Counter::DirectReadsDirect,
        Counter::FallbackMapped,
        Counter::FallbackDegraded,
        Counter::InvalidateFailed,
        Counter::Waits,
        Counter::LockTimeouts,
        Counter::Uncovered,
    ] {
        assert_eq!(fence.count(counter), 0, "{what}: {counter:?}");
    }
    assert!(fence.count(Counter::Processes) > 0, "{what}: not fenced");
}

macro_rules! tests {
    ($($name:ident)*) => { $( #[test] fn $name() { alike(stringify!($name), &[]); } )* };
}

tests! {
    routed setfl_direct append rwf dup_modes by_number shared_offset scm_rights vfork_exec no_name
}

#[test]
fn aio_calls() {
    alike("aio_calls", &["-laio"]);
}

/// What the kernel grants and refuses of 1,056 rows of requests.
#[test]
fn the_kernel_judges_alignment() {
    let program = compile("alignments", &[]);
    for place in places() {
        let dir = place.directory();
        let [bare, routed] = [None, Some(Fence::with_policy(ROUTED))].map(|fence| {
            let file = dir.path().join("f");
            let mut command = Command::new(&program.path);
            command.arg(&file);
            pagefence_tests::fence::apply(fence.as_ref(), &mut command);
            let outcome = run(&mut command, LIMIT).expect("a program of ours");
            std::fs::remove_file(&file).expect("the program's file");
            if let Some(fence) = fence {
                nobody_noticed(&fence, &place.name);
            }
            outcome
        });
        let lines = bare.stdout.lines().zip(routed.stdout.lines());
        let wrong: Vec<_> = lines.filter(|(a, b)| a != b).take(10).collect();
        let ended = (bare.code(), routed.code()) == (0, 0);
        assert!(wrong.is_empty() && ended, "{}: {wrong:#?}", place.name);
    }
}

/// A program that races, for so long.
fn race(name: &str, directory: &std::path::Path, fence: Option<&Fence>) -> Outcome {
    let mut command = Command::new(found(artefacts::app(name)));
    command
        .arg(directory)
        .args(["--seconds", "2", "--seed", "7"]);
    pagefence_tests::fence::apply(fence, &mut command);
    run(&mut command, Duration::from_secs(150)).expect("a program of ours")
}

/// Where bare ext4 and xfs lose data, nothing is lost; and nobody held anything.
#[test]
fn what_races_bare_loses_nothing() {
    all_lose_nothing(ROUTED, &nobody_noticed);
}

/// All that lose something bare, at the same time: they mostly wait for their device.
fn all_lose_nothing(policy: &str, judge: &(dyn Fn(&Fence, &str) + Sync)) {
    std::thread::scope(|scope| {
        for name in ["mapped-store", "next-page", "stale-reader"] {
            scope.spawn(move || loses_nothing(name, policy, judge));
        }
    });
}

/// With this policy, while bare something is lost somewhere; and the fence has done as it should.
fn loses_nothing(name: &str, policy: &str, judge: &(dyn Fn(&Fence, &str) + Sync)) {
    let mut lost = 0;
    for place in places() {
        let dir = place.directory();
        let bare = race(name, dir.path(), None);
        lost += u64::from(bare.code() == 1);
        let (dir, fence) = (place.directory(), Fence::with_policy(policy));
        let routed = race(name, dir.path(), Some(&fence));
        let clean = routed.code() == 0 && routed.stdout.contains("anomalies=0 ");
        assert!(clean, "{name} on {}: {}", place.name, routed.report());
        judge(&fence, &format!("{name} on {}", place.name));
    }
    let real = std::env::var("PAGEFENCE_TEST_FILESYSTEMS").is_ok();
    assert!(lost > 0 || !real, "{name}: nothing was lost bare anywhere");
}

/// Who only looks on changes nothing: direct requests go past the cache.
#[test]
fn who_looks_on_routes_nothing() {
    let program = compile("routed", &[]);
    let fence = Fence::with_policy(&format!("{ROUTED}mode = \"observe\"\n"));
    let dir = main_place().directory();
    let seen = Seen::of(&mut program.on(dir.path()), &fence, LIMIT);
    assert_eq!(seen.outcome.code(), 0, "{}", seen.report());
    let modes: Vec<u32> = fence.uses().iter().map(|used| used.modes).collect();
    assert!(
        modes.iter().any(|m| m & summary::USED_DIRECT != 0),
        "{modes:?}"
    );
}

/// And the summary shows what is used how: routed, nothing is used directly.
#[test]
fn the_summary_shows_one_mode() {
    let program = compile("routed", &[]);
    let fence = Fence::with_policy(ROUTED);
    let dir = main_place().directory();
    let seen = Seen::of(&mut program.on(dir.path()), &fence, LIMIT);
    assert_eq!(seen.outcome.code(), 0, "{}", seen.report());
    assert!(!fence.has_told("mixed"), "{}", seen.report());
    let used = fence.uses();
    assert!(!used.is_empty());
    assert!(
        used.iter()
            .all(|used| used.modes & summary::USED_DIRECT == 0)
    );
}
