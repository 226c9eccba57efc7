//! What a copy holds, as the lock table has it, and what a pipe keeps of a file. Programs that copy show the same without it,
//! except when chance has it otherwise.

use lock_table::{SlotInfo, SlotState};
use pagefence_tests::fence::{self, Fence};
use pagefence_tests::places::main_place;
use pagefence_tests::programs::compile;
use pagefence_tests::run::{Outcome, run};
use pagefence_tests::state::{id_of, snapshot};
use std::path::Path;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
const PAGE: u64 = 4096;
const UNIT: u64 = 2 << 20;

fn start(what: &str, dir: &Path, fence: Option<&Fence>) -> Outcome {
    let program = compile("copied_held", &[]);
    let mut command = program.on(dir);
    command.arg(what);
    fence::apply(fence, &mut command);
    run(&mut command, LIMIT).expect("a program of ours")
}

/// Tries until there is something.
fn soon<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begun.elapsed() < LIMIT, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A copy waits for what it reads and for what it writes together, with one ticket: two that cross never wait for each
/// other. What it writes is held as wide as a folio that it may dirty.
#[test]
fn a_copy_waits_for_both_sides_at_once() {
    for held in ["f", "g"] {
        let dir = main_place().directory();
        let fence = Fence::new();
        let (waiting, outcome) = std::thread::scope(|scope| {
            let running = scope.spawn(|| start("copy", dir.path(), Some(&fence)));
            soon("it is never ready", || {
                dir.path().join("ready").exists().then_some(())
            });
            let (table, slot, _) = fence.hold_whole(&dir.path().join(held));
            std::fs::write(dir.path().join("held"), "").expect("a file");
            let both = || {
                let all = snapshot(&fence).slots.into_iter();
                let all: Vec<SlotInfo> = all.filter(|s| s.state == SlotState::Waiting).collect();
                (all.len() == 2).then_some(all)
            };
            let waiting = soon("it doesn't wait for two", both);
            table.release(slot);
            (waiting, running.join().expect("the program's thread"))
        });
        assert!(outcome.stdout.ends_with(": 8192\n"), "{}", outcome.report());
        let of = |name: &str| {
            let id = id_of(&dir.path().join(name));
            let found = waiting.iter().find(|slot| slot.claim.file == id);
            found.unwrap_or_else(|| panic!("nothing of {name}: {waiting:?}"))
        };
        let (from, to) = (of("f"), of("g"));
        let range = |slot: &SlotInfo| (slot.claim.first, slot.claim.last);
        assert_eq!(range(from), (3 * PAGE + 5, 5 * PAGE + 4), "{waiting:?}");
        assert_eq!(range(to), (0, UNIT - 1), "{waiting:?}");
        assert_eq!(from.ticket, to.ticket, "{waiting:?}");
    }
}

/// A page of a file that went into a pipe stays the file's: a later write shows there.
#[test]
fn what_a_pipe_has_of_a_file_stays_as_it_was_sent() {
    let bare = said_of("pipe", None);
    assert!(bare.ends_with("sent: n\nspliced: n\n"), "bare: {bare}");
    let fenced = said_of("pipe", Some(&Fence::new()));
    assert!(fenced.ends_with("sent: .\nspliced: .\n"), "{fenced}");
}

/// However many threads wait for full sockets at once, each with bytes of its own.
#[test]
fn what_many_sockets_have_of_a_file_stays_as_it_was_sent() {
    let bare = said_of("sockets", None);
    assert!(bare.ends_with("sent to 100, changed in 100\n"), "{bare}");
    let fenced = said_of("sockets", Some(&Fence::new()));
    assert!(fenced.ends_with("sent to 100, changed in 0\n"), "{fenced}");
}

fn said_of(what: &str, fence: Option<&Fence>) -> String {
    let dir = main_place().directory();
    let outcome = start(what, dir.path(), fence);
    assert_eq!(outcome.code(), 0, "{}", outcome.report());
    assert_eq!(outcome.stderr, "", "{}", outcome.report());
    outcome.stdout
}
