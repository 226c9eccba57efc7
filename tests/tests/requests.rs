//! Requests that outlive their call: Linux AIO, by libaio's functions and by the system calls' numbers. The programs say
//! what the calls say, who wakes, and who waits how long: bare and fenced the same. That data stays whole is shown by the
//! races `async-records` and `async-appenders`.

use lock_table::summary::Counter;
use pagefence_tests::compare::Comparison;
use pagefence_tests::fence::Fence;
use pagefence_tests::long;
use pagefence_tests::places::{Place, main_place, places};
use pagefence_tests::programs::{Program, compile};
use pagefence_tests::run::run;
use std::process::Command;
use std::time::Duration;

/// A program that is linked to libaio, and one that makes the system calls by `syscall`.
fn both(name: &str) -> [Program; 2] {
    [compile(name, &["-laio"]), compile(name, &["-DBY_NUMBER"])]
}

fn fences() -> Vec<(&'static str, Fence)> {
    let policy = |text| Fence::with_policy(&format!("[defaults]\n{text}\n"));
    vec![
        ("fenced", Fence::new()),
        ("fenced, atomic", policy("isolation = \"atomic\"")),
        ("observed", policy("mode = \"observe\"")),
    ]
}

fn alike_on(places: &[Place], name: &str) {
    alike_said(places, name, &[]);
}

fn alike_said(places: &[Place], name: &str, said: &'static [&'static str]) {
    for program in both(name) {
        for place in places {
            let comparison = Comparison::new(name).limit(150).expect_said(said);
            let seen = comparison.check(place, &fences(), |dir| {
                let mut command = Command::new(&program.path);
                command.arg(dir);
                command
            });
            assert_eq!(seen.code(), 0, "{name} bare: {}", seen.report());
            assert!(!seen.stdout.contains("LATE"), "bare: {}", seen.report());
        }
    }
}

/// Good requests and odd ones, contexts that are full, destroyed, a forked child's.
#[test]
fn the_calls_say_what_they_say_bare() {
    alike_on(&places(), "aio_calls");
}

/// Sleepers wake for whatever is done, however it is done; eventfds that are told once; programs that look at the ring;
/// signals, and handlers that jump out of the sleep.
#[test]
fn who_sleeps_wakes() {
    let on = if long() { places() } else { vec![main_place()] };
    alike_on(&on, "aio_wakes");
}

/// A program that doesn't take its completions keeps nobody waiting: not itself, not others, not when it has ended.
#[test]
fn who_does_not_take_keeps_nobody_waiting() {
    alike_on(&places(), "aio_waits");
}

/// The helper goes before the program's rights do, and no call is made that the program doesn't make.
#[test]
fn in_a_sandbox_they_go_on() {
    const SAID: &[&str] =
        &["uncovered a seccomp filter that allows exec, but not what the library needs to start"];
    alike_said(&[main_place()], "aio_sandbox", SAID);
}

/// And they go past the page cache, each in flight by itself, where nothing stands in their way.
#[test]
fn direct_requests_stay_direct() {
    for program in both("aio_calls") {
        let (fence, dir) = (Fence::new(), main_place().directory());
        let mut command = Command::new(&program.path);
        command.arg(dir.path());
        fence.apply(&mut command);
        let seen = run(&mut command, Duration::from_secs(60)).expect("a program that starts");
        assert_eq!(seen.code(), 0, "{}", seen.report());
        let count = |counter| fence.count(counter);
        let (writes, reads) = (
            count(Counter::DirectWritesDirect),
            count(Counter::DirectReadsDirect),
        );
        assert!(writes > 10 && reads > 10, "{writes} writes, {reads} reads");
        assert!(count(Counter::FallbackMapped) > 2, "beside the mapping");
    }
}
