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

use crate::cells::ProcessCell;
use crate::hints::Near;
use crate::matrix::tests::{FILE, claim};
#[cfg(any(loom, shuttle))]
use crate::primitive::SLEEPS_RUN_OUT;
use crate::primitive::{Bytes, FutexWord, W32, W64, fence};
use crate::reading::Position;
use crate::scan::{Own, Scan};
use crate::slots::word;
use crate::{Claim, Geometry, Mine, Mode, Slot, Table, USE_BUFFERED, USE_DIRECT, USE_RANGES};

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

mod claims;
mod death;
mod hints;
mod nested;
mod registers;
mod requests;
mod uses;
