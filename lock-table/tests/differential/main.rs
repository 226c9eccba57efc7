//! Scans against a plain look at everything. In tables with thousands of slots in use, with claims of every width and
//! with files and stripes that share buckets, `hold_now` and `blocker` say what `conflict` says of all claims that
//! are held, and who waits meets everybody who is in his way.
//!
//! One thread does all of it, for three registered processes (and one more thread waits), so what fails mostly fails
//! each time; the message names the seed. `PAGEFENCE_TEST_LONG=1`: more seeds.

#[path = "../common/mod.rs"]
mod common;
mod places;
mod world;

use common::long;
use places::Places;
use world::World;

struct Case {
    slots: u32,
    requests: u32,
    in_use: usize,
    steps: usize,
    waits: usize,
    /// Of a hundred times that a slot with a claim comes up, how often it keeps it.
    keeps: u64,
}

#[rustfmt::skip]
const CASES: [Case; 5] = [
    // The default's size; then nearly all slots the threads', or the requests'.
    Case { slots: 8192, requests: 8192,   in_use: 6000, steps: 25_000, waits: 15, keeps: 90 },
    Case { slots: 8192, requests: 100,    in_use: 8000, steps: 20_000, waits: 10, keeps: 95 },
    Case { slots: 64,   requests: 12_000, in_use: 9000, steps: 20_000, waits: 10, keeps: 95 },
    // Not a whole number of bitmap words; and up to where words begin to share a stack.
    Case { slots: 65,   requests: 63,     in_use: 100,  steps: 50_000, waits: 30, keeps: 50 },
    Case { slots: 2047, requests: 2,      in_use: 2000, steps: 30_000, waits: 20, keeps: 60 },
];

#[test]
fn scans_find_what_a_plain_look_finds() {
    let places = Places::find();
    for seed in 1..=if long() { 40 } else { 1 } {
        for (n, case) in CASES.iter().enumerate() {
            let seed = 1000 * n as u64 + seed;
            World::new(case, &places, seed).run(case);
        }
    }
}
