//! `pagefence report` of a long trace: each form takes the room that a short one takes, and leaves nothing out.

mod common;
mod traces;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use common::{Fixture, stderr};
use serde_json::Value;
use trace::Kind;
use traces::{ring, tell, traced};

const RINGS: u32 = 20;
const EVENTS: u64 = 29_000;

/// Rings that are written at the same time.
fn many(folder: &Path) {
    for process in 1..=RINGS {
        let ring = ring(folder, process, "one");
        for n in 0..EVENTS {
            tell(ring, (process, 0), Kind::Fallback, n, "/f");
        }
    }
}

/// The most memory that the report took, in KiB. Run by a small program: a child begins with the most that its parent had.
fn most(fixture: &Fixture, form: &[&str]) -> u64 {
    let python = "import resource, subprocess, sys\nsubprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)\nprint(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";
    let mut command = fixture.bare("python3");
    command.args([
        "-c",
        python,
        env!("CARGO_BIN_EXE_pagefence"),
        "report",
        "trace",
    ]);
    let output = command.args(form).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    said.trim()
        .parse()
        .unwrap_or_else(|e| panic!("{e}: {}", stderr(&output)))
}

/// All events take some 200 MB together.
#[test]
fn every_form_takes_the_room_of_one_ring() {
    let fixture = traced(many);
    for form in [
        &["--perfetto", "made"][..],
        &["--html", "made"],
        &["--ndjson"],
        &["--json"],
        &[],
    ] {
        let most = most(&fixture, form);
        println!("{form:?}: {most} KiB");
        assert!(most < 40_000, "{form:?}: {most} KiB");
    }
}

#[test]
fn every_event_is_a_line_in_order() {
    let fixture = traced(many);
    let mut command = fixture.pagefence();
    command.args(["report", "--ndjson", "trace"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let (mut count, mut last) = (0, String::new());
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        // {"time":SECONDS.NANOSECONDS, of one length each.
        let time = line.unwrap().split(',').next().unwrap().to_owned();
        assert!(time >= last, "{time} after {last}");
        (count, last) = (count + 1, time);
    }
    assert!(child.wait().unwrap().success());
    assert_eq!(count, EVENTS * u64::from(RINGS));
}

#[test]
fn every_event_is_on_the_page() {
    let fixture = traced(many);
    let mut command = fixture.pagefence();
    let output = command.args(["report", "--html", "page", "trace"]).output();
    let output = output.unwrap();
    assert_eq!((output.status.code(), &*stderr(&output)), (Some(0), ""));
    let page = std::fs::read_to_string(fixture.path("page")).unwrap();
    let (_, data) = page.split_once("id=\"data\">").unwrap();
    let (data, _) = data.split_once("</script>").unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["events"], EVENTS * u64::from(RINGS));
    let rows = data["files"][0]["rows"].as_array().unwrap();
    let drawn: u64 = rows.iter().map(|row| row[7].as_u64().unwrap()).sum();
    assert_eq!(drawn, EVENTS * u64::from(RINGS));
}
