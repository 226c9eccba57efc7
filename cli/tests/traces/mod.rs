//! Traces that tests of `pagefence report` read, made as the library makes them.

// Each test file is a program of its own and uses a part.
#![allow(dead_code)]

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::Value;
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
        contents: None,
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
        contents: None,
    });
}

/// A call that was recorded: a page of the file.
pub fn call(ring: Ring, what: What, mode: Mode, result: i64, at: u64) {
    ring.write(&Record {
        file: Some((1, 7)),
        path: ring.text(b"/srv/db"),
        range: Some((at * 4096, at * 4096 + 4095)),
        nanoseconds: Some(2_000),
        call: Some(Call {
            what,
            mode,
            door: Door::Unknown,
            result,
        }),
        ..Record::of(Kind::Call, 1_000_000_000 + at * 10_000, 10, 10)
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

pub fn as_its_schema_says(schema: &Value, said: &Value) {
    check(schema, schema, said, "");
}

/// Types, required and further keys, lists and references: what our schema uses.
fn check(schema: &Value, root: &Value, value: &Value, at: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let to = root.pointer(name.strip_prefix('#').unwrap());
        return check(to.unwrap(), root, value, at);
    }
    let right = match schema["type"].as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        other => panic!("{at}: a type {other}"),
    };
    assert!(right, "{at}: {value} is no {}", schema["type"]);
    if let Some(fields) = value.as_object() {
        for (key, field) in fields {
            let known = &schema["properties"][key];
            assert!(known.is_object(), "{at}: {key} is not in the schema");
            check(known, root, field, &format!("{at}/{key}"));
        }
        for key in schema["required"].as_array().unwrap() {
            assert!(fields.contains_key(key.as_str().unwrap()), "{at}: no {key}");
        }
        assert_eq!(schema["additionalProperties"], false, "{at}");
    }
    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
        check(&schema["items"], root, item, &format!("{at}/{n}"));
    }
}
