//! Slots of asynchronous requests: they belong to no thread, any thread of their process lets go of them, and who waits
//! for one rings its owner's bell.

mod common;

use common::*;
use lock_table::{Claim, Mine, Mode, NotHeld, Slot, Table};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, SeqCst};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Less than any sleep is long, and far more than a wake takes: what is measured several times takes less once.
const AT_ONCE_NS: u64 = 5_000_000;

fn page(n: u64) -> Claim {
    claim(Mode::DirectWrite, n * 4096, n * 4096 + 4095)
}

/// Does somebody wait with this slot?
fn waits(table: &Table, slot: Slot) -> bool {
    let shown = table.snapshot().slots;
    let mut of_slot = shown.iter().filter(|s| s.index == slot.index());
    of_slot.any(|s| s.waiting_on.is_some())
}

fn rung(table: &Table) -> u32 {
    table.bell().unwrap().load(SeqCst)
}

/// Sleeps while the bell says this, as its owner's helper does, at most so long. True if it was rung.
fn hears(bell: &AtomicU32, seen: u32, ms: i64) -> bool {
    let time = libc::timespec {
        tv_sec: ms / 1000,
        tv_nsec: ms % 1000 * 1_000_000,
    };
    let (word, time) = (bell.as_ptr(), &raw const time);
    // SAFETY: a word of the table, which stays mapped, and a timespec.
    unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, seen, time) };
    bell.load(Acquire) != seen
}

/// An owner that does nothing but sleep on its bell lets go of what is complete as soon as somebody waits for it.
#[test]
fn an_idle_owner_hears_who_waits() {
    const ROUNDS: u64 = 20;
    let dir = Dir::new();
    let path = dir.make();
    let table = attach(&path);
    let [held, done, woken] = [0, 1, 2].map(|i| &shared_words(3)[i]);
    let owner = Child::run(|| {
        let Ok(t) = Table::attach(&path) else {
            return 1;
        };
        let (Some(s), Some(bell)) = (t.take_request_slot(), t.bell()) else {
            return 2;
        };
        for n in 1..=ROUNDS {
            let seen = bell.load(Acquire);
            if t.hold_now(s, &page(0)).is_err() {
                return 3;
            }
            held.store(n, SeqCst);
            if !hears(bell, seen, 10_000) {
                return 4;
            }
            woken.fetch_add(1, SeqCst);
            t.release(s);
            while done.load(SeqCst) != n {
                sleep_ms(1);
            }
        }
        0
    });
    let s = table.take_slot(1).unwrap();
    let mut waited = [0; ROUNDS as usize];
    for (n, waited) in (1..).zip(&mut waited) {
        until("the request is under way", || held.load(SeqCst) == n);
        sleep_ms(2); // it sleeps
        let got = table.hold(s, &page(0), &Mine::NONE, in_ms(20_000), &mut no());
        table.release(s);
        done.store(n, SeqCst);
        *waited = got.unwrap().waited_ns;
    }
    assert_eq!(owner.wait(), 0);
    waited.sort_unstable();
    let [median, longest] = [ROUNDS / 2, ROUNDS - 1].map(|i| waited[i as usize]);
    eprintln!("waited for an idle owner: {median} ns, at most {longest} ns");
    assert!(median < AT_ONCE_NS, "{waited:?}");
    assert_eq!(woken.load(SeqCst), ROUNDS);
    assert_eq!(rung(table), 0, "nobody waited for us");
}

/// Addresses at which somebody was woken.
static WAKES: Mutex<Vec<usize>> = Mutex::new(Vec::new());

fn count_wakes(nr: usize, arguments: &[usize; 6]) -> bool {
    if nr == libc::SYS_futex as usize && arguments[1] == libc::FUTEX_WAKE as usize {
        let mut all = WAKES.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(arguments[0]);
    }
    true
}

/// How often the table's bell was rung: by the word, and by system calls of whoever is attached here. (Each has it at an
/// address of its own, in the same place of a page, where nothing else is that anybody sleeps on.)
fn rings(table: &Table, all: [&Table; 2]) -> (u32, usize) {
    let place = |address: usize| address % 4096;
    let bell = place(table.bell().unwrap().as_ptr() as usize);
    let wakes = WAKES.lock().unwrap_or_else(PoisonError::into_inner);
    let ours = |at: &&usize| place(**at) == bell && all.iter().any(|t| t.is_at(**at));
    (rung(table), wakes.iter().filter(ours).count())
}

/// Nobody is woken for what nobody waits for, nor for what a thread will let go of, nor for a request that is not under
/// way yet.
#[test]
fn a_bell_rings_only_for_a_request_that_is_waited_for() {
    kernel::set_gate(count_wakes);
    let dir = Dir::new();
    let path = dir.make();
    let (owner, other) = (attach(&path), attach(&path));
    let (request, thread) = (
        owner.take_request_slot().unwrap(),
        owner.take_slot(1).unwrap(),
    );
    let s = other.take_slot(1).unwrap();
    let late = |c: &Claim| {
        let held = other.hold(s, c, &Mine::NONE, in_ms(150), &mut no());
        assert!(matches!(held, Err(NotHeld::TimedOut(_))), "{held:?}");
    };
    // Nobody waits: they try, and look.
    owner.hold_now(request, &page(0)).unwrap();
    assert!(other.hold_now(s, &page(0)).is_err());
    assert!(other.blocker(s, &page(0), &[]).is_some());
    owner.release(request);
    // For a thread's.
    owner.hold_now(thread, &page(0)).unwrap();
    late(&page(0));
    // For a request that waits for that one itself.
    std::thread::scope(|scope| {
        let being_made = scope.spawn(|| {
            let claims = [page(0), page(1)];
            let slots = [request, owner.take_request_slot().unwrap()];
            let held = owner.hold_all(&slots, &claims, &Mine::NONE, in_ms(600), &mut no());
            slots.iter().for_each(|s| owner.release(*s));
            held
        });
        until("it waits", || waits(owner, request));
        let _ = other.hold(s, &page(1), &Mine::NONE, in_ms(150), &mut no());
        other.release(s);
        assert!(being_made.join().unwrap().is_err());
    });
    owner.release(thread);
    let all = [owner, other];
    assert_eq!(all.map(|t| rings(t, all)), [(0, 0); 2]);
    // And it does, again and again, for one that is under way.
    owner.hold_now(request, &page(0)).unwrap();
    late(&page(0));
    let (by_word, by_call) = rings(owner, all);
    assert!((3..=20).contains(&by_word), "{by_word}");
    assert_eq!(by_call, by_word as usize);
    assert_eq!(rings(other, all), (0, 0));
}

/// Who sleeps on a request that waits for its range rings as soon as it has got it.
#[test]
fn a_request_that_got_its_range_is_rung_for() {
    let dir = Dir::new();
    let path = dir.make();
    let (owner, other) = (attach(&path), attach(&path));
    let request = owner.take_request_slot().unwrap();
    let [first, last] = [other, other].map(|t| t.take_slot(1).unwrap());
    let mut best = u64::MAX;
    for _ in 0..5 {
        other.hold_now(first, &page(0)).unwrap();
        let seen = rung(owner);
        std::thread::scope(|scope| {
            let wait = |t: &'static Table, s| {
                move || {
                    t.hold(s, &page(0), &Mine::NONE, in_ms(20_000), &mut no())
                        .unwrap()
                }
            };
            let being_made = scope.spawn(wait(owner, request));
            until("the request waits", || waits(owner, request));
            let waiter = scope.spawn(wait(other, last));
            until("the other waits", || waits(other, last));
            sleep_ms(25); // into its second sleep
            let begun = Instant::now();
            other.release(first);
            until("the bell rings", || rung(owner) != seen);
            best = best.min(begun.elapsed().as_nanos() as u64);
            being_made.join().unwrap();
            owner.release(request);
            waiter.join().unwrap();
            other.release(last);
        });
    }
    assert!(best < AT_ONCE_NS, "{best} ns");
}

/// One thread takes the slot, a second holds in it, a third lets go, and whoever waits is woken.
#[test]
fn any_thread_lets_go_of_a_request() {
    let dir = Dir::new();
    let table = attach(&dir.make());
    let request = table.take_request_slot().unwrap();
    let s = table.take_slot(1).unwrap();
    let mut best = u64::MAX;
    for _ in 0..5 {
        std::thread::scope(|scope| {
            let hold = scope.spawn(|| table.hold(request, &page(0), &Mine::NONE, None, &mut no()));
            hold.join().unwrap().unwrap();
            let waiter = scope.spawn(|| {
                let held = table.hold(s, &page(0), &Mine::NONE, in_ms(20_000), &mut no());
                let now = kernel::now_ns();
                table.release(s);
                held.map(|_| now)
            });
            until("it waits", || waits(table, s));
            sleep_ms(2);
            let release = scope.spawn(|| {
                let now = kernel::now_ns();
                table.release(request);
                now
            });
            let begun = release.join().unwrap();
            let got = waiter.join().unwrap().unwrap();
            best = best.min(got.saturating_sub(begun));
        });
    }
    assert!(best < AT_ONCE_NS, "{best} ns");
    let give = std::thread::spawn(move || table.give_slot(request));
    give.join().unwrap();
    assert_eq!(table.take_request_slot(), Some(request));
}

/// A request of the same process is somebody else's: it ends while the thread that made it waits. (The search for
/// deadlocks has begun.) Unless the caller says that it is his own.
#[test]
fn one_s_own_request_is_waited_for() {
    let dir = Dir::new();
    let table = attach(&dir.make());
    let [request, other_request] = [(); 2].map(|()| table.take_request_slot().unwrap());
    let [outer, inner] = [(); 2].map(|()| table.take_slot(1).unwrap());
    table.hold_now(outer, &page(7)).unwrap();
    for waiter in [inner, other_request] {
        table.hold_now(request, &page(0)).unwrap();
        let mine = [outer, request];
        let nested = table.hold(waiter, &page(0), &Mine::of(&mine), None, &mut no());
        assert!(matches!(nested, Err(NotHeld::Nested(by)) if by.slot == request));
        let seen = rung(table);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| {
                table.hold(
                    waiter,
                    &page(0),
                    &Mine::of(&[outer]),
                    in_ms(20_000),
                    &mut no(),
                )
            });
            sleep_ms(1300);
            assert!(!waits.is_finished());
            assert_ne!(rung(table), seen);
            table.release(request);
            assert!(waits.join().unwrap().is_ok());
        });
        table.release(waiter);
    }
}

/// A thread that makes a request while it holds something else (in a signal handler, say) can be in a circle, though the
/// request's slot names no thread.
#[test]
fn a_circle_through_a_request_that_is_made_is_found() {
    let dir = Dir::new();
    let path = dir.make();
    let (a, b) = (attach(&path), attach(&path));
    let (outer, request) = (a.take_slot(1).unwrap(), a.take_request_slot().unwrap());
    let [other, inner] = [b, b].map(|t| t.take_slot(2).unwrap());
    a.hold_now(outer, &page(0)).unwrap();
    b.hold_now(other, &page(1)).unwrap();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let waiter =
            scope.spawn(|| b.hold(inner, &page(0), &Mine::of(&[other]), in_ms(8000), &mut no()));
        until("it waits", || waits(b, inner));
        let held = a.hold(
            request,
            &page(1),
            &Mine::of(&[outer]),
            in_ms(8000),
            &mut no(),
        );
        assert!(
            matches!(held, Err(NotHeld::Deadlock(by)) if by.slot == other),
            "{held:?}"
        );
        a.release(outer);
        assert!(waiter.join().unwrap().is_ok());
    });
    assert!(begun.elapsed().as_secs() < 4);
}

/// A forked child has its own bell, which nobody has rung, and the parent keeps its own.
#[test]
fn a_child_has_its_own_bell() {
    let dir = Dir::new();
    let table = attach(&dir.make());
    let looks = Table::inspect(&dir.table()).unwrap();
    assert!(looks.bell().is_none(), "it isn't registered");
    let (s, request) = (
        table.take_slot(1).unwrap(),
        table.take_request_slot().unwrap(),
    );
    table.hold_now(request, &page(0)).unwrap();
    let parents = table.bell().unwrap().as_ptr();
    assert!(
        table
            .hold(s, &page(0), &Mine::NONE, in_ms(60), &mut no())
            .is_err()
    );
    let seen = rung(table);
    assert_ne!(seen, 0);
    for _ in 0..2 {
        // The second has the entry of the first, and with it a bell that was rung.
        let held = &shared_words(1)[0];
        let child = Child::run(|| {
            if table.reattach_in_child().is_err() {
                return 1;
            }
            let (Some(own), Some(bell)) = (table.take_request_slot(), table.bell()) else {
                return 2;
            };
            if bell.as_ptr() == parents || bell.load(SeqCst) != 0 {
                return 3;
            }
            if table.hold_now(own, &page(1)).is_err() {
                return 4;
            }
            held.store(1, SeqCst);
            if !hears(bell, 0, 10_000) {
                return 5;
            }
            table.release(own);
            0
        });
        until("the child holds", || held.load(SeqCst) == 1);
        let got = table.hold(s, &page(1), &Mine::NONE, in_ms(5000), &mut no());
        assert!(got.is_ok(), "{got:?}");
        table.release(s);
        assert_eq!(child.wait(), 0);
        table.reap();
    }
    assert_eq!(rung(table), seen);
}
