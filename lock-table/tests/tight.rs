//! The narrow windows, entered as often as can be. Without the fence after an announcement the first of these fails in
//! a release build, without the order of the tickets the second.

mod common;

use common::*;
use lock_table::{Mine, Mode, Table};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::{Duration, Instant};

/// Makes every scan look at many free slots, and so every window wide.
fn widen(table: &Table) {
    let all: Vec<_> = (0..250).filter_map(|i| table.take_slot(i + 1)).collect();
    all.into_iter().for_each(|s| table.give_slot(s));
}

/// Runs a body in a few threads for a while. The body gets its number and whether to go on.
fn race(threads: u32, body: impl Fn(u32, &dyn Fn() -> bool) + Sync) {
    let end = Instant::now() + Duration::from_millis(1500);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for t in 0..threads {
            let (body, stop) = (&body, &stop);
            scope.spawn(move || {
                let rounds = AtomicU32::new(0);
                body(t, &|| {
                    // The clock is slow: look at it now and then.
                    if rounds.fetch_add(1, Relaxed).is_multiple_of(256) && Instant::now() >= end {
                        stop.store(true, Relaxed);
                    }
                    !stop.load(Relaxed)
                });
            });
        }
    });
}

#[test]
fn two_that_try_at_once_never_both_succeed() {
    let dir = Dir::new();
    let table = attach(&dir.make());
    let (inside, both, got) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU64::new(0));
    race(2, |t, go_on| {
        let s = table.take_slot(t + 1).unwrap();
        let c = claim(Mode::DirectWrite, 0, 4095);
        while go_on() {
            if table.hold_now(s, &c).is_ok() {
                both.fetch_add(inside.fetch_add(1, SeqCst), SeqCst);
                got.fetch_add(1, Relaxed);
                inside.fetch_sub(1, SeqCst);
                table.release(s);
            }
        }
    });
    assert_eq!(both.load(SeqCst), 0);
    assert!(got.load(SeqCst) > 1000);
}

#[test]
fn two_that_queue_at_once_never_both_enter() {
    let dir = Dir::new();
    let table = attach(&dir.make());
    widen(table);
    let (inside, both, got) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU64::new(0));
    race(4, |t, go_on| {
        let s = table.take_slot(t + 1).unwrap();
        let c = claim(Mode::Layout, 0, 4095);
        while go_on() {
            table
                .hold(s, &c, &Mine::NONE, in_ms(10_000), &mut no())
                .unwrap();
            both.fetch_add(inside.fetch_add(1, SeqCst), SeqCst);
            got.fetch_add(1, Relaxed);
            inside.fetch_sub(1, SeqCst);
            table.release(s);
        }
    });
    assert_eq!(both.load(SeqCst), 0);
    assert!(got.load(SeqCst) > 1000);
}
