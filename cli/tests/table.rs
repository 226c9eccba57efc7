//! `pagefence table create`.

mod common;

use std::ffi::CString;
use std::os::unix::fs::{MetadataExt, chown};
use std::process::Output;

use common::{Fixture, stderr, stdout};
use lock_table::{Geometry, Table};

fn create(fixture: &Fixture, arguments: &[&str]) -> Output {
    let mut command = fixture.pagefence();
    command.args(["table", "create", "--table", "table"]);
    command.args(arguments).output().unwrap()
}

fn room(fixture: &Fixture) -> Geometry {
    let path = CString::new(fixture.path("table").to_str().unwrap()).unwrap();
    Table::inspect(&path).unwrap().snapshot().geometry
}

#[test]
fn a_table_has_the_room_that_was_asked_for() {
    let fixture = Fixture::new();
    let output = create(
        &fixture,
        &["--processes", "3000", "--threads", "70", "--json"],
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let asked = Geometry {
        processes: 3000,
        slots: 70,
        ..Geometry::default()
    };
    assert_eq!(room(&fixture), asked);
    let said: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(said["processes"], 3000);
    assert_eq!(said["threads"], 70);
    assert_eq!(
        said["bytes"],
        fixture.path("table").metadata().unwrap().len()
    );

    // It isn't replaced, and the way out is said.
    let output = create(&fixture, &[]);
    assert_eq!(output.status.code(), Some(1));
    for part in ["/table: it exists already", "rm /"] {
        assert!(stderr(&output).contains(part), "{}", stderr(&output));
    }
    assert_eq!(room(&fixture), asked);
}

#[test]
fn the_most_is_a_table_and_more_is_a_mistake() {
    let fixture = Fixture::new();
    let Geometry {
        processes, slots, ..
    } = Geometry::MOST;
    for (option, most) in [("--processes", processes), ("--threads", slots)] {
        for wrong in ["0".to_owned(), (u64::from(most) + 1).to_string()] {
            let output = create(&fixture, &[option, &wrong]);
            assert_eq!(output.status.code(), Some(2));
            let range = format!("{wrong} is not in 1..={most}");
            assert!(stderr(&output).contains(&range), "{}", stderr(&output));
            assert!(!fixture.path("table").exists());
        }
    }
    let output = create(&fixture, &["--processes", &processes.to_string()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(room(&fixture).processes, processes);
}

/// Nobody is told to remove what is no table.
#[test]
fn what_is_no_table_stays() {
    let fixture = Fixture::new();
    let refused = |why: &str| {
        let output = create(&fixture, &[]);
        assert_eq!(output.status.code(), Some(1));
        let said = stderr(&output);
        assert!(said.contains(why) && !said.contains("rm "), "{said}");
    };
    let letter = fixture.write("table", b"a letter");
    refused("it is not a lock table");
    std::fs::remove_file(&letter).unwrap();
    std::fs::create_dir(&letter).unwrap();
    refused("it is not a regular file");
}

/// Where `--help` says how to make one for a group.
#[test]
fn a_group_shares_one() {
    let fixture = Fixture::new();
    if chown(fixture.path(""), Some(0), Some(1234)).is_err() {
        let why = "skipped: only root can give a directory to a group";
        assert!(std::env::var_os("PAGEFENCE_TEST_STRICT").is_none(), "{why}");
        eprintln!("{why}");
        return;
    }
    fixture.chmod("", 0o2770);
    let output = create(&fixture, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let table = fixture.path("table").metadata().unwrap();
    assert_eq!((table.gid(), table.mode() & 0o7777), (1234, 0o660));
}
