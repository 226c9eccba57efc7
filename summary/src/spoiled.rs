//! A summary that holds anything at all, before and while it is used: no crash, no panic, and no more of anything than
//! there is room for. `PAGEFENCE_TEST_LONG=1` takes minutes instead of seconds.

use super::file::{ENTRIES, ENTRY_WORDS, PATH_BYTES, PROGRAM_BYTES, WORDS};
use super::tests::Place;
use super::*;
use proptest::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

#[derive(Clone, Debug)]
enum Step {
    Poke(usize, u64),
    /// From this word on, so many.
    Noise(usize, usize, u64),
    Open,
    Count(Counter, u64),
    Note {
        ino: u64,
        path: usize,
        program: usize,
    },
    Read,
}

/// The first words, the entries in use, or anywhere.
fn index() -> impl Strategy<Value = usize> {
    prop_oneof![0..72_usize, 64..64 + 8 * ENTRY_WORDS, 0..WORDS]
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0..8_u64, Just(u64::MAX)]
}

fn step() -> impl Strategy<Value = Step> {
    let counter = proptest::sample::select(vec![Counter::Waits, Counter::TraceLost]);
    prop_oneof![
        4 => (index(), value()).prop_map(|(at, value)| Step::Poke(at, value)),
        1 => (index(), 0..WORDS, any::<u64>()).prop_map(|(at, n, seed)| Step::Noise(at, n, seed)),
        1 => Just(Step::Open),
        2 => (counter, any::<u64>()).prop_map(|(counter, n)| Step::Count(counter, n)),
        5 => (0..4_u64, 0..1024_usize, 0..256_usize)
            .prop_map(|(ino, path, program)| Step::Note { ino, path, program }),
        3 => Just(Step::Read),
    ]
}

fn noise(summary: &Summary, from: usize, words: usize, seed: u64) {
    for n in 0..words {
        let value = (seed | 1).wrapping_mul((n as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        summary.store((from + n) % WORDS, value ^ value >> 29);
    }
}

fn carry_out(place: &Place, mut summary: Summary, steps: &[Step]) {
    for step in steps {
        match step {
            Step::Poke(at, value) => summary.store(*at, *value),
            Step::Noise(from, words, seed) => noise(&summary, *from, *words, *seed),
            Step::Open => summary = Summary::open(&place.path()).unwrap_or(summary),
            Step::Count(counter, by) => {
                summary.add(*counter, *by);
                summary.max(*counter, *by);
            }
            Step::Note { ino, path, program } => {
                summary.note_use(8, *ino, &vec![b'p'; *path], &vec![b'q'; *program], 7, 3);
            }
            Step::Read => {
                let uses = summary.uses();
                let fits =
                    |u: &UseRecord| u.path.len() <= PATH_BYTES && u.program.len() <= PROGRAM_BYTES;
                assert!(uses.len() <= ENTRIES && uses.iter().all(fits), "{uses:?}");
                let _ = (summary.lost_uses(), summary.get(Counter::Waits));
            }
        }
    }
}

#[test]
fn anything_in_it_is_survived() {
    let long = std::env::var_os("PAGEFENCE_TEST_LONG").is_some();
    let config = ProptestConfig {
        cases: if long { 20_000 } else { 500 },
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let case = (
        proptest::collection::vec(step(), 1..40),
        any::<bool>(),
        any::<u64>(),
    );
    proptest!(config, |((steps, scribbled, seed) in case)| {
        let place = Place::new("spoiled");
        let summary = Summary::create(&place.path()).unwrap();
        (0..6).for_each(|ino| summary.note_use(8, ino, b"/some/where", b"program", 5, 3));
        let other = Summary::open(&place.path()).unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            if scribbled {
                scope.spawn(|| {
                    let mut seed = seed;
                    while !over.load(Relaxed) {
                        seed = seed.wrapping_add(0x9E37_79B9);
                        noise(&other, seed as usize % WORDS, 64, seed);
                        std::thread::yield_now();
                    }
                });
            }
            carry_out(&place, summary, &steps);
            over.store(true, Relaxed);
        });
    });
}
