//! `pagefence check`: verdict, stories and exit codes, JSON as its schema says, and what can't be told.

mod common;
mod traces;

use common::{Fixture, stderr, stdout};
use serde_json::Value;
use std::fs::OpenOptions;
use std::path::Path;
use trace::{Call, Contents, Door, Kind, Mode, Record, Ring, Shape, What};
use traces::{as_its_schema_says, ring, traced};

const PAGE: u64 = 4096;

/// A call of one page, or what of it: when it began, what it moves (a byte that fills it; None: it isn't summed).
fn tell(
    ring: Ring,
    process: u32,
    (what, mode): (What, Mode),
    begun: u64,
    fill: Option<u8>,
    ends: bool,
) {
    let record = Record {
        file: Some((1, 7)),
        path: ring.text(b"/srv/db"),
        range: Some((0, PAGE - 1)),
        ..Record::of(Kind::Contents, begun, process, process)
    };
    let mut contents = Contents::of(what, mode, 3);
    if let Some(fill) = fill {
        contents.put(0, &[fill; PAGE as usize]);
    }
    ring.write(&Record {
        contents: Some(contents),
        ..record
    });
    if ends {
        let call = Call {
            what,
            mode,
            door: Door::Unknown,
            result: PAGE as i64,
        };
        ring.write(&Record {
            kind: Kind::Call,
            nanoseconds: Some(20_000),
            call: Some(call),
            ..record
        });
    }
}

const MS: u64 = 1_000_000;
const WRITE: (What, Mode) = (What::Write, Mode::DirectWrite);
const READ: (What, Mode) = (What::Read, Mode::BufferedRead);

/// A database writes twice, and a backup reads this.
fn story(folder: &Path, reads: u8) {
    let (database, backup) = (ring(folder, 20, "database"), ring(folder, 10, "backup"));
    tell(database, 20, WRITE, MS, Some(1), true);
    tell(database, 20, WRITE, 2 * MS, Some(2), true);
    tell(backup, 10, READ, 3 * MS, Some(reads), true);
}

fn check(fixture: &Fixture, options: &[&str]) -> (Option<i32>, String) {
    let mut command = fixture.pagefence();
    let output = command
        .arg("check")
        .args(options)
        .arg("trace")
        .output()
        .unwrap();
    assert_eq!(stderr(&output), "");
    (output.status.code(), stdout(&output))
}

#[test]
fn the_verdict_comes_first() {
    let (code, page) = check(&traced(|folder| story(folder, 2)), &[]);
    assert_eq!(code, Some(0));
    assert!(
        page.starts_with("coherent: 8 reads of blocks in one file saw what was written\n"),
        "{page}"
    );
    let (code, page) = check(&traced(|folder| story(folder, 1)), &[]);
    assert_eq!(code, Some(1));
    let lines: Vec<&str> = page.lines().map(str::trim).collect();
    assert_eq!(
        lines,
        [
            "NOT COHERENT: anomalies in one file: 8 stale",
            "",
            "/srv/db (device 0:1, inode 7)",
            "8 blocks of 512 bytes, read 8 times, written 16 times",
            "STALE: old bytes were read after newer ones had been written: 8 blocks; for example bytes 0 to 511:",
            "0.0 to       20.0 us  database (20) wrote 0 to 4095 (direct_write): contents A",
            "1000.0 to     1020.0 us  database (20) wrote 0 to 4095 (direct_write): contents B",
            "2000.0 to     2020.0 us  backup (10) read 0 to 4095 (buffered_read): contents A",
        ]
    );
}

#[test]
fn what_isnt_known_accuses_nobody() {
    let said = |make: &dyn Fn(&Path)| {
        let (code, said) = check(&traced(|folder| make(folder)), &["--json"]);
        let said: Value = serde_json::from_str(&said).unwrap();
        (code.unwrap(), said)
    };
    let (code, told) = said(&|_| {});
    assert_eq!((code, &told["verdict"]), (3, &"unknown".into()));
    assert!(
        told["limits"][0].as_str().unwrap().contains("--contents"),
        "{told}"
    );
    // Killed in the second write: it may have been made, or not.
    for read in [1, 2] {
        let (code, told) = said(&|folder| {
            let (database, backup) = (ring(folder, 20, "database"), ring(folder, 10, "backup"));
            tell(database, 20, WRITE, MS, Some(1), true);
            tell(database, 20, WRITE, 2 * MS, Some(2), false);
            tell(backup, 10, READ, 3 * MS, Some(read), true);
        });
        assert_eq!((code, &told["verdict"]), (0, &"coherent".into()), "{told}");
    }
    // Somebody stores through a mapping; before, it was stale.
    for (mapped, expected) in [(MS / 2, 3), (2 * MS + MS / 2, 3), (5 * MS, 1)] {
        let (code, told) = said(&|folder| {
            story(folder, 1);
            let other = ring(folder, 30, "other");
            tell(
                other,
                30,
                (What::Map, Mode::MappedWritable),
                mapped,
                None,
                true,
            );
        });
        assert_eq!(code, expected, "{told}");
        assert_eq!(told["files"][0]["left_out"]["mappings"], 8);
    }
    // A copy is over before the newer write, or after it.
    for (copied, expected) in [(MS + MS / 2, 1), (2 * MS + MS / 2, 0)] {
        let copy = (What::Copy, Mode::BufferedWrite);
        let (code, told) = said(&|folder| {
            story(folder, 1);
            tell(ring(folder, 30, "other"), 30, copy, copied, None, true);
        });
        assert_eq!(code, expected, "{told}");
    }
    // A record is missing.
    let (code, told) = said(&|folder| {
        story(folder, 1);
        ring(folder, 30, "other").dropped(1);
    });
    assert_eq!((code, &told["verdict"]), (3, &"unknown".into()), "{told}");
}

/// Of a ring that was overwritten, what came later counts.
#[test]
fn the_end_of_a_long_run_is_checked() {
    for (reads, expected) in [(0, 3), (1, 1)] {
        let fixture = traced(|folder| {
            let database = ring(folder, 20, "database");
            for n in 0..Shape::STANDARD.records as u64 {
                tell(database, 20, WRITE, n * MS, Some(3 + (n % 2) as u8), true);
            }
            let from = Shape::STANDARD.records as u64 * MS;
            tell(database, 20, WRITE, from + MS, Some(1), true);
            tell(database, 20, WRITE, from + 2 * MS, Some(2), true);
            tell(database, 20, READ, from + 3 * MS, Some(2 - reads), true);
        });
        let (code, page) = check(&fixture, &[]);
        assert_eq!(code, Some(expected), "{page}");
        assert!(page.contains("30006 records were overwritten"), "{page}");
    }
}

#[test]
fn json_is_as_its_schema_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/check.schema.json");
    let schema: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for fixture in [
        traced(|folder| story(folder, 1)),
        traced(|folder| story(folder, 2)),
        traced(|_| {}),
    ] {
        let said = serde_json::from_str(&check(&fixture, &["--json"]).1).unwrap();
        as_its_schema_says(&schema, &said);
    }
    let said: Value =
        serde_json::from_str(&check(&traced(|folder| story(folder, 1)), &["--json"]).1).unwrap();
    let one = &said["files"][0]["anomalies"][0];
    assert_eq!((&one["kind"], &one["count"]), (&"stale".into(), &8.into()));
    assert_eq!(one["story"][2]["end_microseconds"], 2020.0);
}

/// Rings that are cut off, and that hold anything: it ends, and with one of its exit codes.
#[test]
fn what_means_harm_is_read_like_anything() {
    let mut random = 1u64;
    let mut next = move || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        random >> 33
    };
    for turn in 0..60 {
        let fixture = traced(|folder| {
            story(folder, 1);
            // A record that is whole, and says anything.
            let mut words = [0u64; 16];
            words
                .iter_mut()
                .for_each(|word| *word = next() << (next() % 34));
            words[3] = u64::from(Kind::Contents as u8 - (turn % 2) as u8) | 0b11_1011 << 8;
            (words[8], words[4], words[5]) =
                ((next() << 32) | ((next() % 11) << 24) | (next() % 7), 1, 7);
            ring(folder, 30, "other").write_words(&mut words);
        });
        if turn % 3 == 0 {
            let entry = std::fs::read_dir(fixture.path("trace"))
                .unwrap()
                .next()
                .unwrap();
            let file = OpenOptions::new()
                .write(true)
                .open(entry.unwrap().path())
                .unwrap();
            file.set_len(next() % (Shape::STANDARD.bytes() as u64))
                .unwrap();
        }
        let output = fixture
            .pagefence()
            .args(["check", "--json", "trace"])
            .output()
            .unwrap();
        assert!(
            output.status.code().is_some_and(|code| code <= 3),
            "{}",
            stderr(&output)
        );
    }
}
