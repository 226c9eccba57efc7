//! A lock table that is too small for what a program does: what doesn't fit is reported, once for each and with the
//! reason, the rest is fenced, and the program's data and exit code are what they are without the library.

use lock_table::{Geometry, Slot, Table};
use pagefence_tests::fence::{Fence, split_own_lines};
use pagefence_tests::places::main_place;
use pagefence_tests::programs::{Program, compile};
use pagefence_tests::run::{Outcome, run};
use pagefence_tests::seen::Seen;
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

/// The events of this kind whose reason has this in it.
fn told(seen: &Seen, kind: &str, reason: &str) -> usize {
    let traced = seen.told_why(kind, reason);
    // Whoever only looks at the terminal learns it too: once a file.
    let shown = |l: &&String| l.contains(kind) && l.contains(reason);
    let (_, own) = split_own_lines(&seen.outcome.stderr);
    let shown = own.iter().filter(shown).count();
    let right = shown <= traced && (shown > 0) == (traced > 0);
    assert!(right, "{shown} of {traced}: {}", seen.report());
    traced
}

/// Everything that the library complained about.
fn complaints(seen: &Seen) -> usize {
    seen.told("uncovered").len() + seen.told("table_error").len()
}

/// What the program shows is what it shows without the library.
fn is_as_bare(seen: &Seen, bare: &Outcome) {
    assert!(seen.outcome.hang.is_none(), "{}", seen.report());
    assert_eq!(seen.outcome.code(), bare.code(), "{}", seen.report());
    assert_eq!(seen.outcome.stdout, bare.stdout, "{}", seen.report());
}

fn bare(arguments: &[&str]) -> Outcome {
    let dir = main_place().directory();
    let outcome = run(program().on(dir.path()).args(arguments), LIMIT).expect("limits");
    assert_eq!(outcome.code(), 0, "{}", outcome.report());
    assert!(!outcome.stdout.contains("EDEADLK") && outcome.stdout.lines().count() > 1);
    outcome
}

fn fenced(fence: &Fence, arguments: &[&str]) -> Seen {
    let dir = main_place().directory();
    Seen::of(program().on(dir.path()).args(arguments), fence, LIMIT)
}

/// A table with room for so many: exactly so many fit and nothing is said; past them each one is told, and later,
/// when the many have gone, there is room again.
fn to_the_edge(what: &str, fits: u32, geometry: &Geometry, reason: &str) {
    for (n, too_many) in [(fits, 0), (fits + 3, 3)] {
        let arguments = [what, &n.to_string()];
        let seen = fenced(&small("", geometry), &arguments);
        is_as_bare(&seen, &bare(&arguments));
        let told = (told(&seen, "uncovered", reason), complaints(&seen));
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
    is_as_bare(&seen, &bare(&arguments));
    assert_eq!(complaints(&seen), 0, "{}", seen.report());
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
    is_as_bare(&seen, &bare(&arguments));
    let reason = format!(
        "lock table {}: all its process entries",
        fence.table().display()
    );
    assert_eq!(told(&seen, "table_error", &reason), 1, "{}", seen.report());
    assert_eq!(complaints(&seen), 1, "{}", seen.report());
    let (fence, ..) = crowded("[defaults]\non_table_error = \"refuse\"\n", &alone);
    let seen = fenced(&fence, &arguments);
    assert_ne!(seen.outcome.code(), 0, "{}", seen.report());
    assert!(!seen.outcome.stdout.contains("right"), "{}", seen.report());
    assert_eq!(
        told(&seen, "table_error", "lock table"),
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
        let told = told(&seen, "uncovered", "a forked child can't join: lock table");
        assert_eq!((told, complaints(&seen)), (1, 1), "{}", seen.report());
        seen
    };
    let bare = bare(&["forked"]);
    is_as_bare(&fenced_with("passthrough"), &bare);
    let seen = fenced_with("refuse");
    let said = seen.outcome.stdout.lines().map(|l| l.rsplit(": ").next());
    let said: Vec<_> = said.map(Option::unwrap_or_default).collect();
    let refused = ["ENOLCK", "1", "ENOLCK", "ENOLCK"];
    assert_eq!(said, refused, "{}", seen.report());
}

const NO_SLOT: &str = "no lock slot is free: the table is too small";

#[test]
fn no_slot_at_all_is_waited_for_and_then_reported() {
    // Not what it says of itself, which goes into a file, too.
    let policy = |on_lock_timeout: &str| {
        format!(
            "[defaults]\nmode = \"off\"\n\n[[rule]]\nname = \"calls\"\npath = [\"/**/calls\"]\nmode = \"enforce\"\n\
             on_lock_timeout = \"{on_lock_timeout}\"\n"
        )
    };
    let begun = Instant::now();
    let (fence, ..) = crowded(&policy("proceed"), &ENOUGH);
    let seen = fenced(&fence, &["calls"]);
    is_as_bare(&seen, &bare(&["calls"]));
    assert_eq!(told(&seen, "uncovered", NO_SLOT), 2, "{}", seen.report());
    // A second or two each.
    let took = begun.elapsed();
    assert!(
        took > Duration::from_secs(2) && took < Duration::from_secs(20),
        "{took:?}"
    );
    // What can't be covered may be refused also where who waits too long may proceed.
    for refusing in ["error", "proceed\"\non_uncovered = \"refuse"] {
        let (fence, ..) = crowded(&policy(refusing), &ENOUGH);
        let seen = fenced(&fence, &["calls"]);
        assert_eq!(told(&seen, "uncovered", NO_SLOT), 2, "{}", seen.report());
        let lines: Vec<_> = seen.outcome.stdout.lines().collect();
        assert!(
            matches!(lines[..], [a, b, c] if a.ends_with(": EDEADLK") && b.ends_with(": EDEADLK") && c.ends_with(": 0")),
            "{}",
            seen.report()
        );
    }
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
        is_as_bare(&seen, &bare(&["calls"]));
        assert_eq!(complaints(&seen), 0, "{}", seen.report());
        assert!(seen.outcome.elapsed > Duration::from_millis(300));
    });
}
