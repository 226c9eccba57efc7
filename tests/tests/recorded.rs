//! `trace = "all"` (and `"contents"`, which has more of it): every call on the files that the policy says it for is a record of its own, on every filesystem, and is
//! made as it would be without.

use pagefence_tests::fence::{ATOMIC, Fence, OBSERVE};
use pagefence_tests::places::{Place, main_place, places};
use pagefence_tests::programs::{Program, compile};
use pagefence_tests::run::run;
use serde_json::Value;
use std::fs::File;
use std::sync::OnceLock;
use std::time::Duration;

const ALL: &str = "[defaults]\ntrace = \"all\"\n";
const END: u64 = u64::MAX;

fn program() -> &'static Program {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    PROGRAM.get_or_init(|| compile("recorded", &[]))
}

/// What was recorded of a run.
fn recorded(place: &Place, policy: &str, what: &str) -> Vec<Value> {
    let (fence, dir) = (Fence::with_policy(policy), place.directory());
    let mut command = program().on(dir.path());
    fence.apply_traced(command.arg(what));
    let outcome = run(&mut command, Duration::from_secs(60)).expect("a program of ours");
    assert_eq!(outcome.stdout, "made\n", "{}", outcome.report());
    assert_eq!(outcome.code(), 0, "{}", outcome.report());
    // What it says it writes to a file, too.
    let is_of = |event: &Value| {
        event["file"]
            .as_str()
            .is_some_and(|file| file.ends_with("/data"))
    };
    let is_call = |event: &Value| event["event"] == "call" && is_of(event);
    fence.events().into_iter().filter(is_call).collect()
}

type Call = (&'static str, &'static str, Option<(u64, u64)>, i64);

/// What the program does first, and at last.
const BUFFERED: [Call; 7] = [
    ("write", "buffered_write", Some((0, 4095)), 4096),
    ("write", "buffered_write", Some((4096, 8191)), 4096),
    ("read", "buffered_read", Some((50, 149)), 100),
    ("read", "buffered_read", Some((4000, 4199)), 200),
    ("write", "buffered_write", Some((5000, 5029)), 30),
    ("sync", "", None, 0),
    (
        "read",
        "buffered_read",
        Some((0, 9)),
        -(libc::EFAULT as i64),
    ),
];
const MIXED: [Call; 6] = [
    ("read", "direct_read", Some((4096, 8191)), 4096),
    ("write", "direct_write", Some((4096, 8191)), 4096),
    ("map", "mapped_writable", Some((4096, 8191)), 0),
    ("unmap", "mapped_writable", Some((4096, 8191)), 0),
    ("copy", "buffered_read", Some((0, 999)), 1000),
    ("copy", "buffered_write", Some((12288, 13287)), 1000),
];
const LAST: Call = ("layout", "layout", Some((6000, END)), 0);

fn check(calls: &[Value], expected: &[Call], of: &str) {
    let text = |call: &Value, key: &str| call[key].as_str().unwrap_or_default().to_owned();
    let said: Vec<_> = calls
        .iter()
        .map(|call| {
            let range = call["first"].as_u64().zip(call["last"].as_u64());
            (
                text(call, "call"),
                text(call, "mode"),
                range,
                call["result"].as_i64().expect("a result"),
            )
        })
        .collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|(call, mode, range, result)| {
            ((*call).to_owned(), (*mode).to_owned(), *range, *result)
        })
        .collect();
    assert_eq!(said, expected, "{of}");
    for call in calls {
        assert!(
            call["nanoseconds"]
                .as_u64()
                .is_some_and(|ns| ns < 60_000_000_000),
            "{call}"
        );
        assert!(
            text(call, "file").ends_with("/data") && text(call, "program") == "recorded",
            "{call}"
        );
    }
    let begun = |call: &Value| call["time"].as_f64().expect("a time");
    assert!(
        calls.is_sorted_by_key(|call| begun(call).to_bits()),
        "in their order"
    );
}

#[test]
fn every_call_is_a_record() {
    let all = [&BUFFERED[..], &MIXED, &[LAST]].concat();
    let buffered = [&BUFFERED[..], &[LAST]].concat();
    for place in places() {
        check(&recorded(&place, ALL, "buffered"), &buffered, &place.name);
        check(&recorded(&place, ALL, "all"), &all, &place.name);
    }
    for (policy, what) in [
        (ATOMIC, "all"),
        (OBSERVE, "all"),
        (ATOMIC, "contents"),
        ("[defaults]\n", "contents"),
    ] {
        let policy = format!("{policy}trace = \"{what}\"\n");
        check(&recorded(&main_place(), &policy, "all"), &all, &policy);
    }
}

#[test]
fn only_where_the_policy_says_so() {
    let place = main_place();
    let other = "[[rule]]\npath = [\"/**/other\"]\ntrace = \"all\"\n";
    let off = "[defaults]\ntrace = \"all\"\nmode = \"off\"\n";
    for policy in ["", "[defaults]\ntrace = \"mixed\"\n", other, off] {
        assert_eq!(
            recorded(&place, policy, "all"),
            [Value::Null; 0],
            "{policy}"
        );
    }
    let this = "[[rule]]\npath = [\"/**/data\"]\ntrace = \"all\"\n";
    assert!(!recorded(&place, this, "all").is_empty());
}

/// Somebody holds the whole file: who took a range would wait for him.
#[test]
fn a_file_in_one_mode_needs_no_range() {
    let (fence, dir) = (
        Fence::with_policy(&format!("{ALL}lock_timeout = \"2s\"\n")),
        main_place().directory(),
    );
    File::create(dir.path().join("data")).expect("a file of ours");
    let (table, slot, _) = fence.hold_whole(&dir.path().join("data"));
    let mut command = program().on(dir.path());
    fence.apply_traced(command.arg("buffered"));
    let outcome = run(&mut command, Duration::from_secs(60)).expect("a program of ours");
    table.release(slot);
    assert_eq!(outcome.stdout, "made\n", "{}", outcome.report());
    let events = fence.events();
    let kinds: Vec<_> = events.iter().map(|event| event["event"].as_str()).collect();
    assert!(
        kinds.len() > 7 && kinds.iter().all(|kind| *kind == Some("call")),
        "{kinds:?}"
    );
}
