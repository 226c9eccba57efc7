//! Nobody starves: the few get their turn among the many, and the many among themselves. The longest wait is shown.

mod common;

use common::*;
use lock_table::{Claim, Mine, Mode, Table};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// Nobody may wait longer. Each one has at most a dozen in front of him, each inside for a millisecond or two; should
/// every single wake be lost, another 50 ms apiece; and a busy machine may leave a thread without a processor for a
/// tenth of a second, now and then. Where there are no turns the few never get in at all, as long as the many go on:
/// these keep every moment covered and go on until the few are through, or have waited `NEVER`.
const BOUND: Duration = Duration::from_secs(3);
const NEVER: Duration = Duration::from_secs(12);
const MS: Duration = Duration::from_millis(1);

#[derive(Clone, Copy)]
enum Way {
    Waits,
    /// `hold_now`, again and again.
    Tries,
}

/// Some threads that do the same, over and over.
struct Kind {
    name: &'static str,
    threads: u32,
    way: Way,
    /// What the nth thread claims.
    claim: fn(u64) -> Claim,
    inside: Duration,
}

/// How often a thread got in, and how long it waited at most.
#[derive(Clone, Copy)]
struct Fared {
    times: u32,
    longest: Duration,
}

impl Kind {
    fn run(&self, table: &Table, n: u32, goes_on: &dyn Fn(u32) -> bool) -> Fared {
        let s = table.take_slot(n + 1).unwrap();
        let c = (self.claim)(n.into());
        let (mut times, mut longest) = (0, 0);
        while goes_on(times) {
            let begun = kernel::now_ns();
            let in_it = match self.way {
                Way::Waits => {
                    let deadline = begun + NEVER.as_nanos() as u64;
                    table
                        .hold(s, &c, &Mine::NONE, Some(deadline), &mut no())
                        .is_ok()
                }
                Way::Tries => table.hold_now(s, &c).is_ok(),
            };
            longest = longest.max(kernel::now_ns() - begun);
            if in_it {
                times += 1;
                std::thread::sleep(self.inside);
                table.release(s);
            } else {
                std::thread::yield_now();
            }
        }
        table.give_slot(s);
        let longest = Duration::from_nanos(longest);
        Fared { times, longest }
    }
}

fn least(all: &[Fared]) -> u32 {
    all.iter().map(|f| f.times).min().unwrap_or(0)
}

fn longest(all: &[Fared]) -> Duration {
    all.iter().map(|f| f.longest).max().unwrap_or_default()
}

/// Runs them against each other until each of the few has been in so often.
fn crowd(what: &str, few: Kind, many: Kind) {
    let rounds = if long() { 800 } else { 40 };
    let dir = Dir::new();
    let table = attach(&dir.make());
    let through = AtomicU32::new(0);
    let held = || table.snapshot().slots.len() as u32;
    let (these, those) = std::thread::scope(|scope| {
        let (few, many, through) = (&few, &many, &through);
        let goes_on = move |_| through.load(SeqCst) < few.threads;
        let those: Vec<_> = (0..many.threads)
            .map(|n| scope.spawn(move || many.run(table, n, &goes_on)))
            .collect();
        until("the crowd is there", || held() == many.threads);
        let begun = kernel::now_ns();
        let in_time = move || Duration::from_nanos(kernel::now_ns() - begun) < 2 * NEVER;
        let these: Vec<_> = (0..few.threads)
            .map(|n| {
                scope.spawn(move || {
                    let fared = few.run(table, 100 + n, &|t| t < rounds && in_time());
                    through.fetch_add(1, SeqCst);
                    fared
                })
            })
            .collect();
        let these: Vec<_> = these.into_iter().map(|t| t.join().unwrap()).collect();
        let those: Vec<_> = those.into_iter().map(|t| t.join().unwrap()).collect();
        (these, those)
    });
    eprintln!(
        "{what}: longest wait of the {}: {:.1?} in {} rounds each; of the {}: {:.1?} in {} each or more",
        few.name,
        longest(&these),
        least(&these),
        many.name,
        longest(&those),
        least(&those),
    );
    assert!(longest(&these) < BOUND && longest(&those) < BOUND);
    // Who only tries may be unlucky each time.
    let tries = matches!(many.way, Way::Tries);
    assert!(least(&these) == rounds && (tries || least(&those) > 2));
}

fn page(mode: Mode, n: u64) -> Claim {
    claim(mode, n * 4096, n * 4096 + 4095)
}

fn waiting(name: &'static str, threads: u32, claim: fn(u64) -> Claim) -> Kind {
    Kind {
        name,
        threads,
        way: Way::Waits,
        claim,
        inside: if threads > 2 { 2 * MS } else { MS },
    }
}

#[test]
fn a_writer_among_readers() {
    crowd(
        "a writer among 8 readers",
        waiting("writer", 1, |_| page(Mode::DirectWrite, 0)),
        waiting("readers", 8, |_| page(Mode::DirectRead, 0)),
    );
}

#[test]
fn a_reader_among_writers() {
    crowd(
        "a reader among 8 writers",
        waiting("reader", 1, |_| page(Mode::BufferedRead, 0)),
        waiting("writers", 8, |_| page(Mode::DirectWrite, 0)),
    );
}

/// Each short range is free again and again, but never all of them at once.
#[test]
fn the_whole_file_among_short_ranges() {
    crowd(
        "the whole file among 8 short ranges",
        waiting("whole file", 1, |_| claim(Mode::Layout, 0, u64::MAX)),
        waiting("short ranges", 8, |n| page(Mode::DirectWrite, n)),
    );
}

#[test]
fn short_ranges_among_whole_files() {
    crowd(
        "2 short ranges among 6 whole files",
        waiting("short ranges", 2, |n| page(Mode::DirectWrite, n)),
        waiting("whole files", 6, |_| claim(Mode::DirectRead, 0, u64::MAX)),
    );
}

/// Who only tries has no place in the queue; he gives way to those who have.
#[test]
fn one_who_waits_among_those_who_try() {
    crowd(
        "one who waits among 6 who try",
        waiting("one who waits", 1, |_| page(Mode::DirectWrite, 0)),
        Kind {
            way: Way::Tries,
            ..waiting("tryers", 6, |_| page(Mode::DirectRead, 0))
        },
    );
}
