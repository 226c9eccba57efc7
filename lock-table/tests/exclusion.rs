//! No two that exclude each other are ever inside together: threads and processes, as an oracle outside the table
//! sees it.

mod common;

use common::*;
use lock_table::{Mode, NotHeld, Slot, Table, sort_and_merge};
use std::sync::atomic::Ordering::SeqCst;

/// Holds and lets go of random claims, alone and several at once, until told to stop.
fn work(table: &Table, oracle: Oracle, worker: usize) -> Result<(), NotHeld> {
    let slots: [Slot; 3] = std::array::from_fn(|_| table.take_slot(worker as u32 + 1).unwrap());
    let mut random = Random(0x1234_5678 + 977 * (worker as u64 + 1));
    while !oracle.stopped() {
        let several = random.below(4) == 0;
        if several {
            let mut claims: [_; 3] = std::array::from_fn(|_| random.claim());
            let n = sort_and_merge(&mut claims);
            // One ticket for all: no deadlock, whatever the ranges.
            table.hold_all(&slots, &claims[..n], &[], in_ms(20_000), &mut no())?;
            // The oracle has one record a worker: the first claim stands for all.
            oracle.enter(worker, &claims[0]);
            for _ in 0..random.below(200) {
                std::hint::spin_loop();
            }
            oracle.leave(worker);
            slots.iter().take(n).for_each(|s| table.release(*s));
        } else {
            let c = random.claim();
            if random.below(3) == 0 {
                if table.hold_now(slots[0], &c, &[]).is_err() {
                    continue;
                }
            } else {
                table.hold(slots[0], &c, &[], in_ms(20_000), &mut no())?;
            }
            oracle.enter(worker, &c);
            for _ in 0..random.below(200) {
                std::hint::spin_loop();
            }
            oracle.leave(worker);
            table.release(slots[0]);
        }
    }
    slots.iter().for_each(|s| table.give_slot(*s));
    Ok(())
}

#[test]
fn threads_exclude_each_other() {
    let dir = Dir::new();
    let table = attach(&dir.make());
    let oracle = Oracle::new(6);
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..6)
            .map(|w| scope.spawn(move || work(table, oracle, w)))
            .collect();
        sleep_ms(1500);
        oracle.stop();
        for t in all {
            assert_eq!(t.join().unwrap(), Ok(()));
        }
    });
    assert_eq!(oracle.violations(), 0);
    assert!(oracle.entries() > 1000, "{} entries", oracle.entries());
    assert!(!table.is_poisoned() && table.snapshot().slots.is_empty());
}

#[test]
fn processes_exclude_each_other() {
    let dir = Dir::new();
    let path = dir.make();
    let oracle = Oracle::new(5);
    let all: Vec<_> = (0..5)
        .map(|w| {
            let path = &path;
            Child::run(move || match Table::attach(path) {
                Ok(table) => i32::from(work(&table, oracle, w).is_err()),
                Err(_) => 2,
            })
        })
        .collect();
    sleep_ms(1500);
    oracle.stop();
    for child in all {
        assert_eq!(child.wait(), 0);
    }
    assert_eq!(oracle.violations(), 0);
    assert!(oracle.entries() > 1000, "{} entries", oracle.entries());
}

/// The other side of the oracle: without the table it does see the collisions.
#[test]
fn the_oracle_sees_collisions() {
    let oracle = Oracle::new(2);
    oracle.enter(0, &claim(Mode::DirectWrite, 0, 4095));
    oracle.enter(1, &claim(Mode::BufferedWrite, 1 << 20, 1 << 20));
    assert_eq!(oracle.violations(), 1);
    oracle.leave(0);
    oracle.enter(1, &claim(Mode::Layout, 0, u64::MAX));
    assert_eq!(oracle.violations(), 1);
}

#[test]
fn killed_workers_take_nothing_with_them() {
    let dir = Dir::new();
    let path = dir.make();
    let table = attach(&path);
    let oracle = Oracle::new(12);
    let spawn = |w: usize| {
        let path = &path;
        Child::run(move || match Table::attach(path) {
            Ok(table) => i32::from(work(&table, oracle, w).is_err()),
            Err(_) => 2,
        })
    };
    let steady: Vec<_> = (0..3).map(spawn).collect();
    let mut random = Random(99);
    for round in 0..24 {
        let w = 3 + round % 9;
        let victim = spawn(w);
        std::thread::sleep(std::time::Duration::from_micros(
            3000 + random.below(20_000),
        ));
        // Stopped first: what it is inside of can be written off before others may come in.
        victim.signal(libc::SIGSTOP);
        let mut status = 0;
        // SAFETY: waits until our child has stopped.
        unsafe { libc::waitpid(victim.0, &mut status, libc::WUNTRACED) };
        if oracle_is_stuck(oracle) {
            // It stopped inside the oracle itself: let it out before it dies.
            victim.signal(libc::SIGCONT);
            sleep_ms(1);
            victim.signal(libc::SIGSTOP);
            // SAFETY: as above.
            unsafe { libc::waitpid(victim.0, &mut status, libc::WUNTRACED) };
        }
        oracle.doom(w);
        victim.kill();
    }
    sleep_ms(300);
    oracle.stop();
    for child in steady {
        assert_eq!(child.wait(), 0);
    }
    assert_eq!(oracle.violations(), 0);
    let entries = oracle.entries();
    assert!(entries > 1000, "{entries} entries");
    table.reap();
    let left = table.snapshot();
    assert!(
        left.slots.is_empty() && left.processes.len() == 1,
        "{left:?}"
    );
}

/// Nobody gets through the oracle's own lock for a while: somebody was stopped inside.
fn oracle_is_stuck(oracle: Oracle) -> bool {
    let before = oracle.entries();
    for _ in 0..200 {
        if oracle.entries() != before {
            return false;
        }
        std::thread::sleep(std::time::Duration::from_micros(100));
    }
    true
}

#[test]
fn shared_words_are_shared() {
    let words = shared_words(1);
    assert_eq!(Child::run(|| words[0].swap(7, SeqCst) as i32).wait(), 0);
    assert_eq!(words[0].load(SeqCst), 7);
}
