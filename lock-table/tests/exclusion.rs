//! No two that exclude each other are ever inside together: threads and processes, as an oracle outside the table
//! sees it. (With killing: `storm`.)

mod common;

use common::oracle::{DONE, NO_TABLE, Oracle, work};
use common::*;
use lock_table::{Mode, Table};
use std::sync::atomic::Ordering::SeqCst;

#[test]
fn threads_exclude_each_other() {
    let dir = Dir::new();
    let table = attach(&dir.make());
    let oracle = Oracle::new(6);
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..6)
            .map(|w| scope.spawn(move || work(table, oracle, w, w as u64, 200)))
            .collect();
        sleep_ms(1500);
        oracle.stop();
        for t in all {
            assert_eq!(t.join().unwrap(), DONE);
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
                Ok(table) => work(&table, oracle, w, w as u64, 200),
                Err(_) => NO_TABLE,
            })
        })
        .collect();
    sleep_ms(1500);
    oracle.stop();
    for child in all {
        assert_eq!(child.wait(), DONE);
    }
    assert_eq!(oracle.violations(), 0);
    assert!(oracle.entries() > 1000, "{} entries", oracle.entries());
}

/// The other side of the oracle: without the table it does see the collisions, each of several claims counts, and the
/// dead exclude nobody.
#[test]
fn the_oracle_sees_collisions() {
    let oracle = Oracle::new(3);
    oracle.enter(0, &[claim(Mode::DirectWrite, 0, 4095)]);
    let beside = claim(Mode::BufferedRead, 4096, 4096);
    oracle.enter(1, &[beside, claim(Mode::BufferedWrite, 1 << 20, 1 << 20)]);
    assert_eq!(oracle.violations(), 1);
    oracle.leave(0);
    oracle.leave(1);
    let all = [claim(Mode::Layout, 0, u64::MAX)];
    oracle.enter(1, &all);
    assert_eq!(oracle.violations(), 1);
    let words = shared_words(1);
    let child = Child::run(|| {
        oracle.enter(2, &[claim(Mode::DirectRead, 0, 10)]);
        words[0].store(1, SeqCst);
        loop {
            sleep_ms(1000);
        }
    });
    until("the child is inside", || words[0].load(SeqCst) == 1);
    assert_eq!(oracle.violations(), 2);
    child.signal(libc::SIGSTOP);
    oracle.leave(1);
    oracle.enter(1, &all);
    assert_eq!(oracle.violations(), 3);
    child.signal(libc::SIGKILL);
    child.ended();
    oracle.leave(1);
    oracle.enter(1, &all);
    assert_eq!(oracle.violations(), 3);
    child.wait();
    assert!(oracle.buried(2) && !oracle.buried(2));
}

#[test]
fn shared_words_are_shared() {
    let words = shared_words(1);
    assert_eq!(Child::run(|| words[0].swap(7, SeqCst) as i32).wait(), 0);
    assert_eq!(words[0].load(SeqCst), 7);
}
