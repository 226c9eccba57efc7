//! Storms: workers are killed at random instants and replaced, again and again. None may be let in where another one
//! is inside, none may wait long for a dead one, and nothing may be left over. `PAGEFENCE_TEST_LONG=1`: 100,000 kills.

mod common;

use common::oracle::{DONE, NO_TABLE, Oracle, work};
use common::room::{Room, free_processes};
use common::*;
use lock_table::Table;
use std::ffi::CStr;
use std::time::{Duration, Instant};

const WORKERS: usize = 6;
/// Long enough to be killed inside.
const LINGER: u64 = 40_000;
/// How long anybody may still wait for somebody who was killed.
const LIMIT_MS: f64 = 1000.0;

/// Half of the workers attach anew, half go on with what they have from their parent.
fn worker(path: &CStr, table: &Table, oracle: Oracle, w: usize, seed: u64) -> Child {
    Child::run(|| {
        if seed.is_multiple_of(2) {
            return match Table::attach(path) {
                Ok(own) => work(&own, oracle, w, seed, LINGER),
                Err(_) => NO_TABLE,
            };
        }
        match table.reattach_in_child() {
            Ok(()) => work(table, oracle, w, seed, LINGER),
            Err(_) => NO_TABLE,
        }
    })
}

#[test]
fn a_storm_of_kills_leaves_nothing_and_lets_nobody_in() {
    let kills = if long() { 100_000 } else { 2_000 };
    let dir = Dir::new();
    let path = dir.make();
    let table = attach(&path);
    let before = (Room::of(table), free_processes(&path, table));
    let oracle = Oracle::new(WORKERS);
    let mut random = Random(99);
    let begun = Instant::now();
    let mut all: Vec<_> = (0..WORKERS)
        .map(|w| worker(&path, table, oracle, w, w as u64))
        .collect();
    let mut inside = 0;
    for kill in 0..kills {
        std::thread::sleep(Duration::from_micros(random.below(2000)));
        let w = random.below(WORKERS as u64) as usize;
        // Some are stopped first, and then others wait for one who is not dead yet.
        if random.below(16) == 0 {
            all[w].signal(libc::SIGSTOP);
            std::thread::sleep(Duration::from_micros(random.below(20_000)));
        }
        oracle.killed(all[w].0);
        all[w].signal(libc::SIGKILL);
        all[w].ended();
        inside += u32::from(oracle.buried(w));
        let next = worker(&path, table, oracle, w, WORKERS as u64 + kill);
        let dead = std::mem::replace(&mut all[w], next);
        // Another status means that it gave up by itself.
        let status = dead.wait();
        assert_eq!(
            status,
            -libc::SIGKILL,
            "kill {kill}: {:#?}",
            table.snapshot()
        );
        assert!(!table.is_poisoned(), "kill {kill}");
    }
    oracle.stop();
    for child in all {
        assert_eq!(child.wait(), DONE);
    }
    let [longest, after_death] = oracle.longest_ms();
    println!(
        "{kills} kills in {:.1} s, {inside} of them inside; {} times inside, {} violations; longest wait {longest:.0} ms, \
         {after_death:.0} ms after a death",
        begun.elapsed().as_secs_f64(),
        oracle.entries(),
        oracle.violations()
    );
    assert_eq!(oracle.violations(), 0);
    // Else it would show nothing.
    assert!(inside > kills as u32 / 50 && oracle.entries() > kills);
    assert!(after_death < LIMIT_MS, "{after_death} ms");
    table.reap();
    let left = table.snapshot();
    assert!(
        left.slots.is_empty() && left.processes.len() == 1,
        "{left:?}"
    );
    assert_eq!((Room::of(table), free_processes(&path, table)), before);
}
