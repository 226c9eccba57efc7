//! How much stack a hook needs, on every path: programs on alternate stacks, smallest threads, clone children.
//!
//! A hook runs on whatever stack the program has there. It took 11 KiB of it to tell an event, 12 to find out about a
//! file, 11 to exec: handlers and threads with small stacks were killed, or wrote over what lies below their stack.
//! The budget is [`BUDGET`], whatever a call has to do.

use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSymbol, SymbolKind};
use pagefence_tests::artefacts;
use pagefence_tests::fence::{ATOMIC, Fence, OBSERVE, PAST, ROUTED, found};
use pagefence_tests::places::main_place;
use pagefence_tests::programs::{Program, compile};
use pagefence_tests::run::{Outcome, run};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// What a hook may take of its caller's stack, beyond what the call takes without it.
const BUDGET: u64 = 3 * 1024;

/// Rules whose globs take some matching, and one file that somebody else holds: nobody waits long for that.
const RULES: &str = r#"
[[rule]]
name = "held"
path = ["/**/held"]
lock_timeout = "2ms"
on_lock_timeout = "proceed"

[[rule]]
name = "never"
path = ["/**/a*/**/b*/**/*c*d*e*", "/**/[a-f]*/{x,y,z}*/**"]
program = ["nobody-is-called-that"]
filesystem = ["ext4", "xfs", "btrfs", "tmpfs"]
isolation = "atomic"
"#;

/// Everything is told, by every way there is.
fn tell_all(fence: &Fence, command: &mut Command) {
    fence.apply_traced(command);
    command.env("PAGEFENCE_LOG", "debug");
}

fn told(fence: &Fence) -> String {
    pagefence_tests::fence::lines_of(&fence.trace())
}

// ---- programs with small stacks

fn small_stack() -> &'static Program {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    PROGRAM.get_or_init(|| compile("small_stack", &[]))
}

fn on_small_stack(fence: Option<&Fence>, what: &[&str]) -> Outcome {
    let dir = main_place().directory();
    let mut command = Command::new(&small_stack().path);
    command.arg(what[0]).arg(dir.path()).args(&what[1..]);
    if let Some(fence) = fence {
        tell_all(fence, &mut command);
    }
    run(&mut command, Duration::from_secs(60)).expect("small_stack")
}

/// Bare and fenced, with everything told, the program says the same; what the fence had to tell.
fn alike(what: &str) -> String {
    let bare = on_small_stack(None, &[what]);
    assert_eq!(bare.code(), 0, "{what} bare: {}", bare.report());
    assert!(!bare.stdout.is_empty() && !bare.stdout.contains("-1"));
    let fence = Fence::with_policy(RULES);
    let fenced = on_small_stack(Some(&fence), &[what]);
    assert_eq!(fenced.code(), 0, "{what} fenced: {}", fenced.report());
    assert_eq!(fenced.stdout, bare.stdout, "{what}: {}", fenced.report());
    assert_eq!(fence.damage(), None);
    assert!(fence.table().exists(), "{what} joined no table");
    told(&fence)
}

#[test]
fn a_handler_on_an_alternate_stack_opens_and_writes() {
    alike("open_in_handler");
}

#[test]
fn a_handler_on_an_alternate_stack_mixes_modes_for_the_first_time() {
    assert!(alike("mix_in_handler").contains("\"event\":\"mixed\""));
}

#[test]
fn the_smallest_thread_mixes_modes() {
    assert!(alike("mix_in_thread").contains("\"event\":\"mixed\""));
}

/// Also with more variables than anybody would reserve room for: every one of them arrives, and ours.
#[test]
fn other_programs_are_started_from_small_stacks() {
    for what in [
        "exec_in_thread",
        "exec_in_clone",
        "exec_in_vfork",
        "spawn_in_thread",
    ] {
        for count in ["2", "1100", "5000"] {
            let bare = on_small_stack(None, &[what, count]);
            assert_eq!(bare.code(), 0, "{what} bare: {}", bare.report());
            assert!(bare.stdout.contains(&format!("{count} variables\n")));
            let fence = Fence::with_policy(RULES);
            let fenced = on_small_stack(Some(&fence), &[what, count]);
            let mut lines: Vec<&str> = fenced.stdout.lines().collect();
            for (name, value) in fence.environment() {
                let ours = format!("{name}={}", value.display());
                let known = ["LD_PRELOAD", "PAGEFENCE_TABLE"].contains(&name);
                let at = lines.iter().position(|l| *l == ours);
                assert_eq!(known, at.is_some(), "{what} {count}: {}", fenced.report());
                at.map(|i| lines.remove(i));
            }
            let theirs: Vec<&str> = bare.stdout.lines().collect();
            assert_eq!(lines, theirs, "{what} {count}: {}", fenced.report());
            assert_eq!(fenced.code(), 0, "{what} {count}: {}", fenced.report());
        }
    }
}

/// A child that execs has its list of variables from its parent's memory, and can't give it back.
#[test]
fn what_vfork_children_leave_is_not_kept() {
    let bare = on_small_stack(None, &["vfork_often", "3000"]);
    let fenced = on_small_stack(Some(&Fence::new()), &["vfork_often", "3000"]);
    assert!(bare.stdout.contains("at most: yes"), "{}", bare.report());
    assert_eq!(fenced.stdout, bare.stdout, "{}", fenced.report());
}

// ---- every hook, in every situation, on a painted stack

/// By call and situation.
type Use = BTreeMap<(String, String), u64>;

fn measure(program: &Path, fence: Option<&Fence>, situations: &[&str]) -> Use {
    let place = main_place().directory();
    // The path that is told is as long as most paths that there are.
    let dir = (0..4).fold(place.path().to_path_buf(), |dir, _| {
        dir.join("p".repeat(200))
    });
    std::fs::create_dir_all(&dir).expect("directories of ours");
    let file = dir.join("held");
    std::fs::write(&file, [b'.'; 8192]).expect("a file of ours");
    let _held = fence.map(|fence| fence.hold_whole(&file));
    let mut command = Command::new("sh");
    // Few numbers, which are used up. And the loader's search at a first call is not the call's.
    command.args(["-c", "ulimit -n 1024; exec \"$@\"", "sh"]);
    command
        .arg(program)
        .arg(&dir)
        .args(situations)
        .env("LD_BIND_NOW", "1");
    if let Some(fence) = fence {
        tell_all(fence, &mut command);
    }
    let outcome = run(&mut command, Duration::from_secs(120)).expect("stack_use");
    assert_eq!(outcome.code(), 0, "{}", outcome.report());
    let line = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        let key = (words.next()?, words.next()?);
        Some((key, words.next()?.parse().ok()?))
    };
    outcome.stdout.lines().filter_map(line).collect()
}

/// Every call is measured that the library hooks. An alias runs its sibling's code.
fn assert_complete(seen: &Use) {
    let bytes = std::fs::read(found(artefacts::library())).expect("the library");
    let file = ElfFile64::<Endianness>::parse(&*bytes).expect("ELF");
    let hooks = file
        .dynamic_symbols()
        .filter(|s| s.is_definition() && s.kind() == SymbolKind::Text)
        .filter_map(|s| s.name().ok())
        // No hook: a sanitizer's runtime asks it before anything runs.
        .filter(|name| *name != "__asan_default_options");
    let measured: BTreeSet<&str> = seen.keys().map(|(call, _)| call.as_str()).collect();
    // Of liburing's, all of which end alike, one is enough; `syscall` is measured by what it is asked for.
    let stem = |name: &str| match name {
        name if name.starts_with("io_uring_") => "io_uring_queue_init".to_owned(),
        "syscall" => "syscall_read".to_owned(),
        "__register_atfork" => "pthread_atfork".to_owned(),
        "llseek" => "lseek".to_owned(),
        "preadv64v2" => "preadv2".to_owned(),
        "pwritev64v2" => "pwritev2".to_owned(),
        "__fxstat" | "__fxstat64" => "fstat".to_owned(),
        "bsd_signal" | "ssignal" | "sysv_signal" | "__sysv_signal" | "sigset" => {
            "signal".to_owned()
        }
        "sigvec" => "sigaction".to_owned(),
        name => {
            let name = name.trim_start_matches('_').trim_start_matches("IO_");
            let name = name.trim_end_matches("_chk").trim_end_matches("_2");
            name.replace("64", "")
        }
    };
    let missing: Vec<&str> = hooks
        .filter(|name| !measured.contains(name) && !measured.contains(stem(name).as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "stack_use.c doesn't measure {missing:?}"
    );
}

/// The most that each call needs more than bare, by situation, as a table.
fn show(label: &str, bare: &Use, fenced: &Use) -> Vec<String> {
    let mut over = Vec::new();
    let mut rows: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut most = 0;
    for ((call, situation), bytes) in fenced {
        let base = bare.get(&(call.clone(), situation.clone()));
        let base = base.unwrap_or_else(|| panic!("{call} {situation}: not measured bare"));
        let more = bytes.saturating_sub(*base);
        most = most.max(more);
        let cell = format!("{situation} {more}");
        if more > BUDGET {
            over.push(format!("{label}: {call}, {cell}"));
        }
        rows.entry(call).or_default().push(cell);
    }
    println!("\n{label}: bytes of stack that a call needs more than bare, at most {most}");
    for (call, cells) in rows {
        println!("{call:>20}  {}", cells.join(", "));
    }
    over
}

#[test]
fn no_hook_needs_more_than_its_budget() {
    if cfg!(debug_assertions) {
        // What isn't optimised has other frames, and nobody is told to preload it.
        return;
    }
    let program = compile("stack_use", &[]);
    let bare = measure(&program.path, None, &[]);
    let fences = [
        (
            "enforced",
            "",
            &[][..],
            &[
                "mixed",
                "wait",
                "fallback",
                "invalidate_failed",
                "lock_timeout",
                "uncovered",
            ][..],
        ),
        ("atomic", ATOMIC, &["mixed", "held"], &["lock_timeout"]),
        ("observed", OBSERVE, &["first", "held"], &["collision"]),
        ("routed", ROUTED, &["first", "shared", "locked"], &[]),
        ("past", PAST, &["first", "mapped", "shared", "locked"], &[]),
    ];
    let mut over = Vec::new();
    for (label, defaults, situations, kinds) in fences {
        let fence = Fence::with_policy(&format!("{defaults}{RULES}"));
        let fenced = measure(&program.path, Some(&fence), situations);
        assert!(fenced.len() > 50);
        if situations.is_empty() {
            assert_eq!(fenced.len(), bare.len());
            assert_complete(&fenced);
        }
        let told = told(&fence);
        let is_told = |kind: &str| told.contains(&format!("\"event\":\"{kind}\""));
        for kind in kinds {
            assert!(is_told(kind), "{label}: {kind} was never told");
        }
        // The program holds nothing when it makes a call: no call of it is in its own way.
        assert!(!is_told("nested"), "{label}: {told}");
        over.extend(show(label, &bare, &fenced));
    }
    assert!(over.is_empty(), "over {BUDGET} bytes:\n{}", over.join("\n"));
}
