//! What a preloaded library meets in real programs: small plain C programs, each of which shows
//! one hazard and says what it sees. Bare and fenced they must say the same, on every filesystem.

use pagefence_tests::compare::Comparison;
use pagefence_tests::fence::{self, Fence, every_way, split_own_lines};
use pagefence_tests::places::{Place, main_place, places};
use pagefence_tests::programs::{Program, compile};
use pagefence_tests::run::run;
use pagefence_tests::{is_root, long, skip};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use summary::Counter;

/// What the library says of a program, where it has to.
fn said(name: &str) -> &'static [&'static str] {
    match name {
        // A child that has lost the rights to open the table.
        "less_rights" => &["uncovered can't join"],
        // A child for which no number is left.
        "child_without_numbers" => &["can't join Too many open files"],
        // The program that the last descriptor is used up for has none left to join with.
        "nofile20" => &[
            "can't join Too many open files",
            "table_error Too many open files",
        ],
        _ => &[],
    }
}

/// Bare and fenced alike, on these filesystems, started by `wrapper` if there is one.
fn alike_on(places: &[Place], wrapper: &[&Path], program: &Program, name: &str) {
    for place in places {
        let seen = Comparison::new(name)
            .limit(60)
            .expect_said(said(name))
            .check(place, &every_way(), |dir| {
                let all: Vec<&Path> = wrapper
                    .iter()
                    .copied()
                    .chain([program.path.as_path(), dir])
                    .collect();
                let mut command = Command::new(all[0]);
                command.args(&all[1..]);
                command
            });
        assert_eq!(
            seen.code(),
            0,
            "{name} bare on {}: {}",
            place.name,
            seen.report()
        );
        assert!(!seen.stdout.is_empty(), "{name} said nothing");
    }
}

fn alike_through(wrapper: &[&Path], program: &Program, name: &str) {
    alike_on(&places(), wrapper, program, name);
}

fn alike(name: &str) {
    alike_through(&[], &compile(name, &[]), name);
}

/// Takes seconds, and what it shows has little to do with the filesystem: on one of them, and on
/// all only in the long run.
fn alike_on_one(name: &str) {
    let places = if long() { places() } else { vec![main_place()] };
    alike_on(&places, &[], &compile(name, &[]), name);
}

macro_rules! tests {
    ($how:ident: $($name:ident)*) => { $( #[test] fn $name() { $how(stringify!($name)); } )* };
}

tests! { alike:
    vfork_exec close_lowest dup_modes setfl_direct no_name append rwf scm_rights shared_offset
    number_reuse efault misaligned nofile20 posix_locks senseless fork_in_handler
    access_modes child_without_numbers by_number copies memory_calls streams terminals
}
tests! { alike_on_one: fork_threads signals cancel threads descriptors limit_lowered between handler_late first_call }

/// With a fortified build and large-file names the same calls go through other symbols.
#[test]
fn other_symbols() {
    for (name, flags) in [
        ("misaligned", &["-O2", "-D_FORTIFY_SOURCE=2"] as &[&str]),
        ("rwf", &["-D_FILE_OFFSET_BITS=64"]),
        (
            "append",
            &["-D_FILE_OFFSET_BITS=64", "-O2", "-D_FORTIFY_SOURCE=2"],
        ),
    ] {
        alike_through(&[], &compile(name, flags), name);
    }
}

#[test]
fn calls_refused_by_seccomp() {
    let wrapper = compile("without_calls", &[]);
    for (error, names) in [
        (libc::ENOSYS, ["no_name", "setfl_direct"]),
        (libc::EPERM, ["fork_threads", "vfork_exec"]),
    ] {
        for name in names {
            let number = error.to_string();
            alike_through(
                &[&wrapper.path, Path::new(&number)],
                &compile(name, &[]),
                name,
            );
        }
    }
}

#[test]
fn proc_is_not_there() {
    if !is_root() {
        return skip("unmounting /proc in a namespace needs root");
    }
    let wrapper = compile("without_proc", &[]);
    for name in ["no_name", "misaligned", "close_lowest", "nofile20"] {
        alike_through(&[&wrapper.path], &compile(name, &[]), name);
    }
}

#[test]
fn chroot_and_setuid() {
    if !is_root() {
        return skip("chroot and setuid need root");
    }
    alike("less_rights");
}

/// The lock table is more than an ordinary user may lock, and none of what the program asks to be locked.
#[test]
fn memory_is_locked() {
    if !is_root() {
        return skip("becoming a user with a limit needs root");
    }
    alike_on_one("mlockall");
}

/// Fenced, an environment that the program built itself still has the preload and our variables.
#[test]
fn exec_keeps_the_preload() {
    let (program, fence, place) = (compile("exec_environment", &[]), Fence::new(), main_place());
    let dir = place.directory();
    let mut command = program.on(dir.path());
    fence.apply(&mut command);
    let outcome = run(&mut command, Duration::from_secs(30)).expect("a program of ours");
    assert_eq!(outcome.code(), 0, "{}", outcome.report());
    let (built, removed) = outcome
        .stdout
        .split_once("--- removed on purpose\n")
        .expect("the last part");
    for part in built.split("--- ").skip(1) {
        assert!(
            part.contains("BUILT=1\n"),
            "the program's own variable is gone: {part}"
        );
        for (name, value) in fence.environment() {
            let line = format!("{name}={}\n", value.display());
            assert!(
                part.contains(&line),
                "{name} is not in the environment of {part}"
            );
        }
    }
    assert!(
        !removed.contains("LD_PRELOAD"),
        "removed on purpose, and back: {removed}"
    );
}

/// Both who fork in a handler while they wait for a range get it, one after the other, and nobody else is the worse.
#[test]
fn fork_in_handler_while_waiting() {
    let program = compile("fork_in_handler", &[]);
    let (fence, dir) = (Fence::new(), main_place().directory());
    let file = dir.path().join("held");
    std::fs::write(&file, [b'.'; 8192]).expect("a file of ours");
    let (table, slot, _) = fence.hold_whole(&file);
    let mut command = program.on(dir.path());
    command.arg("held");
    fence.apply(&mut command);
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            // The handler has run at 0.3 s. Not a round time: those who wait look again at some of these.
            std::thread::sleep(Duration::from_millis(1_430));
            table.release(slot);
        });
        run(&mut command, Duration::from_secs(60)).expect("a program of ours")
    });
    let said =
        "child: 4096, then 4096 and 4096\nthe child: exit 0\nparent: 4096, then 4096 and 4096\n";
    assert_eq!(outcome.stdout, said, "{}", outcome.report());
    assert_eq!(outcome.stderr, "", "{}", outcome.report());
    assert!(
        outcome.elapsed > Duration::from_millis(1_400),
        "it didn't wait"
    );
    assert!(!table.is_poisoned());
}

/// Wherever a mapping has moved to, direct writes beside it lose nothing.
#[test]
fn mapping_moves() {
    let program = compile("mapping_moves", &[]);
    let mut lost_bare = 0;
    for place in places() {
        let bare = anomalies(&program, &place, None);
        eprintln!("mapping_moves on {}: {bare} lost bare", place.name);
        lost_bare += if ["ext4", "xfs"].contains(&place.name.as_str()) {
            bare
        } else {
            0
        };
        for (label, fence) in every_way()
            .into_iter()
            .filter(|(label, _)| *label != "observed")
        {
            let fenced = anomalies(&program, &place, Some(&fence));
            assert_eq!(fenced, 0, "{label}: lost on {}", place.name);
            // Chance may be kind to a run that isn't fenced; that the mapping was known shows in what was done.
            assert!(
                fence.count(Counter::FallbackMapped) > 0,
                "{label}: nothing fell back on {}",
                place.name
            );
        }
    }
    if std::env::var("PAGEFENCE_TEST_FILESYSTEMS").is_ok() {
        // Chance decides a race, and other tests run beside it: up to twenty throws more.
        let ext4 = main_place();
        for _ in 0..20 {
            if lost_bare == 0 {
                lost_bare += anomalies(&program, &ext4, None);
            }
        }
        assert!(
            lost_bare > 0,
            "nothing was lost on bare ext4 and xfs: this proves nothing"
        );
    }
}

fn anomalies(program: &Program, place: &Place, fence: Option<&Fence>) -> u64 {
    let dir = place.directory();
    let mut command = program.on(dir.path());
    fence::apply(fence, &mut command);
    let outcome = run(&mut command, Duration::from_secs(60)).expect("a program of ours");
    let (stderr, _) = split_own_lines(&outcome.stderr);
    eprint!("{stderr}");
    let count = outcome
        .stdout
        .lines()
        .last()
        .and_then(|line| line.strip_prefix("anomalies="));
    let count = count
        .and_then(|n| n.parse().ok())
        .filter(|_| outcome.code() == 0);
    count.unwrap_or_else(|| panic!("mapping_moves on {}: {}", place.name, outcome.report()))
}
