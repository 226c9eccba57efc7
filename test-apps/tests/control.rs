//! The oracles themselves: where operations take turns nothing may be found, with kills and without; and a
//! word that is wrong is found.

use pagefence_test_apps::content::{Model, fill, word};
use std::path::Path;
use std::process::Command;

const PROGRAMS: [(&str, &str); 16] = [
    ("mapped-store", env!("CARGO_BIN_EXE_mapped-store")),
    ("next-page", env!("CARGO_BIN_EXE_next-page")),
    ("stale-reader", env!("CARGO_BIN_EXE_stale-reader")),
    ("own-mapping", env!("CARGO_BIN_EXE_own-mapping")),
    ("appenders", env!("CARGO_BIN_EXE_appenders")),
    ("torn-records", env!("CARGO_BIN_EXE_torn-records")),
    ("layout", env!("CARGO_BIN_EXE_layout")),
    ("posix-locks", env!("CARGO_BIN_EXE_posix-locks")),
    ("innocent-fsync", env!("CARGO_BIN_EXE_innocent-fsync")),
    ("async-records", env!("CARGO_BIN_EXE_async-records")),
    ("async-appenders", env!("CARGO_BIN_EXE_async-appenders")),
    ("async-store", env!("CARGO_BIN_EXE_async-store")),
    ("copies", env!("CARGO_BIN_EXE_copies")),
    ("async-collisions", env!("CARGO_BIN_EXE_async-collisions")),
    ("streams", env!("CARGO_BIN_EXE_streams")),
    ("raw-records", env!("CARGO_BIN_EXE_raw-records")),
];

fn control(more: &[&str]) {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for (name, path) in PROGRAMS {
        let output = Command::new(path)
            .arg(dir)
            .args(["--seconds", "0.5", "--control", "serial"])
            .args(more)
            .output()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let said = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(77) {
            continue;
        }
        assert_eq!(
            output.status.code(),
            Some(0),
            "{name} {more:?}: {said}{complaint}"
        );
        let last = said.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("anomalies=0 persistent=0 ops="),
            "{name}: {last}"
        );
        assert!(!last.contains("ops=0 "), "{name} did nothing: {last}");
    }
}

#[test]
fn nothing_is_found_where_operations_take_turns() {
    control(&[]);
}

#[test]
fn nothing_is_found_where_operations_take_turns_and_processes_are_killed() {
    control(&["--kills"]);
}

#[test]
fn one_stale_word_is_found_unless_it_is_allowed() {
    let mut model = Model::new(4096, 1);
    model.write(1024, 512, 2);
    let mut bytes = vec![0; 4096];
    fill(&mut bytes, 0, 1);
    fill(&mut bytes[1024..1536], 1024, 2);
    assert!(model.check(0, &bytes, &|_, _| false).is_none());
    fill(&mut bytes[1200..1208], 1200, 1);
    let wrong = model
        .check(0, &bytes, &|_, _| false)
        .expect("the stale word");
    assert_eq!(
        (wrong.offset, wrong.expected, wrong.seen, wrong.count),
        (1200, word(1200, 2), word(1200, 1), 1)
    );
    assert!(
        model
            .check(0, &bytes, &|at, seen| seen == word(at, 1))
            .is_none()
    );
}

#[test]
fn the_list_names_every_program() {
    let list = include_str!("../apps.toml");
    let listed: Vec<&str> = list
        .lines()
        .filter_map(|line| line.strip_prefix("name = "))
        .map(|name| name.trim_matches('"'))
        .filter(|name| !name.contains(','))
        .collect();
    assert_eq!(listed, PROGRAMS.map(|(name, _)| name));
}
