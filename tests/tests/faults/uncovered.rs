//! What the library can't cover was said and made all the same, whoever had asked for more. The kind: a policy that wants
//! nothing half covered (`on_uncovered = "refuse"`) has the call fail that would lead out of the fence.

use lock_table::{Geometry, Table};
use pagefence_tests::fence::Fence;
use pagefence_tests::places::main_place;
use pagefence_tests::programs::compile;
use pagefence_tests::run::{Outcome, run};
use std::time::Duration;

const REFUSE: &str = "[defaults]\non_uncovered = \"refuse\"\n";

/// What it says bare, fenced under this policy with this table, and what was told of it.
fn fenced(policy: &str, what: &str, geometry: Option<&Geometry>) -> (Outcome, Vec<String>) {
    let (program, fence, dir) = (
        compile("uncovered_calls", &[]),
        Fence::with_policy(policy),
        main_place().directory(),
    );
    if let Some(geometry) = geometry {
        Table::create(&fence.table_name(), geometry).expect("a table");
    }
    let mut command = program.on(dir.path());
    command.arg(what);
    fence.apply_traced(&mut command);
    let outcome = run(&mut command, Duration::from_secs(60)).expect("a program of ours");
    let mut events = fence.events();
    events.retain(|event| event["event"] == "uncovered");
    let words = |e: &serde_json::Value| format!("{} -> {}", e["reason"], e["done"]);
    (outcome, events.iter().map(words).collect())
}

fn bare(what: &str) -> Outcome {
    let (program, dir) = (compile("uncovered_calls", &[]), main_place().directory());
    let mut command = program.on(dir.path());
    run(command.arg(what), Duration::from_secs(60)).expect("a program of ours")
}

/// Reported it is as bare; refused, this line says so, and the file is fenced as before.
fn refused(what: &str, line: &str, reason: &str, geometry: Option<&Geometry>) {
    let bare = bare(what);
    assert!(!bare.stdout.contains(line), "{}", bare.report());
    let (seen, told) = fenced("", what, geometry);
    assert_eq!(seen.stdout, bare.stdout, "{}", seen.report());
    assert!(told.iter().any(|t| t.contains(reason)), "{told:?}");

    let (seen, told) = fenced(REFUSE, what, geometry);
    assert!(seen.stdout.contains(line), "{what}: {}", seen.report());
    assert!(
        seen.stdout.ends_with("PAGE, 0): 4096\n"),
        "{}",
        seen.report()
    );
    let error = line.rsplit(' ').next().unwrap_or(line);
    let says = |t: &String| t.contains(reason) && t.contains(error);
    assert!(told.iter().any(says), "{what}: {told:?}");

    // Who only looks on refuses nothing.
    let (seen, _) = fenced(&format!("{REFUSE}mode = \"observe\"\n"), what, geometry);
    assert_eq!(seen.stdout, bare.stdout, "{}", seen.report());
}

#[test]
fn children_that_share_memory() {
    refused(
        "clone",
        "clone: EPERM",
        "shares this process's memory",
        None,
    );
}

#[test]
fn numbers_of_a_threads_own() {
    let reason = "descriptor numbers of its own";
    refused("unshare", "unshare(CLONE_FILES): EPERM", reason, None);
    refused("unshare", "CLOSE_RANGE_UNSHARE): EPERM", reason, None);
}

#[test]
fn filters_that_leave_nothing() {
    let line = "prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program): EACCES";
    refused("filter", line, "a seccomp filter that refuses fcntl", None);
}

/// By the rule of the file.
#[test]
fn mappings_that_the_table_has_no_room_for() {
    let small = Geometry {
        mappings: 1,
        ..Geometry::DEFAULT
    };
    let reason = "register of mappings is full";
    refused("map", "mapping 2: ENOMEM", reason, Some(&small));
    let rule = "[[rule]]\nname = \"c\"\npath = [\"/**/c\"]\non_uncovered = \"refuse\"\n";
    let (seen, _) = fenced(rule, "map", Some(&small));
    assert!(
        seen.stdout.contains("mapping 2: ENOMEM"),
        "{}",
        seen.report()
    );
    let (seen, _) = fenced(&rule.replace("/c\"", "/d\""), "map", Some(&small));
    assert!(seen.stdout.contains("mapping 2: made"), "{}", seen.report());
}
