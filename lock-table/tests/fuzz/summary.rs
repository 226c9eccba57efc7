//! The run summary's file, spoiled in the same ways.

use super::bench::Bytes;
use super::case::{Place, STEP, Value};
use super::common::{Child, Dir, Random, c_path};
use super::watch::{Log, start};
use lock_table::summary::{Counter, Summary};
use std::fs;

#[derive(Clone, Debug)]
enum Step {
    Poke(Place, Value),
    /// From this word on, so many.
    Noise(usize, usize, u64),
    Open,
    Count(Counter, u64),
    Note(u64, Vec<u8>, Vec<u8>, u32),
    Read,
}

#[derive(Clone, Debug)]
struct Case {
    length: Option<u64>,
    scribbler: Option<u64>,
    steps: Vec<Step>,
}

const COUNTERS: [Counter; 4] = [
    Counter::DirectWritesDirect,
    Counter::WaitMaxNanos,
    Counter::Deadlocks,
    Counter::Processes,
];

fn decode(bytes: &[u8]) -> Case {
    let (head, rest) = bytes.split_at(STEP.min(bytes.len()));
    let n = |chunk: &[u8], from: usize| {
        let tail = chunk.get(from..).unwrap_or(&[]);
        tail.iter().fold(0u64, |n, b| n << 8 | u64::from(*b))
    };
    let step = |chunk: &[u8]| {
        let [kind, a, b, ..] = *chunk else {
            return Step::Read;
        };
        let wide = n(chunk, 8);
        match kind % 16 {
            0..=3 => {
                let at = match a % 4 {
                    0 => Place::Header(wide as usize),
                    1 | 2 => Place::InUse(wide as usize),
                    _ => Place::Any(wide as usize),
                };
                let value = match b % 5 {
                    0 => Value::This(wide),
                    1 => Value::This(wide % 8),
                    2 => Value::This(u64::MAX),
                    3 => Value::Flip(1 << (wide % 64)),
                    _ => Value::From(wide as usize / 7),
                };
                Step::Poke(at, value)
            }
            4 => Step::Noise(wide as usize % (1 << 17), 1 << (a % 18), wide | 1),
            5 => Step::Open,
            6 | 7 => Step::Count(COUNTERS[usize::from(a) % 4], wide),
            8..=12 => {
                let path = vec![b'p'; usize::from(b) * 4];
                Step::Note(
                    wide % 4,
                    path,
                    vec![b'a' + a % 4; usize::from(a)],
                    kind.into(),
                )
            }
            _ => Step::Read,
        }
    };
    let first = |at: usize| head.get(at).copied().unwrap_or(1);
    Case {
        length: (first(0) % 16 == 7).then(|| n(head, 8) % (1 << 20)),
        scribbler: (first(0) % 2 == 0).then(|| n(head, 8) | 1),
        steps: rest.chunks(STEP).map(step).collect(),
    }
}

fn carry_out(path: &std::ffi::CStr, case: &Case, begin: &dyn Fn(usize)) -> Result<u64, String> {
    let (bytes, mut summary, mut done) = (Bytes::of(path), None, 0);
    for (i, step) in case.steps.iter().enumerate() {
        begin(i);
        match step {
            Step::Poke(at, value) => bytes.poke(*at, *value, true),
            Step::Noise(from, words, seed) => bytes.noise(*from, *words, *seed),
            Step::Open => summary = Summary::open(path).ok().or(summary),
            Step::Count(..) | Step::Note(..) | Step::Read => {
                let Some(summary) = &summary else { continue };
                done += 1;
                match step {
                    Step::Count(counter, by) => {
                        summary.add(*counter, *by);
                        summary.max(*counter, *by);
                    }
                    Step::Note(ino, path, program, modes) => {
                        summary.note_use(8, *ino, path, program, 7, *modes)
                    }
                    _ => {
                        let _ = COUNTERS.map(|c| summary.get(c));
                        let (uses, lost) = (summary.uses(), summary.lost_uses());
                        if uses.len() > 1024 || uses.iter().any(|u| u.path.len() > 384) {
                            return Err(format!("{} uses, {lost} lost: too much", uses.len()));
                        }
                    }
                }
            }
        }
    }
    Ok(done)
}

#[test]
fn a_summary_that_holds_anything_is_survived() {
    let (dir, log) = (Dir::new(), Log::new());
    let good = dir.0.join("good");
    let summary = Summary::create(&c_path(&good)).unwrap();
    for ino in 0..6 {
        summary.note_use(8, ino, b"/some/where", b"program", 5, 3);
    }
    super::hunt(3, 40, decode, |case| {
        let at = dir.0.join("case");
        let _ = fs::remove_file(&at);
        fs::copy(&good, &at).unwrap();
        if let Some(length) = case.length {
            let file = fs::OpenOptions::new().write(true).open(&at).unwrap();
            file.set_len(length).unwrap();
        }
        let path = c_path(&at);
        let scribbler = case.scribbler.map(|seed| {
            Child::run(|| {
                let (bytes, mut random) = (Bytes::of(&path), Random(seed));
                loop {
                    let (n, value) = (random.below(1 << 40) as usize, random.below(1 << 53));
                    let at = [Place::Header(n), Place::Any(n)][n % 2];
                    bytes.poke(at, Value::This(value << (n % 16)), true);
                    if n.is_multiple_of(16) {
                        std::thread::yield_now();
                    }
                }
            })
        });
        let child = start(log, || {
            let done = carry_out(&path, case, &|step| log.begin(step))?;
            log.add([done, 0, 0, 0, 0]);
            Ok(())
        });
        let ended = child.finish();
        scribbler.into_iter().for_each(Child::kill);
        ended
    });
    let [done, ..] = log.met();
    eprintln!("{done} operations on a summary");
    assert!(done > 100);
}
