//! Traces that tests of `pagefence report` read, made as the library makes them.

// Each test file is a program of its own and uses a part.
#![allow(dead_code)]

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use trace::{Alone, Call, Door, Kind, Mode, Other, Record, Ring, Shape, Text, What};

use crate::common::Fixture;

pub fn ring(folder: &Path, process: u32, program: &str) -> Ring {
    let folder = CString::new(folder.as_os_str().as_bytes()).unwrap();
    Ring::make(
        &folder,
        (process, program.as_bytes()),
        Shape::STANDARD,
        &Alone,
    )
    .unwrap()
}

/// What happens to bytes of a file, with another process in the way.
pub fn tell(ring: Ring, (process, other): (u32, u32), kind: Kind, at: u64, path: &str) {
    let mut program = [0; 16];
    program[..6].copy_from_slice(b"others");
    ring.write(&Record {
        time: 1_000_000_000 + at,
        process,
        thread: process,
        kind,
        file: Some((1, path.len() as u64)),
        path: ring.text(path.as_bytes()),
        range: Some((at * 4096, at * 4096 + 4095)),
        mode: ring.text(b"direct_write"),
        other: (other != 0).then_some(Other {
            process: other,
            program,
            mode: Text::NONE,
        }),
        reason: ring.text(if kind == Kind::Fallback {
            b"mapped"
        } else {
            b""
        }),
        done: Text::NONE,
        hint: Text::NONE,
        nanoseconds: (kind == Kind::Wait).then_some(500_000_000),
        call: None,
    });
}

/// A trace with everything in it.
pub fn rich(folder: &Path) {
    let (backup, database) = (
        ring(folder, 10, "backup"),
        ring(folder, 20, "a-database-engine"),
    );
    tell(database, (20, 10), Kind::Mixed, 0, "/srv/db");
    for n in 0..5 {
        tell(backup, (10, 20), Kind::Collision, n, "/srv/db");
    }
    tell(database, (20, 30), Kind::Collision, 2000, "/srv/db");
    for n in 0..3 {
        tell(database, (20, 10), Kind::Wait, n, "/srv/other");
        tell(database, (20, 0), Kind::Fallback, n, "/srv/other");
    }
    database.write(&Record {
        time: 5,
        process: 20,
        thread: 20,
        kind: Kind::Uncovered,
        file: None,
        path: Text::NONE,
        range: None,
        mode: Text::NONE,
        other: None,
        reason: database.text(b"io_uring"),
        done: database.text(b"ENOSYS"),
        hint: database.text(b"start it with aio=threads"),
        nanoseconds: None,
        call: None,
    });
}

/// A call that was recorded: a page of the file.
pub fn call(ring: Ring, what: What, mode: Mode, result: i64, at: u64) {
    ring.write(&Record {
        time: 1_000_000_000 + at * 10_000,
        process: 10,
        thread: 10,
        kind: Kind::Call,
        file: Some((1, 7)),
        path: ring.text(b"/srv/db"),
        range: Some((at * 4096, at * 4096 + 4095)),
        mode: Text::NONE,
        other: None,
        reason: Text::NONE,
        done: Text::NONE,
        hint: Text::NONE,
        nanoseconds: Some(2_000),
        call: Some(Call {
            what,
            mode,
            door: Door::Unknown,
            result,
        }),
    });
}

/// The same file, of which all calls were recorded.
pub fn recorded(folder: &Path) {
    let backup = ring(folder, 10, "backup");
    tell(backup, (10, 20), Kind::Collision, 1, "/srv/db");
    for n in 0..3 {
        call(backup, What::Read, Mode::BufferedRead, 4096, n);
    }
    call(backup, What::Write, Mode::DirectWrite, -28, 9);
}

pub fn traced(make: impl FnOnce(&Path)) -> Fixture {
    let fixture = Fixture::new();
    std::fs::create_dir(fixture.path("trace")).unwrap();
    make(&fixture.path("trace"));
    fixture
}
