//! Much of everything at once, by every door: `storm.c`, bare and fenced. It hangs nowhere, says the same, reads what it
//! wrote, and leaves nothing behind: no descriptors, no memory, nothing in the lock table.
//!
//! | what | how much |
//! |---|---|
//! | `threads` | 1,000 at once |
//! | `descriptors` | 10,000 |
//! | `forks` | 200 children, from four threads, beside three that go on; a fifth is killed, some fork again |
//! | `signals` | a handler that does I/O, 100 microseconds after the last one, beside a thread that goes on |
//! | `cancelled` | eight threads, 300 times |
//! | `ranges` | `close_range` over the numbers that four threads use, in a loop |
//! | `few` | RLIMIT_NOFILE 20, none free |
//!
//! Two rounds of each; with `--long` for 20 seconds, and on every filesystem.

use lock_table::Owner;
use pagefence_tests::fence::{ATOMIC, Fence, ROUTED, split_own_lines};
use pagefence_tests::long;
use pagefence_tests::places::{Place, places};
use pagefence_tests::programs::{Program, compile};
use pagefence_tests::state::snapshot;
use pagefence_tests::stepper::Stepper;
use std::collections::BTreeMap;
use std::fs::File;
use std::process::Command;
use std::sync::OnceLock;

fn program() -> &'static Program {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    PROGRAM.get_or_init(|| compile("storm", &["-pthread"]))
}

/// What a run said that must be as bare, and what may differ, by name.
#[derive(Debug)]
struct Said {
    lines: Vec<String>,
    counts: BTreeMap<String, f64>,
    complaints: String,
}

impl Said {
    fn count(&self, name: &str) -> f64 {
        *self
            .counts
            .get(name)
            .unwrap_or_else(|| panic!("{name}: {self:?}"))
    }
}

fn counts(line: &str) -> BTreeMap<String, f64> {
    let pairs = line.split(", ").filter_map(|pair| pair.split_once(' '));
    pairs
        .map(|(name, n)| (name.to_owned(), n.parse().expect("a number")))
        .collect()
}

fn one(place: &Place, what: &str, fence: Option<&Fence>) -> Said {
    let dir = place.directory();
    let complaints = dir.path().join("complaints");
    let seconds = if long() { "20" } else { "0" };
    let mut command = Command::new(&program().path);
    command.arg(dir.path()).arg(what).arg(seconds);
    command.stderr(File::create(&complaints).expect("a file of ours"));
    if let Some(fence) = fence {
        fence.apply(&mut command);
    }
    let mut storm = Stepper::start(&mut command);
    let (mut lines, mut may_differ) = (Vec::new(), BTreeMap::new());
    loop {
        let line = storm.line();
        match line.strip_prefix("# ") {
            Some(counted) => may_differ = counts(counted),
            None if line == "over" => break,
            None if line.is_empty() => {
                panic!("{what} on {}: it hangs, or is gone: {lines:?}", place.name)
            }
            None => lines.push(line),
        }
    }
    if let Some(fence) = fence {
        left_nothing(fence, storm.pid(), what);
    }
    assert_eq!(storm.end(), (0, String::new()), "{what} on {}", place.name);
    if let Some(fence) = fence {
        assert_eq!(fence.damage(), None, "{what} on {}", place.name);
    }
    let complaints = std::fs::read_to_string(complaints).expect("a file of ours");
    Said {
        lines,
        counts: may_differ,
        complaints,
    }
}

/// The program has closed its files and is about to end. (What dead children leave is cleaned away by who meets it.)
fn left_nothing(fence: &Fence, storm: u32, what: &str) {
    let left = snapshot(fence);
    let own = |owner: &Owner| owner.pid == storm;
    let mappings = left.mappings.iter().filter(|m| own(&m.owner));
    assert_eq!(mappings.count(), 0, "{what}: mappings are left");
    let uses = left.uses.iter().filter(|u| own(&u.owner) && u.bits != 0);
    let uses: Vec<_> = uses.collect();
    // Its complaints go into a file, too.
    assert!(uses.len() <= 1, "{what}: uses are left: {uses:?}");
    let held = left.slots.iter().filter(|s| own(&s.owner));
    assert_eq!(held.count(), 0, "{what}: ranges are held");
}

fn alike(what: &str) {
    let everywhere = places().into_iter();
    let here = |place: &Place| long() || ["ext4", "tmpfs"].contains(&place.name.as_str());
    for place in everywhere.filter(here) {
        let bare = one(&place, what, None);
        let mut fences = vec![("fenced", Fence::new())];
        if long() {
            fences.push(("atomic", Fence::with_policy(ATOMIC)));
            fences.push(("routed", Fence::with_policy(ROUTED)));
        }
        for (label, fence) in fences {
            let fenced = one(&place, what, Some(&fence));
            let title = format!("{what}, {label}, on {}", place.name);
            eprintln!("{title}: {:?} bare, {:?}", bare.counts, fenced.counts);
            assert_eq!(bare.lines, fenced.lines, "{title}: {}", fenced.complaints);
            assert_eq!(
                fenced.count("wrong"),
                0.0,
                "{title}: data that is another's"
            );
            for (name, most) in [("numbers", 2.0), ("memory", 4096.0)] {
                let more = fenced.count(name) - bare.count(name);
                assert!(more <= most, "{title}: {more} more {name}");
            }
            complaints(what, &title, &fenced);
        }
    }
}

/// What the library may say: a handler's call that another thread's waits for, behind the handler's own thread.
fn complaints(what: &str, title: &str, fenced: &Said) {
    let (theirs, mut own) = split_own_lines(&fenced.complaints);
    assert_eq!(theirs, "", "{title}");
    own.retain(|line| what != "signals" || !line.contains(" deadlock "));
    assert!(own.is_empty(), "{title}: the library says: {own:?}");
    let (refused, handled) = (fenced.count("refused"), fenced.count("handled"));
    assert!(
        refused <= handled / 100.0 + 3.0,
        "{title}: {refused} of {handled} signals"
    );
}

macro_rules! storms {
    ($($name:ident)*) => { $( #[test] fn $name() { alike(stringify!($name)); } )* };
}

storms! { threads descriptors forks signals cancelled ranges few }
