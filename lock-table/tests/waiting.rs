//! Waiting: in turn (see `fairness` too), with a deadline, never for oneself, never in a circle.

mod common;

use common::*;
use lock_table::{FileId, Mine, Mode, NotHeld, Table};
use std::os::unix::thread::JoinHandleExt;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

fn waiters(table: &Table) -> usize {
    table
        .snapshot()
        .slots
        .iter()
        .filter(|s| s.state == lock_table::SlotState::Waiting)
        .count()
}

#[test]
fn first_come_first_served() {
    let dir = Dir::new();
    let table = attach(&dir.make());
    let first = table.take_slot(100).unwrap();
    table
        .hold_now(first, &claim(Mode::DirectWrite, 0, 4095))
        .unwrap();
    let turn = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let mut all = Vec::new();
        // Alternating directions: a writer among readers keeps its place, and so do they.
        for i in 0..10u32 {
            let turn = &turn;
            all.push(scope.spawn(move || {
                let s = table.take_slot(i + 1).unwrap();
                let mode = if i % 2 == 0 {
                    Mode::DirectWrite
                } else {
                    Mode::Layout
                };
                table
                    .hold(
                        s,
                        &claim(mode, 0, 4095),
                        &Mine::NONE,
                        in_ms(20_000),
                        &mut no(),
                    )
                    .unwrap();
                let mine = turn.fetch_add(1, SeqCst);
                table.give_slot(s);
                (i, mine)
            }));
            until("it waits", || waiters(table) == i as usize + 1);
        }
        table.release(first);
        for t in all {
            let (came, served) = t.join().unwrap();
            assert_eq!(came, served);
        }
    });
}

#[test]
fn readers_do_not_wait_for_each_other() {
    let dir = Dir::new();
    let table = attach(&dir.make());
    for (i, mode) in [
        Mode::BufferedRead,
        Mode::BufferedRead,
        Mode::DirectRead,
        Mode::DirectRead,
    ]
    .iter()
    .enumerate()
    {
        let s = table.take_slot(i as u32 + 1).unwrap();
        table.hold_now(s, &claim(*mode, 0, u64::MAX)).unwrap();
    }
    let s = table.take_slot(9).unwrap();
    assert!(
        table
            .hold_now(s, &claim(Mode::BufferedWrite, 0, 0))
            .is_err()
    );
    assert!(
        table
            .hold_now(s, &claim(Mode::Layout, u64::MAX, u64::MAX))
            .is_err()
    );
    let elsewhere = lock_table::Claim {
        file: FileId { dev: 1, ino: 1 },
        ..claim(Mode::Layout, 0, u64::MAX)
    };
    table.hold_now(s, &elsewhere).unwrap();
}

/// Who gets signals faster than any sleep is long notices, too, that the one in his way is dead.
#[test]
fn signals_do_not_hide_a_death() {
    let dir = Dir::new();
    let path = dir.make();
    let table = attach(&path);
    let c = claim(Mode::Layout, 0, 4095);
    for period_us in [9_000, 3_000, 700] {
        let dead = Child::run(|| match Table::attach(&path) {
            Ok(t) => i32::from(t.take_slot(1).is_none_or(|s| t.hold_now(s, &c).is_err())),
            Err(_) => 2,
        });
        assert_eq!(dead.wait(), 0);
        let took = &shared_words(1)[0];
        let waiter = Child::run(|| {
            let period = libc::timeval {
                tv_sec: 0,
                tv_usec: period_us,
            };
            let timer = libc::itimerval {
                it_interval: period,
                it_value: period,
            };
            let (Ok(()), Some(s)) = (table.reattach_in_child(), table.take_slot(1)) else {
                return 2;
            };
            // SAFETY: a handler that does nothing, and a timer of this process's own.
            unsafe {
                libc::signal(libc::SIGALRM, nothing as *const () as usize);
                libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut());
            }
            let held = table.hold(s, &c, &Mine::NONE, in_ms(5000), &mut no());
            took.store(held.map_or(u64::MAX, |h| h.waited_ns / 1_000_000), SeqCst);
            0
        });
        assert_eq!(waiter.wait(), 0);
        let took = took.load(SeqCst);
        assert!(took < 1000, "a signal every {period_us} us: {took} ms");
    }
}

/// What a caller does wrong is his own affair.
#[test]
fn what_makes_no_sense_hurts_nobody_else() {
    let dir = Dir::new();
    let table = attach(&dir.make());
    let (a, b) = (table.take_slot(1).unwrap(), table.take_slot(2).unwrap());
    let backwards = claim(Mode::DirectWrite, 8192, 4095);
    table.hold_now(a, &backwards).unwrap();
    assert!(
        table
            .hold_now(b, &claim(Mode::DirectRead, 8192, 8192))
            .is_err()
    );
    // The slot is in use, once by an earlier claim and once by the same call.
    let elsewhere = claim(Mode::DirectWrite, 1 << 40, 1 << 40);
    assert_eq!(table.hold_now(a, &elsewhere), Err(NotHeld::NotOurs));
    table.release(a);
    let twice = table.hold_all(
        &[a, a],
        &[backwards, elsewhere],
        &Mine::NONE,
        in_ms(10),
        &mut no(),
    );
    assert_eq!(twice, Err(NotHeld::NotOurs));
    assert!(!table.is_poisoned());
    table
        .hold_now(b, &claim(Mode::Layout, 0, u64::MAX))
        .unwrap();
}

/// Several may be in the way, at places that a scan doesn't meet in the order of their numbers: after the first it goes
/// on to the others.
#[test]
fn all_in_the_way_are_waited_for() {
    let dir = Dir::new();
    let table = attach(&dir.table()); // of the default size
    let request = table.take_request_slot().unwrap();
    let slots: Vec<_> = (0..2200).map_while(|_| table.take_slot(1)).collect();
    let c = claim(Mode::DirectRead, 0, 4095);
    // (word of the first, word of the other): each order of the two.
    for (a, b) in [(1, 33), (0, 33), (34, 2), (34, 33)] {
        let others = [slots[a * 64 + 5], slots[b * 64 + 5], request];
        for s in others {
            table.hold_now(s, &c).unwrap();
        }
        let done = AtomicU32::new(0);
        std::thread::scope(|scope| {
            let (done, mine) = (&done, slots[3]);
            let waits = scope.spawn(move || {
                let layout = claim(Mode::Layout, 0, 4095);
                let held = table.hold(mine, &layout, &Mine::NONE, in_ms(20_000), &mut no());
                done.store(1, SeqCst);
                table.release(mine);
                held.is_ok()
            });
            // Whichever it waits for lets go, one after the other.
            let mut left = others.map(Some);
            while left.iter().any(Option::is_some) {
                let mut on = None;
                until("it waits", || {
                    let known = table.snapshot().slots;
                    let waits_on = known.iter().find_map(|s| s.waiting_on);
                    on = left
                        .iter_mut()
                        .find(|s| s.is_some_and(|s| Some(s.index()) == waits_on))
                        .and_then(Option::take);
                    on.is_some() || done.load(SeqCst) == 1
                });
                assert_eq!(done.load(SeqCst), 0, "it hasn't waited for {left:?}");
                table.release(on.unwrap());
            }
            assert!(waits.join().unwrap());
        });
    }
}

#[test]
fn a_deadline_is_kept() {
    let dir = Dir::new();
    let table = attach(&dir.make());
    let (a, b) = (table.take_slot(1).unwrap(), table.take_slot(2).unwrap());
    table.hold_now(a, &claim(Mode::Layout, 0, 0)).unwrap();
    for ms in [0, 5, 120] {
        let start = Instant::now();
        let late = table.hold(
            b,
            &claim(Mode::Layout, 0, 0),
            &Mine::NONE,
            in_ms(ms),
            &mut no(),
        );
        assert!(matches!(late, Err(NotHeld::TimedOut(by)) if by.slot == a));
        let took = start.elapsed().as_millis() as u64;
        assert!((ms..ms + 100).contains(&took), "{ms} ms took {took}");
    }
    assert_eq!(table.snapshot().slots.len(), 1);
}

#[test]
fn a_release_wakes_at_once() {
    let dir = Dir::new();
    let table = attach(&dir.make());
    let (a, b) = (table.take_slot(1).unwrap(), table.take_slot(2).unwrap());
    let mut best = u64::MAX;
    for _ in 0..5 {
        table.hold_now(a, &claim(Mode::Layout, 0, 0)).unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                table
                    .hold(
                        b,
                        &claim(Mode::Layout, 0, 0),
                        &Mine::NONE,
                        in_ms(20_000),
                        &mut no(),
                    )
                    .unwrap();
                kernel::now_ns()
            });
            // Into its longest sleep.
            sleep_ms(150);
            let released = kernel::now_ns();
            table.release(a);
            best = best.min(waiter.join().unwrap() - released);
        });
        table.release(b);
    }
    assert!(
        best < 5_000_000,
        "{best} ns: woken by a timeout, not by the release"
    );
}

#[test]
fn nobody_waits_for_himself() {
    let dir = Dir::new();
    let table = attach(&dir.make());
    let (outer, inner) = (table.take_slot(1).unwrap(), table.take_slot(1).unwrap());
    table
        .hold_now(outer, &claim(Mode::BufferedWrite, 0, 100))
        .unwrap();
    let start = Instant::now();
    let nested = table.hold(
        inner,
        &claim(Mode::DirectRead, 0, 511),
        &Mine::of(&[outer]),
        None,
        &mut no(),
    );
    assert!(matches!(nested, Err(NotHeld::Nested(b)) if b.slot == outer));
    assert!(start.elapsed().as_millis() < 100);
    // What does not conflict is had.
    table
        .hold(
            inner,
            &claim(Mode::BufferedWrite, 0, 100),
            &Mine::of(&[outer]),
            None,
            &mut no(),
        )
        .unwrap();
}

#[test]
fn the_poll_is_asked_with_the_slot_withdrawn() {
    let dir = Dir::new();
    let table = attach(&dir.make());
    let (a, b) = (table.take_slot(1).unwrap(), table.take_slot(2).unwrap());
    table.hold_now(a, &claim(Mode::Layout, 0, 0)).unwrap();
    let mut asked = 0;
    let gave_up = table.hold(
        b,
        &claim(Mode::Layout, 0, 0),
        &Mine::NONE,
        in_ms(20_000),
        &mut || {
            asked += 1;
            assert_eq!(table.snapshot().slots.len(), 1);
            asked == 3
        },
    );
    assert_eq!((gave_up, asked), (Err(NotHeld::GaveUp), 3));
    // After a poll it queues again, and gets its turn.
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            table.hold(
                b,
                &claim(Mode::Layout, 0, 0),
                &Mine::NONE,
                in_ms(20_000),
                &mut no(),
            )
        });
        sleep_ms(200);
        table.release(a);
        assert!(waiter.join().unwrap().unwrap().waited_ns > 100_000_000);
    });
}

/// Two threads that each hold what the other wants. One of them gives way, soon; the other gets it.
#[test]
fn a_circle_is_found() {
    let dir = Dir::new();
    let table = attach(&dir.make());
    let cell = |n: u64| claim(Mode::Layout, n * 4096, n * 4096 + 4095);
    let held = AtomicU32::new(0);
    let run = |thread: u32, first: u64, second: u64| {
        let (outer, inner) = (
            table.take_slot(thread).unwrap(),
            table.take_slot(thread).unwrap(),
        );
        table.hold_now(outer, &cell(first)).unwrap();
        held.fetch_add(1, SeqCst);
        until("all hold", || held.load(SeqCst) == 3);
        let got = table.hold(
            inner,
            &cell(second),
            &Mine::of(&[outer]),
            in_ms(20_000),
            &mut no(),
        );
        table.give_slot(inner);
        table.give_slot(outer);
        got
    };
    let start = Instant::now();
    let results = std::thread::scope(|scope| {
        let all = [
            scope.spawn(|| run(1, 0, 1)),
            scope.spawn(|| run(2, 1, 2)),
            scope.spawn(|| run(3, 2, 0)),
        ];
        all.map(|t| t.join().unwrap())
    });
    let deadlocks = results
        .iter()
        .filter(|r| matches!(r, Err(NotHeld::Deadlock(_))))
        .count();
    assert_eq!(deadlocks, 1, "{results:?}");
    assert_eq!(
        results.iter().filter(|r| r.is_ok()).count(),
        2,
        "{results:?}"
    );
    assert!(start.elapsed().as_secs() < 3);
}

/// A queue is no circle, however long it lasts.
#[test]
fn a_long_queue_is_no_deadlock() {
    let dir = Dir::new();
    let table = attach(&dir.make());
    let (a, other) = (table.take_slot(1).unwrap(), table.take_slot(1).unwrap());
    table.hold_now(a, &claim(Mode::Layout, 0, 0)).unwrap();
    table
        .hold_now(other, &claim(Mode::Layout, 1 << 30, 1 << 30))
        .unwrap();
    std::thread::scope(|scope| {
        let all: Vec<_> = (2..6)
            .map(|thread| {
                scope.spawn(move || {
                    let (s, more) = (
                        table.take_slot(thread).unwrap(),
                        table.take_slot(thread).unwrap(),
                    );
                    let at = u64::from(thread) << 32;
                    table.hold_now(more, &claim(Mode::Layout, at, at)).unwrap();
                    table
                        .hold(
                            s,
                            &claim(Mode::Layout, 0, 0),
                            &Mine::of(&[more]),
                            in_ms(20_000),
                            &mut no(),
                        )
                        .unwrap();
                    table.give_slot(s);
                    table.give_slot(more);
                })
            })
            .collect();
        sleep_ms(2200);
        table.release(a);
        for t in all {
            t.join().unwrap();
        }
    });
}

#[test]
fn several_ranges_are_all_or_nothing() {
    let dir = Dir::new();
    let table = attach(&dir.make());
    let slots = [table.take_slot(1).unwrap(), table.take_slot(1).unwrap()];
    let other = table.take_slot(2).unwrap();
    // In one unit and in one page: a call does not exclude itself.
    let claims = [
        claim(Mode::BufferedRead, 0, 99),
        claim(Mode::Layout, 100, u64::MAX),
    ];
    table
        .hold_all(&slots, &claims, &Mine::NONE, None, &mut no())
        .unwrap();
    assert!(
        table
            .hold_now(other, &claim(Mode::DirectWrite, 0, 0))
            .is_err()
    );
    assert!(
        table
            .hold_now(other, &claim(Mode::BufferedRead, u64::MAX, u64::MAX))
            .is_err()
    );
    slots.iter().for_each(|s| table.release(*s));
    table
        .hold_now(other, &claim(Mode::DirectWrite, 1 << 40, 1 << 40))
        .unwrap();
    let late = table.hold_all(&slots, &claims, &Mine::NONE, in_ms(50), &mut no());
    assert!(matches!(late, Err(NotHeld::TimedOut(b)) if b.slot == other));
    assert_eq!(table.snapshot().slots.len(), 1);
    assert_eq!(
        table.hold_all(&slots[..1], &claims, &Mine::NONE, None, &mut no()),
        Err(NotHeld::GaveUp)
    );
}

#[test]
fn an_announcement_is_in_the_way_and_looks_at_nobody() {
    let dir = Dir::new();
    let table = attach(&dir.make());
    let (a, b) = (
        table.take_slot(1).unwrap(),
        table.take_request_slot().unwrap(),
    );
    let c = claim(Mode::DirectWrite, 0, 4095);
    table.announce(a, &c);
    table.announce(b, &c);
    assert_eq!(
        table.blocker(a, &c, &[]).map(|by| (by.slot, by.thread)),
        Some((b, 0))
    );
    table.release(b);
    assert_eq!(table.blocker(a, &c, &[]), None);
    assert_eq!(
        table.hold_now(b, &c).unwrap_err().blocker().unwrap().slot,
        a
    );
    table.release(a);
    table.hold_now(b, &c).unwrap();
}

extern "C" fn nothing(_: i32) {}

#[test]
fn signals_do_not_end_a_wait() {
    let dir = Dir::new();
    let table = attach(&dir.make());
    let (a, b) = (table.take_slot(1).unwrap(), table.take_slot(2).unwrap());
    table.hold_now(a, &claim(Mode::Layout, 0, 0)).unwrap();
    // SAFETY: installs a handler that does nothing.
    unsafe { libc::signal(libc::SIGUSR1, nothing as *const () as libc::sighandler_t) };
    let waiter = std::thread::spawn(move || {
        table.hold(
            b,
            &claim(Mode::Layout, 0, 0),
            &Mine::NONE,
            in_ms(20_000),
            &mut no(),
        )
    });
    let id = waiter.as_pthread_t();
    for _ in 0..50 {
        sleep_ms(3);
        // SAFETY: the thread waits for what we hold.
        unsafe { libc::pthread_kill(id, libc::SIGUSR1) };
    }
    assert_eq!(waiters(table), 1);
    table.release(a);
    waiter.join().unwrap().unwrap();
}
