//! `pagefence check`: it finds what programs lose on the bare kernel, from what was recorded of them while they were only
//! looked on, and nothing in the same programs fenced.

use pagefence_tests::artefacts;
use pagefence_tests::fence::{Fence, found};
use pagefence_tests::places::{Place, main_place, places};
use pagefence_tests::run::run;
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);
/// Chance decides a race: so often is a bare one run, at most, until it is lost.
const THROWS: usize = 15;
const CONTENTS: &str = "[defaults]\ntrace = \"contents\"\n";
const OBSERVED: &str = "mode = \"observe\"\n";
const WHOLE: &str = "isolation = \"atomic\"\n";
/// Nothing to the policy.
const KILLS: &str = "# kills\n";
const SYSCALLS: &str = "coverage = \"syscalls\"\n";

fn lossy() -> impl Iterator<Item = Place> {
    places().into_iter().filter(Place::is_ext4_or_xfs)
}

/// What `pagefence check` says of a trace, and its exit code.
fn checked(fence: &Fence, options: &[&str]) -> (i32, Value) {
    let mut command = Command::new(found(artefacts::command()));
    command
        .args(["check", "--json"])
        .args(options)
        .arg(fence.trace());
    let outcome = run(&mut command, LIMIT).expect("the command");
    let said = serde_json::from_str(&outcome.stdout);
    (
        outcome.code(),
        said.unwrap_or_else(|_| panic!("{}", outcome.report())),
    )
}

/// Runs a program that races for a second under a policy, and checks that.
fn raced(place: &Place, policy: &str, app: &str, options: &[&str]) -> (i32, Value) {
    let fence = Fence::with_policy(&format!("{CONTENTS}{policy}"));
    let dir = place.directory();
    let mut command = Command::new(found(artefacts::app(app)));
    command.args(["--seconds", "1"]).arg(dir.path());
    if policy.contains(KILLS) {
        command.arg("--kills");
    }
    fence.apply_traced(&mut command);
    let outcome = run(&mut command, LIMIT).expect("a program of ours");
    assert!([0, 1].contains(&outcome.code()), "{}", outcome.report());
    checked(&fence, options)
}

fn anomalies(said: &Value) -> Vec<&Value> {
    let files = said["files"].as_array().expect("files").iter();
    files
        .flat_map(|file| file["anomalies"].as_array().expect("a list"))
        .collect()
}

/// Bare it is found, with this story; fenced nothing is.
fn shows(app: &str, kind: &str, (policy, fenced): (&str, &str), options: &[&str], place: &Place) {
    let bare = format!("{policy}{OBSERVED}");
    let mut throws = (0..THROWS).map(|_| raced(place, &bare, app, options));
    let lost = throws.find(|(code, _)| *code != 0);
    let (code, said) =
        lost.unwrap_or_else(|| panic!("{app} on {}: {THROWS} bare runs lost nothing", place.name));
    assert_eq!(
        (code, said["verdict"].as_str()),
        (1, Some("anomalies")),
        "{app} on {}: {said}",
        place.name
    );
    let same = |anomaly: &&Value| anomaly["kind"] == kind;
    assert!(anomalies(&said).into_iter().any(|one| same(&one)), "{said}");
    for anomaly in anomalies(&said).into_iter().filter(same) {
        let story = anomaly["story"].as_array().expect("a story");
        assert!((2..=4).contains(&story.len()), "{said}");
        assert!(
            story
                .iter()
                .all(|step| step["program"] == app && step["process"].as_u64() > Some(0)),
            "{said}"
        );
        // ext4 also tears what goes through the cache only.
        let direct = |step: &Value| {
            let mode = step["mode"].as_str();
            mode.is_some_and(|mode| mode.starts_with("direct_"))
        };
        assert!(kind == "torn" || story.iter().any(direct), "{said}");
    }
    let (code, said) = raced(place, &format!("{policy}{fenced}"), app, options);
    assert_eq!(
        (code, said["verdict"].as_str()),
        (0, Some("coherent")),
        "{app} on {}, fenced: {said}",
        place.name
    );
    assert!(
        said["files"]
            .as_array()
            .expect("files")
            .iter()
            .any(|file| file["reads"].as_u64() > Some(100)),
        "{said}"
    );
}

#[test]
fn appends_are_lost_bare_and_not_fenced() {
    // The kernel keeps those on ext4 apart.
    for place in lossy().filter(|place| place.name == "xfs") {
        shows("appenders", "append", ("", ""), &[], &place);
    }
}

#[test]
fn records_are_torn_bare_and_not_fenced() {
    for place in lossy() {
        shows("torn-records", "torn", ("", WHOLE), &["--atomic"], &place);
    }
}

#[test]
fn so_are_those_of_own_system_calls() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    for place in lossy() {
        shows(
            "raw-records",
            "torn",
            (SYSCALLS, WHOLE),
            &["--atomic"],
            &place,
        );
    }
}

/// Also where nothing is known to be lost bare, or mappings take a part: nobody is accused.
#[test]
fn nothing_is_found_in_fenced_runs() {
    for place in lossy() {
        for app in [
            "torn-records",
            "copies",
            "streams",
            "layout",
            "async-appenders",
            "async-records",
            "mapped-store",
        ] {
            let (code, said) = raced(&place, "", app, &[]);
            assert!(
                [0, 3].contains(&code) && anomalies(&said).is_empty(),
                "{app} on {}: {said}",
                place.name
            );
        }
    }
}

/// A call that was begun and not finished may have written.
#[test]
fn nor_where_processes_are_killed() {
    for place in lossy() {
        let policy = format!("{WHOLE}{KILLS}");
        let (code, said) = raced(&place, &policy, "torn-records", &["--atomic"]);
        // One that is killed while it makes its ring leaves one that can't be read.
        assert!([0, 3].contains(&code), "{}: {said}", place.name);
        assert_eq!(anomalies(&said).len(), 0, "{}: {said}", place.name);
    }
}

/// A step of a story that is made here: by the library, or past it.
fn dd(fence: Option<&Fence>, dir: &std::path::Path, arguments: &str) {
    let mut command = Command::new("dd");
    command
        .current_dir(dir)
        .args(arguments.split(' '))
        .arg("status=none");
    if let Some(fence) = fence {
        fence.apply_traced(&mut command);
    }
    let outcome = run(&mut command, LIMIT).expect("dd");
    assert_eq!(outcome.code(), 0, "{}", outcome.report());
}

const WRITE: &str = "if=/dev/urandom of=data bs=4096 count=1 conv=notrunc";
const READ: &str = "if=data of=/dev/null bs=4096";

fn kinds(said: &Value) -> Vec<(&str, u64)> {
    let all = anomalies(said).into_iter();
    all.filter_map(|one| one["kind"].as_str().zip(one["count"].as_u64()))
        .collect()
}

#[test]
fn what_nobody_recorded_is_seen_in_what_is_read() {
    let dir = main_place().directory();
    let fence = Fence::with_policy(CONTENTS);
    dd(Some(&fence), dir.path(), WRITE);
    dd(Some(&fence), dir.path(), READ);
    assert_eq!(checked(&fence, &[]).0, 0);
    // Another one, unseen.
    dd(None, dir.path(), WRITE);
    dd(Some(&fence), dir.path(), READ);
    let (code, said) = checked(&fence, &[]);
    assert_eq!((code, kinds(&said)), (1, vec![("unwritten", 8)]), "{said}");
    let step = |at: usize, key: &str| anomalies(&said)[0]["story"][at][key].clone();
    assert_eq!(
        (step(0, "did"), step(1, "did")),
        ("wrote".into(), "read".into())
    );
    assert_eq!(
        (step(0, "bytes"), step(1, "bytes")),
        ("A".into(), "B".into())
    );
}

#[test]
fn old_bytes_that_come_back_are_stale() {
    let dir = main_place().directory();
    let fence = Fence::with_policy(CONTENTS);
    dd(Some(&fence), dir.path(), WRITE);
    std::fs::copy(dir.path().join("data"), dir.path().join("old")).expect("a copy");
    dd(Some(&fence), dir.path(), &format!("{WRITE} oflag=direct"));
    dd(Some(&fence), dir.path(), READ);
    dd(None, dir.path(), "if=old of=data bs=4096 conv=notrunc");
    dd(Some(&fence), dir.path(), &format!("{READ} iflag=direct"));
    let (code, said) = checked(&fence, &[]);
    assert_eq!((code, kinds(&said)), (1, vec![("stale", 8)]), "{said}");
    let story = &anomalies(&said)[0]["story"];
    let modes: Vec<_> = story
        .as_array()
        .expect("a story")
        .iter()
        .map(|step| step["mode"].clone())
        .collect();
    assert_eq!(modes, ["buffered_write", "direct_write", "direct_read"]);
    // What empties the file, and another file that gets its number, begin anew.
    for unseen in ["truncated", "removed"] {
        let fence = Fence::with_policy(CONTENTS);
        dd(Some(&fence), dir.path(), WRITE);
        match unseen {
            "truncated" => dd(Some(&fence), dir.path(), "if=old of=data bs=4096 count=0"),
            _ => std::fs::remove_file(dir.path().join("data")).expect("a file of ours"),
        }
        dd(
            None,
            dir.path(),
            "if=/dev/urandom of=data bs=4096 count=1 conv=notrunc",
        );
        dd(Some(&fence), dir.path(), READ);
        assert_eq!(checked(&fence, &[]).0, 0, "{unseen}");
    }
}
