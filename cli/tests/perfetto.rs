//! `pagefence report --perfetto`: what a viewer of traces gets is as its format says.

mod common;
mod traces;

use std::collections::{HashMap, HashSet};

use common::{Fixture, stderr};
use serde_json::Value;
use trace::Kind;
use traces::{recorded, rich, ring, tell, traced};

/// Makes the file, and says what is in it.
fn viewed(fixture: &Fixture) -> Value {
    let mut command = fixture.pagefence();
    let output = command
        .args(["report", "trace", "--perfetto", "trace.json"])
        .output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    serde_json::from_slice(&std::fs::read(fixture.path("trace.json")).unwrap()).unwrap()
}

/// From when each began, and for as long as it took.
#[test]
fn recorded_calls_are_slices() {
    let viewed = viewed(&traced(recorded));
    let events = viewed["traceEvents"].as_array().unwrap();
    let calls: Vec<_> = events.iter().filter(|e| e["cat"] == "call").collect();
    let names: Vec<_> = calls.iter().map(|e| e["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["read", "read", "read", "write"]);
    for call in &calls {
        assert_eq!(
            (&call["ph"], &call["tid"]),
            (&"X".into(), &10.into()),
            "{call}"
        );
        assert_eq!(at(call, "dur"), 2_000, "{call}");
    }
    assert_eq!(at(calls[1], "ts") - at(calls[0], "ts"), 10_000);
    assert_eq!(
        (&calls[3]["args"]["result"], &calls[3]["args"]["mode"]),
        (&(-28).into(), &"direct_write".into())
    );
}

type Track = (u64, u64);

fn track(event: &Value) -> Track {
    (
        event["pid"].as_u64().unwrap(),
        event["tid"].as_u64().unwrap(),
    )
}

/// Nanoseconds.
fn at(event: &Value, key: &str) -> u64 {
    (event[key].as_f64().unwrap() * 1e3).round() as u64
}

#[derive(Default)]
struct Seen {
    /// Slices as they begin and end, by track, in the order of the file.
    slices: HashMap<Track, Vec<(u64, u64)>>,
    latest: HashMap<Track, u64>,
    named: HashSet<Track>,
    processes: HashSet<u64>,
    begun: HashMap<u64, (u64, Track)>,
    arrows: usize,
}

impl Seen {
    fn is_right(&mut self, event: &Value) {
        let ph = event["ph"].as_str().unwrap();
        if ph == "M" {
            assert!(event["args"]["name"].is_string(), "{event}");
            match event["name"].as_str().unwrap() {
                "process_name" => drop(self.processes.insert(event["pid"].as_u64().unwrap())),
                "thread_name" => drop(self.named.insert(track(event))),
                other => panic!("{other}"),
            }
            return;
        }
        let (track, ts) = (track(event), at(event, "ts"));
        assert!(
            event["name"].is_string() && event["cat"].is_string(),
            "{event}"
        );
        assert!(
            self.processes.contains(&track.0) && self.named.contains(&track),
            "{event}"
        );
        let latest = self.latest.entry(track).or_default();
        assert!(*latest <= ts, "back in time: {event}");
        *latest = ts;
        let slices = self.slices.entry(track).or_default();
        let around = slices.iter().any(|slice| slice.0 <= ts && ts <= slice.1);
        match ph {
            "X" => {
                let end = ts + at(event, "dur");
                let nests = |slice: &(u64, u64)| slice.1 <= ts || end <= slice.1;
                assert!(slices.iter().all(nests), "{event} in {slices:?}");
                slices.push((ts, end));
            }
            "i" => assert_eq!(event["s"], "t", "{event}"),
            "s" => {
                assert!(around, "{event}");
                let id = event["id"].as_u64().unwrap();
                assert!(self.begun.insert(id, (ts, track)).is_none(), "{event}");
            }
            "f" => {
                assert!(around && event["bp"] == "e", "{event}");
                let begun = self.begun.remove(&event["id"].as_u64().unwrap());
                let (from, of) = begun.unwrap_or_else(|| panic!("no beginning: {event}"));
                assert!(from <= ts && of != track, "{event}");
                self.arrows += 1;
            }
            _ => panic!("{event}"),
        }
    }
}

fn checked(all: &Value) -> Seen {
    // With one some viewers take microseconds for nanoseconds.
    assert!(all.get("displayTimeUnit").is_none());
    let mut seen = Seen::default();
    for event in all["traceEvents"].as_array().unwrap() {
        seen.is_right(event);
    }
    assert!(seen.begun.is_empty(), "no end: {:?}", seen.begun);
    seen
}

fn of<'a>(all: &'a Value, ph: &'a str, name: &'a str) -> impl Iterator<Item = &'a Value> {
    let events = all["traceEvents"].as_array().unwrap().iter();
    events.filter(move |event| event["ph"] == ph && event["name"] == name)
}

#[test]
fn threads_are_tracks_and_who_was_in_the_way_has_arrows() {
    let all = viewed(&traced(rich));
    let seen = checked(&all);
    // All but what met nobody: fall backs, and what isn't covered.
    assert_eq!(seen.arrows, 1 + 5 + 1 + 3);
    assert_eq!(
        (
            of(&all, "X", "collision").count(),
            of(&all, "i", "fallback").count()
        ),
        (6, 3)
    );
    assert_eq!(of(&all, "X", "in the way").count(), 10);
    let names = |what: &str| -> HashSet<(u64, String)> {
        let named = of(&all, "M", what);
        let name = |e: &Value| {
            (
                e["pid"].as_u64().unwrap(),
                e["args"]["name"].as_str().unwrap().to_owned(),
            )
        };
        named.map(name).collect()
    };
    let processes = names("process_name");
    for (process, name) in [(10, "backup"), (20, "a-database-engine"), (30, "others")] {
        assert!(
            processes.contains(&(process, name.to_owned())),
            "{processes:?}"
        );
    }
    let threads = names("thread_name");
    assert!(
        threads.contains(&(20, "in the way of backup (thread 10)".to_owned())),
        "{threads:?}"
    );
    let wait = of(&all, "X", "wait").next().unwrap();
    assert_eq!(wait["args"]["file"], "/srv/other");
    assert_eq!(
        (&wait["args"]["other_process"], &wait["args"]["last"]),
        (&10.into(), &4095.into())
    );
    assert_eq!(
        (at(wait, "dur"), wait["args"]["nanoseconds"].as_u64()),
        (500_000_000, Some(500_000_000))
    );
    assert_eq!(all["otherData"]["events_missing"], 0);
}

/// Each took half a second, and they were told a nanosecond apart: with two other parties, in several threads.
#[test]
fn waits_that_overlap_nest() {
    let all = viewed(&traced(|folder| {
        for process in [10, 20, 30] {
            let ring = ring(folder, process, "one");
            for n in 0..40 {
                let other = [40, 10][n as usize % 2];
                tell(
                    ring,
                    (process, other),
                    Kind::Wait,
                    n * u64::from(process % 7 + 1),
                    "/f",
                );
                tell(ring, (process, 0), Kind::Fallback, n, "/f");
            }
        }
    }));
    assert_eq!(checked(&all).arrows, 120);
}

#[test]
fn nothing_is_a_trace_too() {
    let all = viewed(&traced(|_| {}));
    assert_eq!(all["traceEvents"], Value::Array(Vec::new()));
}

/// What is told of a ring that can't be read, and what the others told.
#[test]
fn rings_that_are_damaged_are_told_and_others_read() {
    let fixture = traced(rich);
    std::fs::write(fixture.path("trace/1.1.ring"), [7; 5000]).unwrap();
    let whole = std::fs::read_dir(fixture.path("trace")).unwrap();
    let database = whole
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_str().unwrap().contains("/20."));
    let database = std::fs::OpenOptions::new()
        .write(true)
        .open(database.unwrap())
        .unwrap();
    database
        .set_len(4096 + 1024 * 32 + 4096 * 8 + 32 * 1024 * 8 + 128)
        .unwrap();
    for form in ["--perfetto", "--html"] {
        let mut command = fixture.pagefence();
        let output = command
            .args(["report", "trace", form, "made"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{form}");
        let said = stderr(&output);
        assert!(
            said.contains("1.1.ring: it is not a ring") && said.contains("cut off"),
            "{form}: {said}"
        );
        assert!(fixture.path("made").metadata().unwrap().len() > 1000);
    }
    let mut command = fixture.pagefence();
    command
        .args(["report", "trace", "--perfetto", "trace.json"])
        .output()
        .unwrap();
    let made = std::fs::read(fixture.path("trace.json")).unwrap();
    let all: Value = serde_json::from_slice(&made).unwrap();
    checked(&all);
    assert!(all["otherData"]["events_missing"].as_u64() > Some(0));
}

#[test]
fn a_file_that_cannot_be_written_is_told_and_none_is_left() {
    let fixture = traced(rich);
    let names = || {
        let all = std::fs::read_dir(fixture.path("")).unwrap();
        let mut all: Vec<_> = all.map(|entry| entry.unwrap().file_name()).collect();
        all.sort();
        all
    };
    fixture.write("old", b"as it was");
    let before = names();
    for form in ["--perfetto", "--html"] {
        for (to, why) in [
            ("nowhere/made", "No such file"),
            ("trace", "Is a directory"),
            ("/dev/full", "No space"),
        ] {
            let mut command = fixture.pagefence();
            let output = command
                .args(["report", "trace", form, to])
                .output()
                .unwrap();
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{form} {to}: {said}");
            assert!(
                said.starts_with(&format!("pagefence: can't write {to}: ")) && said.contains(why),
                "{said}"
            );
        }
        // No longer than a block: it fails in the midst.
        let mut command = fixture.bare("bash");
        let limited = "trap '' XFSZ; ulimit -f 1; exec \"$@\"";
        let command = command.args(["-c", limited, "bash", env!("CARGO_BIN_EXE_pagefence")]);
        let output = command
            .args(["report", "trace", form, "old"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(
            stderr(&output).contains("File too large"),
            "{}",
            stderr(&output)
        );
        assert_eq!(
            (names(), std::fs::read(fixture.path("old")).unwrap()),
            (before.clone(), b"as it was".to_vec())
        );
    }
    let mut command = fixture.pagefence();
    let output = command
        .args(["report", "trace", "--html", "a", "--perfetto", "b"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "one form at a time");
}

/// To whoever reads it, without a file.
#[test]
fn a_pipe_is_written_to_as_it_is() {
    let fixture = traced(rich);
    let mut command = fixture.pagefence();
    let output = command
        .args(["report", "trace", "--perfetto", "/dev/stdout"])
        .output()
        .unwrap();
    checked(&serde_json::from_slice(&output.stdout).unwrap());
}
