//! A lock table that is too small for what a program does: what doesn't fit is reported, once for each and with the
//! reason, the rest is fenced, and the program's data and exit code are what they are without the library.

use lock_table::{Geometry, Slot, Table};
use pagefence_tests::fence::{Fence, split_own_lines};
use pagefence_tests::places::main_place;
use pagefence_tests::programs::{Program, compile};
use pagefence_tests::run::{Outcome, run};
use serde_json::Value;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
const ENOUGH: Geometry = Geometry {
    processes: 16,
    slots: 64,
    requests: 8,
    mappings: 256,
    uses: 256,
};

fn program() -> &'static Program {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    PROGRAM.get_or_init(|| compile("limits", &[]))
}

/// A fence with a table of this size.
fn small(policy: &str, geometry: &Geometry) -> Fence {
    let fence = Fence::with_policy(policy);
    Table::create(&fence.table_name(), geometry).expect("a small table");
    fence
}

/// What a program did and what the library said about it.
struct Seen {
    outcome: Outcome,
    events: Vec<Value>,
}

impl Seen {
    /// The events of this kind whose reason begins like this.
    fn told(&self, kind: &str, reason: &str) -> usize {
        let is = |e: &&Value| {
            let text = |name: &str| e[name].as_str().unwrap_or_default();
            text("event") == kind && text("reason").starts_with(reason)
        };
        let traced = self.events.iter().filter(is).count();
        // Whoever only looks at the terminal learns it too: once a file.
        let shown = |l: &&String| l.contains(kind) && l.contains(reason);
        let (_, own) = split_own_lines(&self.outcome.stderr);
        let shown = own.iter().filter(shown).count();
        let right = shown <= traced && (shown > 0) == (traced > 0);
        assert!(right, "{shown} of {traced}: {}", self.report());
        traced
    }

    /// Everything that the library complained about.
    fn complaints(&self) -> usize {
        let is = |e: &&Value| matches!(e["event"].as_str(), Some("uncovered" | "table_error"));
        self.events.iter().filter(is).count()
    }

    fn report(&self) -> String {
        let lines = self.events.iter().map(|e| format!("{e}\n"));
        format!("{}\n{}", self.outcome.report(), lines.collect::<String>())
    }

    /// What the program shows is what it shows without the library.
    fn is_as_bare(&self, bare: &Outcome) {
        assert!(self.outcome.hang.is_none(), "{}", self.report());
        assert_eq!(self.outcome.code(), bare.code(), "{}", self.report());
        assert_eq!(self.outcome.stdout, bare.stdout, "{}", self.report());
    }
}

fn with(fence: Option<&Fence>, arguments: &[&str]) -> Outcome {
    let dir = main_place().directory();
    let mut command = Command::new(&program().path);
    command.arg(dir.path()).args(arguments);
    if let Some(fence) = fence {
        fence.apply(&mut command);
        command.env("PAGEFENCE_TRACE", fence.table().with_file_name("trace"));
    }
    run(&mut command, LIMIT).expect("limits")
}

fn bare(arguments: &[&str]) -> Outcome {
    let outcome = with(None, arguments);
    assert_eq!(outcome.code(), 0, "{}", outcome.report());
    assert!(!outcome.stdout.contains("EDEADLK") && outcome.stdout.lines().count() > 1);
    outcome
}

fn fenced(fence: &Fence, arguments: &[&str]) -> Seen {
    let outcome = with(Some(fence), arguments);
    let trace = fence.table().with_file_name("trace");
    let lines = std::fs::read_to_string(trace).unwrap_or_default();
    let parse = |l| serde_json::from_str(l).expect("a line of the trace is JSON");
    Seen {
        outcome,
        events: lines.lines().map(parse).collect(),
    }
}

/// A table with room for so many: exactly so many fit and nothing is said; past them each one is told, and later,
/// when the many have gone, there is room again.
fn to_the_edge(what: &str, fits: u32, geometry: &Geometry, reason: &str) {
    for (n, too_many) in [(fits, 0), (fits + 3, 3)] {
        let arguments = [what, &n.to_string()];
        let seen = fenced(&small("", geometry), &arguments);
        seen.is_as_bare(&bare(&arguments));
        let told = (seen.told("uncovered", reason), seen.complaints());
        assert_eq!(told, (too_many, too_many), "{}", seen.report());
    }
}

#[test]
fn processes() {
    let geometry = Geometry {
        processes: 5, // one is the parent
        ..ENOUGH
    };
    to_the_edge(
        "processes",
        4,
        &geometry,
        "a forked child can't join: lock table",
    );
}

#[test]
fn mappings() {
    let geometry = Geometry {
        mappings: 7,
        ..ENOUGH
    };
    to_the_edge(
        "mappings",
        7,
        &geometry,
        "the table's register of mappings is full",
    );
}

#[test]
fn files() {
    let geometry = Geometry { uses: 6, ..ENOUGH };
    to_the_edge(
        "files",
        6,
        &geometry,
        "the table's register of uses is full",
    );
}

/// More threads than slots: who finds none waits until another has made his call.
#[test]
fn threads() {
    let geometry = Geometry { slots: 4, ..ENOUGH };
    let arguments = ["threads", "12"];
    let seen = fenced(&small("", &geometry), &arguments);
    seen.is_as_bare(&bare(&arguments));
    assert_eq!(seen.complaints(), 0, "{}", seen.report());
}

/// A table in which this process has taken every place of its own.
fn crowded(policy: &str, geometry: &Geometry) -> (Fence, Table, Vec<Slot>) {
    let fence = small(policy, geometry);
    let table = Table::attach(&fence.table_name()).expect("a small table");
    let slots = std::iter::from_fn(|| table.take_slot(1)).collect();
    (fence, table, slots)
}

#[test]
fn a_program_that_finds_no_room_for_its_process() {
    let alone = Geometry {
        processes: 1,
        ..ENOUGH
    };
    let arguments = ["files", "3"];
    let (fence, ..) = crowded("[defaults]\non_table_error = \"passthrough\"\n", &alone);
    let seen = fenced(&fence, &arguments);
    seen.is_as_bare(&bare(&arguments));
    let reason = format!(
        "lock table {}: all its process entries",
        fence.table().display()
    );
    assert_eq!(seen.told("table_error", &reason), 1, "{}", seen.report());
    assert_eq!(seen.complaints(), 1, "{}", seen.report());
    let (fence, ..) = crowded("[defaults]\non_table_error = \"refuse\"\n", &alone);
    let seen = fenced(&fence, &arguments);
    assert_ne!(seen.outcome.code(), 0, "{}", seen.report());
    assert!(!seen.outcome.stdout.contains("right"), "{}", seen.report());
    assert_eq!(
        seen.told("table_error", "lock table"),
        1,
        "{}",
        seen.report()
    );
}

/// A program that has room and forks a child that has none: as the policy says, too, but for what is open already.
#[test]
fn a_forked_child_that_finds_no_room() {
    let alone = Geometry {
        processes: 1,
        ..ENOUGH
    };
    let fenced_with = |on_table_error: &str| {
        let policy = format!("[defaults]\non_table_error = \"{on_table_error}\"\n");
        let seen = fenced(&small(&policy, &alone), &["forked"]);
        let told = seen.told("uncovered", "a forked child can't join: lock table");
        assert_eq!((told, seen.complaints()), (1, 1), "{}", seen.report());
        seen
    };
    let bare = bare(&["forked"]);
    fenced_with("passthrough").is_as_bare(&bare);
    let seen = fenced_with("refuse");
    let said = seen.outcome.stdout.lines().map(|l| l.rsplit(": ").next());
    let said: Vec<_> = said.map(Option::unwrap_or_default).collect();
    let refused = ["ENOLCK", "1", "ENOLCK", "ENOLCK"];
    assert_eq!(said, refused, "{}", seen.report());
}

const NO_SLOT: &str = "no lock slot is free: the table is too small";

#[test]
fn no_slot_at_all_is_waited_for_and_then_reported() {
    let begun = Instant::now();
    let (fence, ..) = crowded("[defaults]\non_lock_timeout = \"proceed\"\n", &ENOUGH);
    let seen = fenced(&fence, &["calls"]);
    seen.is_as_bare(&bare(&["calls"]));
    assert_eq!(seen.told("uncovered", NO_SLOT), 2, "{}", seen.report());
    // A second or two each.
    let took = begun.elapsed();
    assert!(
        took > Duration::from_secs(2) && took < Duration::from_secs(20),
        "{took:?}"
    );
    let (fence, ..) = crowded("[defaults]\non_lock_timeout = \"error\"\n", &ENOUGH);
    let seen = fenced(&fence, &["calls"]);
    assert_eq!(seen.told("uncovered", NO_SLOT), 2, "{}", seen.report());
    let lines: Vec<_> = seen.outcome.stdout.lines().collect();
    assert!(
        matches!(lines[..], [a, b, c] if a.ends_with(": EDEADLK") && b.ends_with(": EDEADLK") && c.ends_with(": 0")),
        "{}",
        seen.report()
    );
}

#[test]
fn a_slot_that_comes_back_in_time_is_taken() {
    program(); // it must be there before the time runs
    let (fence, table, slots) = crowded("", &ENOUGH);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(500));
            table.give_slot(slots[20]);
        });
        let seen = fenced(&fence, &["calls"]);
        seen.is_as_bare(&bare(&["calls"]));
        assert_eq!(seen.complaints(), 0, "{}", seen.report());
        assert!(seen.outcome.elapsed > Duration::from_millis(300));
    });
}
