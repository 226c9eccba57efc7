//! `observe` is enforce without waiting: programs that mix modes are told of with who met whom, in which modes, on which
//! bytes; those that use one mode are not told of at all.

use pagefence_tests::artefacts;
use pagefence_tests::fence::{Fence, OBSERVE, found};
use pagefence_tests::places::{Place, places};
use pagefence_tests::run::run;
use serde_json::Value;
use std::process::Command;
use std::time::Duration;
use summary::Counter;

/// The files that the programs use are no longer.
const LENGTH: u64 = 64 << 20;

/// Runs one of the test programs, observed, and says what was told.
fn observed(place: &Place, app: &str, options: &[&str]) -> (Fence, Vec<Value>) {
    let (fence, dir) = (Fence::with_policy(OBSERVE), place.directory());
    let mut command = Command::new(found(artefacts::app(app)));
    command.args(options).arg(dir.path());
    fence.apply_traced(&mut command);
    let outcome = run(&mut command, Duration::from_secs(60)).expect("a program of ours");
    // It may lose something: nothing is kept apart.
    assert!([0, 1].contains(&outcome.code()), "{}", outcome.report());
    let collides = |event: &Value| event["event"] == "collision";
    let collisions = fence.events().into_iter().filter(collides).collect();
    (fence, collisions)
}

/// Where the bare kernel loses something.
fn where_much_is_lost() -> impl Iterator<Item = Place> {
    let places = places().into_iter();
    places.filter(|place| ["ext4", "xfs"].contains(&place.name.as_str()))
}

fn modes(collision: &Value) -> [&str; 2] {
    ["mode", "other_mode"].map(|key| collision[key].as_str().unwrap_or_default())
}

/// Both programs, both modes, and the bytes.
fn says_all(collision: &Value, app: &str) -> bool {
    let place = |key: &str| collision[key].as_u64().expect("a place");
    collision["program"] == app
        && collision["other_program"] == app
        && collision["process"] != collision["other_process"]
        && collision["file"]
            .as_str()
            .is_some_and(|f| f.ends_with("/data"))
        && place("first") <= place("last")
        && place("first") < LENGTH
}

#[test]
fn a_direct_write_beside_a_mapping() {
    for place in where_much_is_lost() {
        for app in ["mapped-store", "next-page", "stale-reader"] {
            let (fence, collisions) = observed(&place, app, &["--seconds", "2"]);
            let mapped = |c: &&Value| modes(c) == ["direct_write", "mapped_writable"];
            let mapped: Vec<_> = collisions.iter().filter(mapped).collect();
            assert!(
                !mapped.is_empty(),
                "{app} on {}: {collisions:?}",
                place.name
            );
            assert!(mapped.iter().all(|c| says_all(c, app)), "{mapped:?}");
            assert!(fence.count(Counter::DirectWritesDirect) > 0);
            assert_eq!(fence.count(Counter::Collisions), collisions.len() as u64);
            assert_eq!(
                (
                    fence.count(Counter::Waits),
                    fence.count(Counter::FallbackMapped)
                ),
                (0, 0)
            );
        }
    }
}

#[test]
fn calls_that_meet() {
    for place in where_much_is_lost() {
        let (fence, collisions) = observed(&place, "torn-records", &["--seconds", "3"]);
        let direct = |mode: &str| mode.starts_with("direct_");
        for collision in &collisions {
            let [own, other] = modes(collision);
            // One of the two is direct, and one of them writes.
            assert!(direct(own) || direct(other), "{collision}");
            assert!(
                [own, other].iter().any(|m| m.ends_with("write")),
                "{collision}"
            );
            assert!(says_all(collision, "torn-records"), "{collision}");
        }
        let mixes = collisions.iter().filter(|c| {
            let [own, other] = modes(c);
            direct(own) != direct(other)
        });
        assert!(mixes.count() > 0, "{}: {collisions:?}", place.name);
        let direct = [Counter::DirectWritesDirect, Counter::DirectReadsDirect];
        assert!(direct.into_iter().all(|counter| fence.count(counter) > 0));
    }
}

#[test]
fn requests_of_linux_aio() {
    for place in where_much_is_lost() {
        for way in ["mapping", "write"] {
            let options = ["--seconds", "2", "--way", way];
            let (fence, collisions) = observed(&place, "async-collisions", &options);
            let by_request = |c: &&Value| modes(c)[0] == "direct_write";
            let others: Vec<_> = collisions
                .iter()
                .filter(by_request)
                .map(|c| modes(c)[1])
                .collect();
            let expected = match way {
                "mapping" => "mapped_writable",
                _ => "buffered_write",
            };
            let met = collisions.iter().any(|c| modes(c).contains(&expected));
            assert!(met, "{way} on {}: {collisions:?}", place.name);
            assert!(way != "mapping" || others.contains(&expected), "{others:?}");
            assert!(fence.count(Counter::DirectWritesDirect) > 0);
        }
    }
}

#[test]
fn one_mode_collides_with_nothing() {
    for place in where_much_is_lost() {
        for app in ["mapped-store", "next-page", "stale-reader"] {
            let options = ["--seconds", "1", "--control", "buffered"];
            let (fence, collisions) = observed(&place, app, &options);
            assert!(collisions.is_empty(), "{app}: {collisions:?}");
            assert_eq!(fence.count(Counter::Collisions), 0);
        }
    }
}
