//! Tables that hold anything at all, before and while they are used: no crash, no panic, no endless
//! loop, and no error but the declared ones. Every case runs in a child that is watched.
//!
//! A failure shows the smallest case as one line of hexadecimal; `PAGEFENCE_FUZZ_CASE=<line>` gives it to the test
//! that found it. `PAGEFENCE_TEST_LONG=1` takes minutes instead of seconds.

#[path = "../common/mod.rs"]
mod common;

mod bench;
mod case;
mod leftovers;
mod watch;

use bench::{Bench, Bytes, Met};
use case::{Case, Place, STEP, Value};
use common::*;
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, TestRunner};
use std::ffi::CStr;
use std::fmt::Debug;
use std::fs;
use std::time::{Duration, Instant};
use watch::{Log, start};

/// Tries random cases for a while. One that fails is made small and shown.
fn hunt<C: Debug>(
    seconds: u64,
    steps: usize,
    decode: impl Fn(&[u8]) -> C,
    try_one: impl Fn(&C) -> Result<(), String>,
) {
    if let Ok(line) = std::env::var("PAGEFENCE_FUZZ_CASE") {
        let digits = |i: usize| u8::from_str_radix(&line[i..i + 2], 16).expect("hexadecimal");
        let case = decode(&(0..line.len()).step_by(2).map(digits).collect::<Vec<_>>());
        eprintln!("{case:#?}");
        return try_one(&case).unwrap();
    }
    let end = Instant::now() + Duration::from_secs(if long() { 20 * seconds } else { seconds });
    let cases = vec(any::<[u8; STEP]>(), 1..steps);
    let mut runner = TestRunner::new(Config::default());
    let mut tried = 0;
    // A busy machine gets through a few, too.
    while Instant::now() < end || tried < 25 {
        let mut tree = cases.new_tree(&mut runner).unwrap();
        tried += 1;
        let Err(mut why) = try_one(&decode(&tree.current().concat())) else {
            continue;
        };
        let mut smallest = tree.current().concat();
        let enough = Instant::now() + Duration::from_secs(60);
        let mut more = tree.simplify();
        while more && Instant::now() < enough {
            let bytes = tree.current().concat();
            more = match try_one(&decode(&bytes)) {
                Ok(()) => tree.complicate(),
                Err(smaller) => {
                    (why, smallest) = (smaller, bytes);
                    tree.simplify()
                }
            };
        }
        let line: String = smallest.iter().map(|b| format!("{b:02x}")).collect();
        panic!(
            "{why}\n{:#?}\nPAGEFENCE_FUZZ_CASE={line}",
            decode(&smallest)
        );
    }
    eprintln!("{tried} cases");
}

/// A table of one's own for each case.
struct Ground {
    dir: Dir,
    good: Vec<u8>,
}

impl Ground {
    fn new() -> Ground {
        let dir = Dir::new();
        let good = leftovers::make(&dir.table());
        Ground { dir, good }
    }

    /// A fresh copy, perhaps cut or too long. A new file: what was mapped of the last one stays what it was.
    fn lay(&self, case: &Case) -> std::ffi::CString {
        let at = self.dir.0.join("case");
        let _ = fs::remove_file(&at);
        fs::write(&at, &self.good).unwrap();
        if let Some(length) = case.length {
            let file = fs::OpenOptions::new().write(true).open(&at).unwrap();
            file.set_len(length).unwrap();
        }
        c_path(&at)
    }
}

fn record(log: Log, met: Met) {
    log.add([
        met.steps,
        met.sound,
        met.attached,
        met.refused,
        met.poisoned,
    ]);
}

/// The cases must not all be trivial: a table that is refused or known to be damaged does nothing.
fn worth_something(logs: &[Log]) {
    let sum = |i: usize| logs.iter().map(|log| log.met()[i]).sum::<u64>();
    let [steps, sound, attached, refused, poisoned] = std::array::from_fn(sum);
    eprintln!(
        "{steps} steps, {sound} of them on a table not known to be damaged; {attached} attachments, {refused} refused; {poisoned} tables found damaged"
    );
    if std::env::var_os("PAGEFENCE_FUZZ_CASE").is_none() {
        assert!(sound > steps / 4 && attached > steps / 50 && refused + poisoned > 0);
    }
}

#[test]
fn any_contents_are_survived() {
    let (ground, log) = (Ground::new(), Log::new());
    hunt(6, 60, Case::decode, |case| {
        let path = ground.lay(case);
        let bench = Bench {
            path: &path,
            good: &ground.good,
            alone: true,
            forks: true,
        };
        let child = start(log, || {
            record(log, bench.run(case, &|step| log.begin(step))?);
            Ok(())
        });
        child.finish()
    });
    worth_something(&[log]);
}

/// Writes all over the table until it is killed, and now and then puts the header right again, for there would soon be
/// nothing left that anybody attaches to.
fn scribble(path: &CStr, good: &[u8], seed: u64) -> i32 {
    let bytes = Bytes::of(path);
    let mut random = Random(seed);
    loop {
        let n = random.below(1 << 40) as usize;
        let at = match random.below(16) {
            0 => Place::Header(n),
            1..=9 => Place::InUse(n),
            _ => Place::Any(n),
        };
        let value = match random.below(6) {
            0 => Value::This(random.below(1 << 53) << 11),
            1 => Value::This(random.below(8)),
            2 => Value::This(u64::MAX),
            3 => Value::Flip(1 << random.below(64)),
            4 => Value::Add(1),
            _ => Value::From(n / 3),
        };
        bytes.poke(at, value, n.is_multiple_of(2));
        if random.below(8) == 0 {
            bytes.mend(good);
        }
        // The others must get on, too.
        if random.below(16) == 0 {
            std::thread::yield_now();
        }
    }
}

#[test]
fn contents_that_change_underneath_are_survived() {
    let ground = Ground::new();
    let logs = [Log::new(), Log::new(), Log::new()];
    hunt(6, 120, Case::decode, |case| {
        let path = ground.lay(case);
        let scribbler = Child::run(|| scribble(&path, &ground.good, case.scribbler));
        // Three processes share the steps, in turn, and meet in the table.
        let workers: Vec<_> = (0..logs.len())
            .map(|w| {
                let log = logs[w];
                let mut part = case.clone();
                part.orders = case.orders.iter().skip(w).step_by(3).copied().collect();
                let bench = Bench {
                    path: &path,
                    good: &ground.good,
                    alone: false,
                    forks: w == 0,
                };
                start(log, move || {
                    record(log, bench.run(&part, &|step| log.begin(step))?);
                    Ok(())
                })
            })
            .collect();
        let ended = workers.into_iter().map(|w| w.finish());
        let ended = ended.collect::<Vec<_>>().into_iter().collect();
        scribbler.kill();
        ended
    });
    worth_something(&logs);
}
