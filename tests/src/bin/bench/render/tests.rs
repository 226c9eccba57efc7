//! What is kept in the repository is what `scripts/bench render` makes; and what the others write, it can read.

use super::results::read as results;
use super::*;
use crate::lock_table;
use crate::report::Report;
use serde_json::{Value, json};

/// The committed page, picture and part of the page on costs.
#[test]
fn what_is_kept_is_what_render_makes() {
    let made = Made::of(&results(&root().join(RESULTS)).unwrap()).unwrap();
    let costs = read(COSTS).unwrap();
    let with = costs::with(&costs, &made.costs).unwrap();
    for (name, kept, made) in [
        (PAGE, read(PAGE).unwrap(), made.page),
        (PICTURE, read(PICTURE).unwrap(), made.picture),
        (COSTS, costs, with),
    ] {
        assert!(
            kept == made,
            "{name} is not what the results say: scripts/bench render"
        );
    }
}

fn about(what: &str) -> Value {
    json!({
        "what": what, "date": "2026-01-02", "rounds": 2, "milliseconds_per_figure": 5,
        "machine": {
            "processor": "P", "processors": 2, "virtual_machine": true, "memory_gib": 8, "kernel": "6.18", "version": "v",
            "load_at_start": 0.1, "others_used_processors": 0.5
        },
        "filesystems": [{"name": "tmpfs", "kind": "tmpfs", "device": "none", "options": "rw"}]
    })
}

/// Two rounds: bare 100 ns, fenced so many.
fn runs(fenced: [f64; 2]) -> Value {
    json!({"summary": null, "bare_runs_ns": [100.0, 100.0], "fenced_runs_ns": fenced})
}

fn io() -> Value {
    let none = || json!({"summary": null, "bare_runs_ns": [], "fenced_runs_ns": []});
    let sleeps =
        || json!([{"switches": none(), "wakes": none()}, {"switches": none(), "wakes": none()}]);
    json!({
        "about": about("io"),
        "results": {
            "filesystems": [{
                "filesystem": "tmpfs",
                "figures": [
                    {"name": "pread-4k", "one_mode": runs([100.0, 102.0]), "mixed": runs([105.0, 155.0]), "sleeps": sleeps()},
                    {"name": "mmap-munmap", "one_mode": none(), "mixed": none(), "sleeps": sleeps()}
                ]
            }],
            "instructions": [{"name": "pread-4k", "bare": 10.0, "fenced": 30.0, "fenced_mixed": 1040.0}]
        }
    })
}

/// What is made of one file.
fn made(name: &str, content: &str) -> Result<Made, String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(name), content).unwrap();
    Made::of(&results(dir.path())?)
}

#[test]
fn figures_are_shown_with_their_targets() {
    let Made {
        page,
        picture,
        costs,
    } = made("io.json", &io().to_string()).unwrap();
    let line = "| `pread` 4 KiB, cached | 100 ns | 101 ns | 1.01 | 1.00..1.02 | 1.03 \
                | 100 ns | 130 ns | **1.30** | 1.05..1.55 | 1.08 |";
    assert!(page.contains(line), "{page}");
    assert!(
        page.contains("1 of the 2 figures that have a target keep it"),
        "{page}"
    );
    let missed = "| io: `pread` 4 KiB, cached | tmpfs | mixed | 1.30 | 1.05..1.55 | 1.08 |";
    assert!(page.contains(missed), "{page}");
    assert!(
        page.contains("| `pread` 4 KiB, cached | 10 | 30 (+20) | 1,040 (+1,030) |"),
        "{page}"
    );
    assert!(
        page.contains("2 processors P (8 GiB, a virtual machine), Linux 6.18"),
        "{page}"
    );
    assert!(page.contains("**disturbed**"), "{page}");
    assert!(!page.contains("mmap"), "it wasn't measured: {page}");
    assert!(
        page.contains("Not measured yet: `scripts/bench aio "),
        "{page}"
    );
    assert!(
        costs.contains("| `pread` 4 KiB, cached | - | - | 1.01 | **1.30** |"),
        "{costs}"
    );
    assert!(picture.contains("1.30\n</text>"), "{picture}");
}

#[test]
fn without_results_that_is_said() {
    let Made {
        page,
        picture,
        costs,
    } = Made::of(&All::default()).unwrap();
    assert_eq!(page.matches("Not measured yet").count(), 6);
    assert!(picture.contains("Nothing has been measured yet."));
    assert!(costs.starts_with("No results are kept"));
}

fn said(name: &str, content: &str) -> String {
    let made = made(name, content);
    made.err()
        .unwrap_or_else(|| panic!("{name} was taken: {content}"))
}

#[test]
fn what_is_not_understood_is_refused_with_its_place() {
    let broken = said("io.json", "{\n  \"about\": {,\n");
    assert!(
        broken.contains("/io.json:2:13: key must be a string"),
        "{broken}"
    );
    let unknown = [
        (&["about"][..], "about"),
        (&["about", "machine"], "machine"),
        (&["results"], "results"),
    ];
    for (path, name) in unknown {
        let mut io = io();
        let at = path.iter().fold(&mut io, |value, key| &mut value[key]);
        at["colour"] = json!(1);
        let text = serde_json::to_string_pretty(&io).unwrap();
        let line = text
            .lines()
            .position(|line| line.contains("colour"))
            .unwrap()
            + 1;
        let said = said("io.json", &text);
        assert!(
            said.contains(&format!("/io.json:{line}:")),
            "{name}: {said}"
        );
        assert!(said.contains("unknown field `colour`"), "{name}: {said}");
    }
    let mut odd = io();
    odd["results"]["filesystems"][0]["figures"][0]["mixed"]["bare_runs_ns"] = json!([1.0]);
    let odd = said("io.json", &serde_json::to_string_pretty(&odd).unwrap());
    assert!(
        odd.contains("/io.json:") && odd.contains("as many bare as fenced"),
        "{odd}"
    );
    let other = said("aio.json", &io().to_string());
    assert!(
        other.contains("/aio.json: these are results of io"),
        "{other}"
    );
}

/// The lock table's results are written by other types than they are read by.
#[test]
fn what_lock_table_writes_can_be_read() {
    let report = Report {
        about: serde_json::from_value(about("lock-table")).unwrap(),
        results: lock_table::All::of(lock_table::examples()),
    };
    let dir = tempfile::tempdir().unwrap();
    report.write(&dir.path().join("lock-table.json")).unwrap();
    let made = Made::of(&results(dir.path()).unwrap()).unwrap();
    assert!(
        made.page.contains("| 30.0 ns | 30.0 ns..30.0 ns | 1.50 |"),
        "{}",
        made.page
    );
    assert!(
        made.page.contains("at most 20 ns or 1.5 times"),
        "{}",
        made.page
    );
    assert!(
        made.costs.contains("| 30.0 ns | 30.0 ns..30.0 ns |"),
        "{}",
        made.costs
    );
}

/// What is written is read as what it was.
#[test]
fn series_come_back() {
    let mut series = crate::statistics::Series::default();
    series.push(Some(100.0), Some(150.0));
    series.push(Some(0.0), Some(0.0)); // No ratio, and so no number.
    let text = serde_json::to_string(&series).unwrap();
    let again: crate::statistics::Series = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), text);
}

#[test]
fn the_page_on_costs_keeps_all_but_its_part() {
    let text = format!("a\n{}\nold\n{}\nb\n", costs::BEGIN, costs::END);
    let with = costs::with(&text, "new\n").unwrap();
    assert_eq!(
        with,
        format!("a\n{}\nnew\n{}\nb\n", costs::BEGIN, costs::END)
    );
    assert_eq!(costs::with(&with, "new\n").unwrap(), with);
    assert!(costs::with("a\n", "new\n").is_err());
}
