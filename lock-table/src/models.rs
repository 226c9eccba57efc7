//! The table under a model checker: what can go wrong between a few threads within a few steps, in every order that
//! the memory model allows (loom, two or three threads) or in many orders by chance (shuttle, more threads). Miri runs them
//! on the very layout that programs have, in a few orders, and watches every access to it.
//!
//! `scripts/test models` runs them, and then breaks the code as `mutants.toml` says, defect by defect: each must make a
//! model fail. Each model says which invariants (see the crate's page) it watches. `scripts/test miri` is for Miri.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};

#[cfg(loom)]
use loom::thread;
#[cfg(shuttle)]
use shuttle::thread;
#[cfg(miri)]
use std::thread;

use crate::hints::Near;
use crate::matrix::tests::{FILE, claim};
use crate::memory::ProcessCell;
#[cfg(any(loom, shuttle))]
use crate::primitive::SLEEPS_RUN_OUT;
use crate::primitive::{Bytes, FutexWord, W32, fence};
use crate::slots::{Own, Position, Scan, word};
use crate::{Claim, Geometry, Mine, Mode, Slot, Table, USE_BUFFERED, USE_DIRECT};

const STRIPE: u64 = 4 << 20;
const GEOMETRY: Geometry = Geometry {
    processes: 4,
    slots: 4,
    requests: 1,
    mappings: 1,
    uses: 3,
};

/// Runs a model in every order with at most so many preemptions, or in many orders: as many as end in seconds. (The long
/// runs look further.)
fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    #[cfg(any(loom, shuttle))]
    SLEEPS_RUN_OUT.set(false);
    check_as_set(preemptions, model);
}

/// In which somebody dies.
fn check_with_deaths(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    #[cfg(any(loom, shuttle))]
    SLEEPS_RUN_OUT.set(true);
    check_as_set(preemptions, model);
}

fn long() -> bool {
    std::env::var("PAGEFENCE_TEST_LONG").is_ok_and(|v| v == "1")
}

#[cfg(loom)]
fn check_as_set(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    let bound = preemptions + usize::from(long());
    builder.preemption_bound = builder.preemption_bound.or(Some(bound));
    builder.max_branches = 10_000;
    if long() {
        // The long run looks further, as far as it comes.
        builder.max_duration = Some(std::time::Duration::from_secs(60));
    }
    builder.check(model);
}

/// Each time in another order, by Miri's seed.
#[cfg(miri)]
fn check_as_set(_: usize, model: impl Fn() + Send + Sync + 'static) {
    (0..if long() { 50 } else { 5 }).for_each(|_| model());
}

#[cfg(shuttle)]
fn check_as_set(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let rounds = if long() { 200_000 } else { 5_000 };
    let mut config = shuttle::Config::new();
    config.silence_warnings = true;
    config.stack_size = 1 << 20;
    let scheduler = shuttle::scheduler::PctScheduler::new(preemptions + 2, rounds);
    shuttle::Runner::new(scheduler, config).run(model);
}

/// The first page of a stripe.
fn page(stripe: u64) -> Claim {
    claim(Mode::DirectWrite, stripe * STRIPE, stripe * STRIPE + 4095)
}

/// A stripe's bucket, and the file's.
fn buckets(stripe: u64) -> (u32, u32) {
    match Near::of(&page(stripe)) {
        Near::Buckets(b) => (b.get(1).expect("a stripe"), b.get(0).expect("the file")),
        Near::Everywhere => unreachable!("a page isn't wide"),
    }
}

fn whole() -> Claim {
    claim(Mode::Layout, 0, u64::MAX)
}

/// What claims protect: only one may be here, and must see what the one before has done.
#[derive(Default)]
struct Inside {
    entered: W32,
    #[cfg(loom)]
    cell: loom::cell::UnsafeCell<u32>,
    #[cfg(miri)]
    cell: std::cell::UnsafeCell<u32>,
}

// SAFETY: the checker sees whether accesses to the cell are ordered, and fails where they are not.
unsafe impl Send for Inside {}
// SAFETY: as above.
unsafe impl Sync for Inside {}

impl Inside {
    fn visit(&self) {
        // Relaxed: the table alone must bring the order.
        assert_eq!(self.entered.swap(1, Relaxed), 0, "two are inside");
        #[cfg(loom)]
        // SAFETY: the checker fails where somebody else may be here.
        self.cell.with_mut(|n| unsafe { *n += 1 });
        #[cfg(miri)]
        // SAFETY: as above.
        unsafe {
            *self.cell.get() += 1
        };
        self.entered.store(0, Relaxed);
    }
}

#[cfg(shuttle)]
impl Inside {
    /// The same for long enough that others come.
    fn stay(&self) {
        assert_eq!(self.entered.swap(1, Relaxed), 0, "two are inside");
        thread::yield_now();
        self.entered.store(0, Relaxed);
    }
}

/// Processes with a table, a slot each, and what they protect.
struct World {
    bytes: Bytes,
    inside: Arc<[Inside; 2]>,
}

struct Process {
    table: Table,
    slots: [Slot; 1],
    inside: Arc<[Inside; 2]>,
}

impl World {
    fn new() -> World {
        World {
            bytes: Bytes::of(&GEOMETRY),
            inside: Arc::default(),
        }
    }

    fn table(&self, owner: u32) -> Table {
        Table::in_model(&self.bytes, &GEOMETRY, owner)
    }

    /// With a slot.
    fn process(&self, owner: u32) -> Process {
        self.with_slot(owner, |table| table.take_slot(1))
    }

    /// With a request's slot.
    fn request(&self, owner: u32) -> Process {
        self.with_slot(owner, Table::take_request_slot)
    }

    fn with_slot(&self, owner: u32, take: impl Fn(&Table) -> Option<Slot>) -> Process {
        let table = self.table(owner);
        Process {
            slots: [take(&table).expect("there are enough")],
            table,
            inside: self.inside.clone(),
        }
    }

    /// When all is over nothing is left.
    fn is_clean(&self, dead: &[u32]) {
        let table = self.table(GEOMETRY.processes);
        assert!(!table.is_poisoned());
        for cell in table.mem.all_slots() {
            assert_eq!(cell.state.load(Relaxed) & word::STATE, word::FREE);
            assert!(!dead.contains(&cell.owner.load(Relaxed)));
            if cell.owner.load(Relaxed) == 0 {
                assert!(cell.notes.iter().all(|note| note.load(Relaxed) == 0));
            }
        }
        let rung = |p: &ProcessCell| p.bell.load(Relaxed) != 0;
        let requests = table.mem.header().requests_used.load(Relaxed);
        assert!(requests != 0 || !table.mem.processes().iter().any(rung));
    }
}

impl Process {
    fn slot(&self) -> Slot {
        self.slots[0]
    }

    fn hold(&self, c: &Claim) {
        let held = self
            .table
            .hold(self.slot(), c, &Mine::NONE, None, &mut || false);
        assert!(held.is_ok(), "{held:?}");
    }

    /// The same without waiting: perhaps in vain.
    fn dare(&self, c: &Claim, inside: usize) {
        if self.table.hold_now(self.slot(), c).is_ok() {
            self.inside[inside].visit();
            self.table.release(self.slot());
        }
    }

    /// Holds, is inside, lets go.
    fn pass(&self, c: &Claim, inside: usize) {
        self.hold(c);
        self.inside[inside].visit();
        self.table.release(self.slot());
    }

    fn bell(&self) -> &FutexWord {
        let me = self.table.me().and_then(|me| self.table.mem.process(me));
        &me.expect("registered").bell
    }

    /// The request is complete. Its owner sleeps until somebody has rung, and then lets go.
    fn lets_go_when_rung(&self) {
        self.inside[0].visit();
        while self.bell().load(Acquire) == 0 {
            self.bell().sleep(0, 1_000_000_000);
        }
        self.table.release(self.slot());
    }
}

/// Runs each in a thread of its own, the last in this one, and waits for all.
fn together(mut all: Vec<Box<dyn FnOnce() + Send>>) {
    let last = all.pop().expect("somebody");
    let threads: Vec<_> = all.into_iter().map(thread::spawn).collect();
    last();
    for thread in threads {
        thread.join().expect("it doesn't panic");
    }
}

macro_rules! together {
    ($($body:expr),* $(,)?) => { together(vec![$(Box::new($body) as Box<dyn FnOnce() + Send>),*]) };
}

/// I1, I3, I5, I12.
#[test]
fn two_that_try() {
    check(3, || {
        let w = World::new();
        let (a, b) = (w.process(1), w.process(2));
        together!(move || a.dare(&page(0), 0), move || b.dare(&page(0), 0));
        w.is_clean(&[]);
    });
}

/// I1, I3, I6; no wake is left out.
#[test]
fn two_that_wait() {
    check(1, || {
        let w = World::new();
        let (a, b) = (w.process(1), w.process(2));
        together!(move || a.pass(&page(0), 0), move || b.pass(&page(0), 0));
        w.is_clean(&[]);
    });
}

/// I6: the same from where both have found the other in the way; who has drawn a ticket and not shown it counts.
#[test]
fn two_that_queue() {
    check(3, || {
        let w = World::new();
        let (a, b) = (w.process(1), w.process(2));
        let announce = |p: &Process| {
            let slot = p.table.writable(p.slot()).expect("free");
            p.table.write(p.slot(), slot, &page(0));
        };
        announce(&a);
        announce(&b);
        let wait = |p: Process| {
            move || {
                let ticket = p.table.queue(&p.slots);
                let (c, near) = (page(0), Near::of(&page(0)));
                let scan = || {
                    let (mut scan, from) = (Scan::Clear, Position::default());
                    p.table
                        .scan(from, &near, p.slot(), &c, ticket, &Own::ALONE, &mut scan);
                    scan
                };
                while let Scan::Blocked(_) = scan() {
                    thread::yield_now();
                }
                assert!(p.table.enter(p.slot()).is_ok());
                p.inside[0].visit();
                p.table.release(p.slot());
            }
        };
        together!(wait(a), wait(b));
        w.is_clean(&[]);
    });
}

/// The same with turns to take.
#[test]
#[cfg(shuttle)]
fn four_that_wait() {
    check(1, || {
        let w = World::new();
        let pass = |p: Process| {
            move || {
                p.pass(&page(0), 0);
                p.pass(&page(0), 0);
            }
        };
        let (a, b, c, d) = (w.process(1), w.process(2), w.process(3), w.process(4));
        together!(pass(a), pass(b), pass(c), pass(d));
        w.is_clean(&[]);
    });
}

/// I13: who is in the way of nobody but one who rings hears it.
#[test]
fn a_request_s_owner_hears_its_bell() {
    check(3, || {
        let w = World::new();
        let (a, b) = (w.request(1), w.process(2));
        a.hold(&page(0));
        together!(move || a.lets_go_when_rung(), move || b.pass(&page(0), 0));
        w.is_clean(&[]);
    });
}

/// I13: also who sleeps on a request that waits for its range rings, when it has it.
#[test]
fn a_request_that_waits_is_rung_for_later() {
    check(1, || {
        let w = World::new();
        let (a, b) = (w.request(1), w.process(2));
        together!(
            move || {
                a.hold(&page(0));
                a.lets_go_when_rung();
            },
            move || {
                b.pass(&page(0), 0);
                // Where the other came later nobody waits for it: the program itself looks.
                b.table.call(1);
            }
        );
        w.is_clean(&[]);
    });
}

/// I12: a wide claim isn't in the stripe's bucket.
#[test]
fn a_wide_claim_and_a_narrow_one() {
    check(3, || {
        let w = World::new();
        let (a, b) = (w.process(1), w.process(2));
        together!(move || a.dare(&whole(), 0), move || b.dare(&page(1), 0));
        w.is_clean(&[]);
    });
}

/// I4, I12: hints go with their slots, whose old claims are not the new ones.
#[test]
fn from_stripe_to_stripe() {
    check(1, || {
        let w = World::new();
        let (a, b) = (w.process(1), w.process(2));
        together!(
            move || {
                a.pass(&page(0), 0);
                a.pass(&page(4), 1); // has the same note
            },
            move || b.pass(&page(4), 1)
        );
        w.is_clean(&[]);
    });
}

/// I3, I12: who finds a hint cleared comes after the claim that it stood for.
#[test]
fn where_a_hint_was_cleared() {
    check(2, || {
        let w = World::new();
        let (a, b) = (w.process(1), w.process(2));
        // In another bucket, with the same note.
        let away = (4..).step_by(4).find(|s| buckets(*s) != buckets(0));
        let away = page(away.expect("there are two"));
        together!(
            move || {
                a.dare(&page(0), 0);
                a.dare(&away, 1);
            },
            move || b.dare(&page(0), 0)
        );
        w.is_clean(&[]);
    });
}

/// I12: two stripes of one claim may share a bucket, and one of them may move on.
#[test]
fn a_claim_on_several_stripes() {
    check(1, || {
        let w = World::new();
        let (a, b) = (w.process(1), w.process(2));
        // The first and the fourth share one, the fifth, which takes the first one's note, has another, and that isn't
        // the file's, at which all look.
        let fits = |s: &u64| {
            let ((a, file), (b, _), (c, _)) = (buckets(*s), buckets(s + 3), buckets(s + 4));
            a == b && a != c && c != file
        };
        let first = (0..).step_by(4).find(fits).expect("there are two buckets");
        let stripes = move |from, to| {
            claim(
                Mode::DirectWrite,
                (first + from) * STRIPE,
                (first + to) * STRIPE - 1,
            )
        };
        together!(
            move || {
                a.dare(&stripes(0, 4), 0);
                a.dare(&stripes(2, 5), 1);
            },
            move || b.dare(&page(first + 3), 1)
        );
        w.is_clean(&[]);
    });
}

/// One ticket for all ranges of a call: crosswise they don't wait for each other. (More steps than loom gets through.)
#[test]
#[cfg(shuttle)]
fn several_ranges_crosswise() {
    check(1, || {
        let w = World::new();
        let (a, b) = (w.process(1), w.process(2));
        let pass = |p: Process, first: u64, second: u64| {
            move || {
                let slots = [p.slot(), p.table.take_slot(1).expect("there are enough")];
                let claims = [page(first), page(second)];
                let held = p
                    .table
                    .hold_all(&slots, &claims, &Mine::NONE, None, &mut || false);
                assert!(held.is_ok(), "{held:?}");
                p.inside[0].visit();
                p.inside[1].visit();
                for s in slots {
                    p.table.release(s);
                }
            }
        };
        together!(pass(a, 0, 1), pass(b, 1, 0));
        w.is_clean(&[]);
    });
}

/// The first two stripes.
#[cfg(shuttle)]
fn both() -> Claim {
    claim(Mode::DirectWrite, 0, 2 * STRIPE - 1)
}

/// I14: a call within another doesn't wait for who waits for that other, who comes in when both are over. (More steps
/// than loom gets through, as in the next ones.)
#[test]
#[cfg(shuttle)]
fn a_call_within_a_call() {
    check(2, || {
        let w = World::new();
        let (a, b) = (w.process(1), w.process(2));
        let inner = a.table.take_slot(1).expect("there are enough");
        together!(
            move || {
                a.hold(&page(0));
                let mine = Mine::held(&a.slots);
                let held = a.table.hold(inner, &page(1), &mine, None, &mut || false);
                assert!(held.is_ok(), "{held:?}");
                a.inside[1].visit();
                a.table.release(inner);
                a.inside[0].visit();
                a.table.release(a.slot());
            },
            move || {
                b.hold(&both());
                b.inside[0].visit();
                b.inside[1].visit();
                b.table.release(b.slot());
            }
        );
        w.is_clean(&[]);
    });
}

/// I14: the same within a call that waits, by who waits behind it.
#[test]
#[cfg(shuttle)]
fn a_call_within_a_wait() {
    check(3, || {
        let w = World::new();
        let (a, b) = (w.process(1), w.process(2));
        let inner = a.table.take_slot(1).expect("there are enough");
        a.table.announce(a.slot(), &page(0));
        together!(
            move || {
                let ticket = a.table.queue(&a.slots);
                let mine = Mine::of(&a.slots);
                let tried = a.table.hold(inner, &page(1), &mine, Some(0), &mut || false);
                if tried.is_ok() {
                    a.inside[1].stay();
                    a.table.release(inner);
                }
                let near = Near::of(&page(0));
                let scan = || {
                    let (mut scan, from) = (Scan::Clear, Position::default());
                    let (s, c) = (a.slot(), page(0));
                    a.table
                        .scan(from, &near, s, &c, ticket, &Own::ALONE, &mut scan);
                    scan
                };
                while let Scan::Blocked(_) = scan() {
                    thread::yield_now();
                }
                assert!(a.table.enter(a.slot()).is_ok());
                a.inside[0].visit();
                a.table.release(a.slot());
            },
            move || {
                b.hold(&both());
                b.inside[0].visit();
                b.inside[1].visit();
                b.table.release(b.slot());
            }
        );
        w.is_clean(&[]);
    });
}

/// I14: within a call that has only announced its range nobody is passed by, nor is within another who doesn't wait for
/// that one.
#[test]
#[cfg(shuttle)]
fn a_call_within_one_that_keeps_nobody_out() {
    for (theirs, held) in [(both(), 0), (page(1), 1)] {
        check(3, move || {
            let w = World::new();
            let (a, b) = (w.process(1), w.process(2));
            let inner = a.table.take_slot(1).expect("there are enough");
            a.hold(&both());
            together!(
                move || {
                    a.table.release(a.slot());
                    thread::yield_now();
                    match held {
                        0 => a.table.announce(a.slot(), &page(0)),
                        _ => a.hold(&page(0)),
                    }
                    let (slots, mine) = (
                        &a.slots,
                        Mine {
                            slots: &a.slots,
                            held,
                        },
                    );
                    let tried = a.table.hold(inner, &page(1), &mine, Some(0), &mut || false);
                    if tried.is_ok() {
                        a.inside[1].stay();
                        a.table.release(inner);
                    }
                    a.table.release(slots[0]);
                },
                move || b.pass(&theirs, 1)
            );
            w.is_clean(&[]);
        });
    }
}

/// I2, I10: who waits for a dead one frees what it held, once, and what it was writing is remembered.
#[test]
fn the_dead_are_reaped() {
    check_with_deaths(3, || {
        let w = World::new();
        let (dead, a) = (w.process(1), w.process(2));
        dead.hold(&page(0));
        dead.table.dies();
        let other = w.table(3);
        together!(move || a.pass(&page(0), 0), move || {
            other.reap();
        },);
        let mut unverified = 0;
        w.table(3).unverified(FILE, &mut |_, _| unverified += 1);
        assert_eq!(unverified, 1);
        w.is_clean(&[1]);
    });
}

/// I10: of two reapers one cleans, and a newcomer's slot is not the dead one's.
#[test]
fn two_reapers_and_a_newcomer() {
    check_with_deaths(3, || {
        let w = World::new();
        let dead = w.process(1);
        dead.hold(&whole());
        dead.table.dies();
        let (a, b) = (w.table(2), w.table(3));
        let cleaned = Arc::new([W32::new(0), W32::new(0)]);
        let (first, second) = (cleaned.clone(), cleaned.clone());
        together!(
            move || first[0].store(a.reap().processes, SeqCst),
            move || {
                second[1].store(b.reap().processes, SeqCst);
                let s = b.take_slot(1).expect("there are enough");
                // The first may still be at it, or have been.
                let _ = b.hold_now(s, &page(0));
                b.release(s);
            },
        );
        let both = cleaned[0].load(SeqCst) + cleaned[1].load(SeqCst);
        assert_eq!(both, 1);
        w.is_clean(&[1]);
    });
}

/// I2.
#[test]
fn a_slot_has_one_owner() {
    check(3, || {
        let w = World::new();
        let (a, b) = (w.table(1), w.table(2));
        let taken = Arc::new([W32::new(0), W32::new(0)]);
        let (first, second) = (taken.clone(), taken.clone());
        together!(
            move || {
                let s = a.take_slot(1).expect("there are enough");
                a.give_slot(s);
                let s = a.take_slot(1).expect("there are enough");
                first[0].store(s.index() + 1, SeqCst);
            },
            move || {
                let s = b.take_slot(1).expect("there are enough");
                second[1].store(s.index() + 1, SeqCst);
            },
        );
        assert_ne!(taken[0].load(SeqCst), taken[1].load(SeqCst));
    });
}

/// I9: of two that register a use at once one sees the other, and both learn that they must lock.
#[test]
fn two_that_register_a_use() {
    check(3, || {
        let w = World::new();
        let (a, b, c) = (w.table(1), w.table(2), w.table(3));
        let uses = Arc::new([W32::new(0), W32::new(0)]);
        let (first, second) = (uses.clone(), uses.clone());
        together!(
            move || {
                let (u, _) = a.use_register(FILE, USE_BUFFERED).expect("there is room");
                first[0].store(u.index(), SeqCst);
            },
            move || {
                let (u, _) = b.use_register(FILE, USE_DIRECT).expect("there is room");
                second[1].store(u.index(), SeqCst);
            },
        );
        for u in uses.iter().map(|u| crate::UseEntry(u.load(SeqCst))) {
            assert!(c.use_locks(u) && c.use_mixed(u), "{u:?}");
        }
    });
}

/// I8: who announces without a fence learns that he must lock, or is seen.
#[test]
fn who_only_announces_is_seen() {
    check(1, || {
        let w = World::new();
        let (a, b) = (w.process(1), w.process(2));
        let buffered = claim(Mode::BufferedWrite, 0, 4095);
        let (mine, _) = a
            .table
            .use_register(FILE, USE_BUFFERED)
            .expect("there is room");
        together!(
            move || {
                a.table.announce(a.slot(), &buffered);
                if a.table.use_locks(mine) {
                    a.table.release(a.slot());
                    a.pass(&buffered, 0);
                } else {
                    a.inside[0].visit();
                    a.table.release(a.slot());
                }
            },
            move || {
                b.table
                    .use_register(FILE, USE_DIRECT)
                    .expect("there is room");
                fence(SeqCst); // the membarrier
                b.pass(&page(0), 0);
            },
        );
        w.is_clean(&[]);
    });
}

/// A mapping that is registered under a range is seen by who takes the range later.
#[test]
fn a_mapping_is_seen_under_its_range() {
    check(1, || {
        let w = World::new();
        let (a, b) = (w.process(1), w.process(2));
        let mapped = Arc::new(W32::new(0));
        let known = mapped.clone();
        together!(
            move || {
                a.hold(&claim(Mode::BufferedWrite, 0, 4095));
                let entry = a.table.map_register(FILE, 0, 4095, true);
                assert!(entry.is_some());
                mapped.store(1, Relaxed);
                a.table.release(a.slot());
            },
            move || {
                b.hold(&page(0));
                if known.load(Relaxed) == 1 {
                    assert!(b.table.mapped_writable(FILE, 0, 4095).is_some());
                }
                b.table.release(b.slot());
            },
        );
    });
}
