//! `pagefence probe`: filesystems that do different things are told apart by what they do, and nothing is left behind.

mod common;

use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Fixture, filesystem, is_root, mount, skip, stderr, stdout};
use serde_json::Value;

fn ask(fixture: &Fixture, arguments: &[&str]) -> Output {
    let mut command = fixture.pagefence();
    command.arg("probe").args(arguments).output().unwrap()
}

/// The answer of one run, with the exit code that is told for it.
fn probe(path: &Path) -> Value {
    let fixture = Fixture::new();
    let output = ask(&fixture, &["--json", path.to_str().unwrap()]);
    let answer: Value =
        serde_json::from_str(&stdout(&output)).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    assert_eq!(
        output.status.code(),
        Some(i32::from(answer["sound"] != true)),
        "{answer}"
    );
    answer
}

/// A directory of its own there.
fn within(place: PathBuf) -> tempfile::TempDir {
    tempfile::tempdir_in(place).unwrap()
}

fn finding<'a>(answer: &'a Value, about: &str) -> (&'a str, &'a str) {
    let sections = answer["sections"].as_array().unwrap().iter();
    let mut all = sections.flat_map(|section| section["findings"].as_array().unwrap());
    let found = all.find(|finding| finding["about"] == about).unwrap();
    (
        found["state"].as_str().unwrap(),
        found["what"].as_str().unwrap(),
    )
}

#[test]
fn filesystems_are_told_apart_by_what_they_do() {
    // Whether a direct write and a direct read go past the cache, what tells of a page that stays, the alignment.
    for (name, writes, reads, signal, least) in [
        ("ext4", true, true, Value::from("sync_file_range"), 512),
        ("xfs", true, true, Value::from("sync_file_range"), 512),
        ("btrfs", false, true, Value::Null, 1),
        ("btrfs-nocow", true, true, Value::from("sync_file_range"), 1),
        ("tmpfs", false, false, Value::Null, 1),
    ] {
        let Some(place) = filesystem(name) else {
            skip(&format!("no {name}: scripts/filesystems run -- ..."));
            continue;
        };
        let directory = within(place);
        let answer = probe(directory.path());
        let measured = &answer["measured"];
        assert_eq!(measured["takes_direct"], true, "{name}");
        assert_eq!(measured["write_bypasses"], writes, "{name}: {measured}");
        assert_eq!(measured["read_bypasses"], reads, "{name}: {measured}");
        assert_eq!(measured["error_signal"], signal, "{name}: {measured}");
        assert_eq!(
            measured["alignment"]["offset_write"], least,
            "{name}: {measured}"
        );
        assert_eq!(
            (&measured["dirty_page_replaced"], &answer["sound"]),
            (&Value::Bool(true), &Value::Bool(true)),
            "{name}: {answer}"
        );
        assert_eq!(
            measured["alignment"]["said"].is_null(),
            least == 1,
            "{name}: {measured}"
        );
        assert_eq!(
            measured["flags"]["DSYNC"]["direct"], "yes",
            "{name}: {measured}"
        );
        assert_eq!(directory.path().read_dir().unwrap().count(), 0, "{name}");
    }
}

#[test]
fn layers_and_what_takes_no_direct_io() {
    let Some(ext4) = filesystem("ext4").filter(|_| is_root()) else {
        return skip("only root can mount, and it takes an ext4: scripts/filesystems run -- ...");
    };
    let (fixture, upper) = (Fixture::new(), within(ext4));
    for name in ["low", "merged", "ram"] {
        std::fs::create_dir(fixture.path(name)).unwrap();
    }
    for name in ["up", "work"] {
        std::fs::create_dir(upper.path().join(name)).unwrap();
    }
    let up = upper.path().display();
    let options = format!(
        "lowerdir={},upperdir={up}/up,workdir={up}/work",
        fixture.path("low").display()
    );
    let _merged = mount(
        &["-t", "overlay", "-o", &options, "overlay"],
        fixture.path("merged"),
    );
    let layers = probe(&fixture.path("merged"));
    assert_eq!(layers["measured"]["write_bypasses"], true, "{layers}");
    assert_ne!(
        layers["measured"]["error_signal"], "sync_file_range",
        "{layers}"
    );
    let (state, what) = finding(&layers, "signal");
    assert_eq!(
        (state, what.contains("through the cache, with an fdatasync")),
        ("covered", true)
    );
    assert!(
        layers["verdict"]
            .as_str()
            .unwrap()
            .contains("in mixed use Pagefence makes direct writes go through it"),
        "{layers}"
    );

    let _ram = mount(&["-t", "ramfs", "none"], fixture.path("ram"));
    let ram = probe(&fixture.path("ram"));
    assert_eq!(
        (
            &ram["measured"]["takes_direct"],
            &ram["measured"]["write_bypasses"]
        ),
        (&Value::Bool(false), &Value::Null)
    );
    assert!(
        ram["verdict"]
            .as_str()
            .unwrap()
            .contains("take no O_DIRECT"),
        "{ram}"
    );
}

#[test]
fn a_file_is_not_touched() {
    let fixture = Fixture::new();
    std::fs::create_dir(fixture.path("d")).unwrap();
    let file = fixture.write("d/file", b"contents");
    let before = file.metadata().unwrap();
    let answer = probe(&file);
    let after = file.metadata().unwrap();
    assert_eq!(
        (before.mtime_nsec(), before.ctime_nsec(), before.ino()),
        (after.mtime_nsec(), after.ctime_nsec(), after.ino())
    );
    assert_eq!(std::fs::read(&file).unwrap(), b"contents");
    assert!(finding(&answer, "file").1.contains("was not touched"));
    let people = ask(&fixture, &[file.to_str().unwrap()]);
    assert_eq!(stdout(&people).lines().next(), answer["verdict"].as_str());
}

#[test]
fn nothing_is_left_behind_when_it_is_killed() {
    let fixture = Fixture::new();
    std::fs::create_dir(fixture.path("d")).unwrap();
    for after in [5, 30, 100, 300] {
        let mut command = fixture.pagefence();
        let mut running = command
            .args(["probe", "--json", "d"])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(after));
        let _ = running.kill();
        running.wait().unwrap();
        assert_eq!(fixture.path("d").read_dir().unwrap().count(), 0);
    }
}

#[test]
fn what_cant_be_tried() {
    let fixture = Fixture::new();
    let fails = |output: Output, code, said: &str| {
        assert_eq!(
            (output.status.code(), stdout(&output)),
            (Some(code), String::new()),
            "{}",
            stderr(&output)
        );
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    };
    fails(
        ask(&fixture, &["--json", "/dev/null"]),
        2,
        "neither a directory nor a regular file",
    );
    fails(
        ask(&fixture, &["--json", "missing"]),
        2,
        "missing: No such file",
    );
    fails(ask(&fixture, &[]), 2, "PATH");
    fails(
        ask(&fixture, &["--json", "/proc"]),
        125,
        "/proc can't be tried",
    );
    if !is_root() {
        return skip("another user's directory needs root");
    }
    const NOBODY: u32 = 65534;
    std::fs::create_dir(fixture.path("d")).unwrap();
    chown(fixture.path("d"), Some(0), Some(0)).unwrap();
    let mut command: Command = fixture.bare(fixture.own_command());
    let output = command
        .args(["probe", "--json", "d"])
        .uid(NOBODY)
        .gid(NOBODY)
        .output();
    fails(output.unwrap(), 125, "Permission denied");
}
