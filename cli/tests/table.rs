//! `pagefence table`: made, listed, shown, repaired and removed.

mod common;

use std::ffi::CString;
use std::os::unix::fs::{FileExt, MetadataExt, chown};
use std::process::Output;

use common::{Fixture, Running, stderr, stdout};
use lock_table::{Geometry, Table};
use serde_json::Value;

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

fn ask(fixture: &Fixture, arguments: &[&str]) -> Output {
    let mut command = fixture.pagefence();
    command.arg("table").args(arguments).output().unwrap()
}

fn json(fixture: &Fixture, arguments: &[&str]) -> Value {
    let both: Vec<&str> = arguments.iter().chain(&["--json"]).copied().collect();
    let output = ask(fixture, &both);
    serde_json::from_str(&stdout(&output)).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

fn listed(fixture: &Fixture) -> Value {
    let path = fixture.path("table");
    let all = json(fixture, &["list"]);
    let mut tables = all["tables"].as_array().unwrap().iter();
    let found = tables.find(|table| table["table"] == path.to_str().unwrap());
    found.unwrap_or_else(|| panic!("{path:?} in {all}")).clone()
}

/// A fenced program that is killed in the middle of a call: listed as dead, shown, repaired; and the table removed only
/// when nobody who lives is in it.
#[test]
fn the_dead_are_cleaned_away_and_the_living_not() {
    let fixture = Fixture::new();
    let table = fixture.path("table");
    let holder = fixture.holder(&table, "data");
    let of = listed(&fixture);
    assert_eq!(
        (&of["state"], &of["living"], &of["dead"], &of["version"]),
        (
            &Value::from("in use"),
            &Value::from(1),
            &Value::from(0),
            &Value::from(lock_table::VERSION)
        )
    );
    let refused = ask(&fixture, &["remove", "table"]);
    assert_eq!(
        (refused.status.code(), stdout(&refused)),
        (Some(1), String::new())
    );
    let who = format!("{} is in use by python3", table.display());
    let said = stderr(&refused);
    assert!(
        said.contains(&who) && said.contains(&format!("(pid {})", holder.pid())),
        "{said}"
    );
    let nothing = json(&fixture, &["repair", "table"]);
    assert_eq!(nothing["processes"], 0);
    holder.signal("KILL");
    drop(holder);

    // Who keeps a mapping keeps the list from losing sight of it.
    let mut living = fixture.fenced(&table);
    let reads =
        "import sys; f = open('data'); f.read(1); print('here', flush=True); sys.stdin.read(1)";
    let mut living = Running::start(living.args(["-c", reads]));
    living.wait_for_line();
    living.signal("KILL");
    drop(living);
    let shown = json(&fixture, &["show", "table"]);
    assert_eq!(
        (&shown["used"]["processes"], &shown["state"]),
        (&Value::from(1), &Value::from("unused"))
    );
    let page = stdout(&ask(&fixture, &["show", "table"]));
    assert!(
        page.contains("1 dead process") && page.contains("ROOM FOR"),
        "{page}"
    );
    let output = ask(&fixture, &["repair", "table"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        stdout(&output).contains("cleaned up after 1 dead process: 0 ranges, 1 use"),
        "{output:?}"
    );
    let shown = json(&fixture, &["show", "table"]);
    assert_eq!(
        (&shown["used"]["processes"], &shown["used"]["uses"]),
        (&Value::from(0), &Value::from(0))
    );

    assert_eq!(json(&fixture, &["remove", "table"])["removed"], true);
    assert!(!table.exists());
    for command in ["remove", "repair", "show"] {
        let output = ask(&fixture, &[command, "table"]);
        assert_eq!(
            (output.status.code(), stdout(&output)),
            (Some(2), String::new())
        );
        assert!(
            stderr(&output).contains("there is none"),
            "{}",
            stderr(&output)
        );
    }
}

/// What a killed process was writing directly is told when the table goes that knows of it.
#[test]
fn a_write_that_nobody_checked_is_not_forgotten_silently() {
    let fixture = Fixture::new();
    let table = fixture.path("table");
    let name = CString::new(table.to_str().unwrap()).unwrap();
    create(&fixture, &[]);
    // SAFETY: the child calls nothing that another thread may have locked.
    let child = unsafe { libc::fork() };
    if child == 0 {
        if let Ok(table) = Table::attach(&name)
            && let Some(slot) = table.take_slot(1)
        {
            let claim = lock_table::Claim {
                file: lock_table::FileId { dev: 2049, ino: 77 },
                first: 4096,
                last: 8191,
                mode: lock_table::Mode::DirectWrite,
                atomic: false,
            };
            let _ = table.hold_now(slot, &claim);
        }
        // SAFETY: ends the child in the middle of it.
        unsafe { libc::_exit(0) };
    }
    // SAFETY: waits for our child.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    let output = ask(&fixture, &["remove", "table"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = stderr(&output);
    assert!(
        said.contains("bytes 4096 to 8191 of the file with inode 77 on device 8:1"),
        "{said}"
    );
}

#[test]
fn one_of_another_version_is_said_and_left() {
    let fixture = Fixture::new();
    let table = fixture.path("table");
    create(&fixture, &["--processes", "8"]);
    let file = std::fs::File::options().write(true).open(&table).unwrap();
    file.write_all_at(&3u32.to_ne_bytes(), 8).unwrap();
    let way_out = format!(
        "stop the fenced programs, then remove it: rm {}",
        table.display()
    );
    for command in ["show", "repair", "remove"] {
        let output = ask(&fixture, &[command, "table"]);
        assert_eq!(
            (output.status.code(), stdout(&output)),
            (Some(125), String::new())
        );
        let said = stderr(&output);
        assert!(
            said.contains("it is of version 3") && said.contains(&way_out),
            "{said}"
        );
    }
    assert!(table.exists());
    // In the list while somebody has it mapped as a process of that version would.
    let script = "import mmap, os, sys; fd = os.open('table', os.O_RDWR); m = mmap.mmap(fd, 4096, mmap.MAP_SHARED, prot=0); print('here', flush=True); sys.stdin.read(1)";
    let mut running = Running::start(fixture.bare("/usr/bin/python3").args(["-c", script]));
    running.wait_for_line();
    let of = listed(&fixture);
    assert_eq!(
        (&of["state"], &of["version"]),
        (&Value::from("unusable"), &Value::from(3))
    );
    assert_eq!(of["mapped_by"], serde_json::json!([running.pid()]));
    let output = ask(&fixture, &["list"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains(&way_out), "{output:?}");
}
