//! `pagefence report`: the verdict, and JSON as its schema says.

mod common;
mod traces;

use common::{Fixture, stderr, stdout};
use serde_json::Value;
use std::path::Path;
use trace::Kind;
use traces::{as_its_schema_says, recorded, rich, ring, tell, traced};

fn report(fixture: &Fixture, options: &[&str]) -> String {
    let mut command = fixture.pagefence();
    let output = command.arg("report").args(options).arg("trace").output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stdout(&output)
}

#[test]
fn the_verdict_comes_first() {
    let page = report(&traced(rich), &[]);
    let mut lines = page.lines();
    assert_eq!(
        lines.next().unwrap(),
        "a-database-engine and backup mix /srv/db in bytes 0 to 20479: they were at it at the same moment 5 times, \
         and nothing kept them apart; one more file below; one thing is not covered: see below"
    );
    let way_out = lines.next().unwrap();
    assert!(way_out.contains("fence both") && way_out.contains("route = \"buffered\""));
    for words in [
        "MIXED  /srv/db (device 0:1, inode 7)",
        "1 mixed, 6 collision",
        "3 wait, 3 fallback",
        "fell back because: 3 mapped",
        "waited 1.500 s in all, 0.500 s at most",
        "8192000 to 8196095",
        "start it with aio=threads",
        "14 events in 2 rings",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    // What didn't happen isn't shown.
    for word in ["deadlock", "lock_timeout", "reaped", "0 collision"] {
        assert!(!page.contains(word), "{word}: {page}");
    }
}

#[test]
fn each_kind_has_its_verdict() {
    let of = |kinds: &[Kind], other| {
        let fixture = traced(|folder| {
            let ring = ring(folder, 10, "one");
            for kind in kinds {
                tell(ring, (10, other), *kind, 1, "/f");
            }
        });
        report(&fixture, &[]).lines().next().unwrap().to_owned()
    };
    let alone = "one uses /f directly and through the page cache: ";
    let with = "one and others mix /f in bytes 4096 to 8191: ";
    for (kinds, other, said) in [
        (
            &[][..],
            0,
            "nothing was told: no file was used in two modes".to_owned(),
        ),
        (
            &[Kind::Mixed],
            0,
            format!("{alone}nobody was in anybody's way"),
        ),
        (
            &[Kind::Mixed, Kind::Fallback],
            0,
            format!("{alone}direct requests went through the page cache once"),
        ),
        (
            &[Kind::Wait, Kind::Mixed, Kind::Wait],
            5,
            format!(
                "{with}they were kept apart 2 times, and waited 1.000 s in all, 0.500 s at most"
            ),
        ),
        (
            &[Kind::Wait, Kind::LockTimeout],
            5,
            format!("{with}a call gave up waiting for the other once"),
        ),
        (
            &[Kind::LockTimeout, Kind::Deadlock],
            5,
            format!("{with}each waited for the other once, and a call failed"),
        ),
    ] {
        assert_eq!(of(kinds, other), said);
    }
}

/// Calls are counted by program and mode, with their bytes; where it is hot is told by what came of them.
#[test]
fn all_calls_are_summed_up() {
    let fixture = traced(recorded);
    let page = report(&fixture, &[]);
    for words in [
        "PROGRAM  CALLS               TIMES         BYTES  SECONDS",
        "backup   read buffered_read  3             12288  0.000",
        "backup   write direct_write  1 (1 failed)  0      0.000",
        "1 collision, 4 call",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let said: Value = serde_json::from_str(&report(&fixture, &["--json"])).unwrap();
    let file = &said["files"][0];
    assert_eq!(file["calls"][0]["bytes"], 12288);
    assert_eq!(
        (&file["calls"][0]["call"], &file["calls"][1]["failed"]),
        (&"read".into(), &1.into())
    );
    assert_eq!(file["ranges"].as_array().unwrap().len(), 1);
    assert_eq!(file["ranges"][0]["count"], 1);
    let lines = report(&fixture, &["--ndjson"]);
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["event"], &last["call"]),
        (&"call".into(), &"write".into())
    );
    assert_eq!(
        (&last["mode"], &last["result"]),
        (&"direct_write".into(), &(-28).into())
    );
    assert_eq!(last["nanoseconds"], 2000);
}

#[test]
fn json_is_as_its_schema_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/report.schema.json");
    let schema: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for fixture in [traced(rich), traced(recorded), traced(|_| {})] {
        let said: Value = serde_json::from_str(&report(&fixture, &["--json"])).unwrap();
        as_its_schema_says(&schema, &said);
    }
    let said: Value = serde_json::from_str(&report(&traced(rich), &["--json"])).unwrap();
    let file = &said["files"][0];
    assert_eq!(file["path"], "/srv/db");
    assert_eq!(file["pairs"][0]["count"], 5);
    assert_eq!(file["pairs"][0]["other_program"], "a-database-engine");
    assert_eq!(file["ranges"][0]["count"], 6);
    assert_eq!(said["files"][1]["waits"]["total_seconds"], 1.5);
    assert_eq!(said["others"][0]["hint"], "start it with aio=threads");
}
