//! Death at every instruction. A child stands before an operation, is led through it one instruction at a time and is
//! killed, before every instruction in turn and within every system call. Then a survivor must get at once what the
//! dead one held, what he was writing directly must be remembered, and nothing else may be left of him.
//!
//! Of an operation of many instructions not all are tried, unless `PAGEFENCE_TEST_LONG=1`: all those around a store to
//! the table or a system call are, and of the others, which differ in nothing that outlives the process, a sample.
#![cfg(target_arch = "x86_64")]

#[path = "../common/mod.rs"]
mod common;
mod deaths;
mod fresh;
mod operations;
mod trace;
mod world;

use common::long;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;
use trace::{Next, Traced};
use world::{Beside, Copy, LIMIT_MS, Ranges, World};

pub struct Operation<'a> {
    name: &'a str,
    /// What somebody else holds meanwhile. He lets go when the child goes to sleep.
    beside: Option<Beside>,
    /// Done by the parent when the child stands before the operation. What it leaves is to be remembered.
    before: fn(&World) -> Ranges,
    /// The child: it calls `mark` before and after the operation.
    body: &'a (dyn Fn(&World) -> i32 + Sync),
}

/// One instruction of an operation.
struct Step {
    address: u64,
    next: Next,
    /// It changed the table.
    stores: bool,
}

impl Step {
    fn is_call(&self) -> bool {
        matches!(self.next, Next::SystemCall | Next::Sleep)
    }
}

#[derive(Clone, Copy)]
enum Point {
    /// Before this instruction. The last one is the mark: the operation is done.
    Before(usize),
    /// In the middle of this one, a system call.
    Within(usize),
}

/// Many of these sleep until a survivor asks whether somebody lives, so several go on at once.
const THREADS: usize = 4;
/// An operation of at most so many instructions is tried whole.
const WHOLE: usize = 300;
const RECORDS: usize = 3;
/// How often the same point is tried when the child doesn't come to it.
const TRIES: usize = 3;
/// How many of the others are tried where not all are.
const SAMPLE: usize = 60;

impl Operation<'_> {
    fn start(&self, world: &World) -> (Traced, Ranges) {
        let traced = Traced::start(|| on_aligned_stack(|| (self.body)(world)));
        if let Some(c) = &self.beside {
            world.hold_beside(c);
        }
        (traced, (self.before)(world))
    }

    /// Goes through all of it once, up to the mark behind it.
    fn record(&self, world: &World) -> Vec<Step> {
        let (traced, mut unverified) = self.start(world);
        let mut steps: Vec<Step> = Vec::new();
        let mut copy = Copy::default();
        world.copy(&mut copy);
        while steps.last().is_none_or(|s| s.next != Next::Mark) {
            let (address, next) = traced.next();
            match next {
                Next::Mark => {}
                Next::Sleep => traced.step_asleep(|| world.let_go()),
                _ => traced.step(),
            }
            steps.push(Step {
                address,
                next,
                stores: world.copy(&mut copy),
            });
        }
        unverified.extend(world.at_stake(traced.pid()));
        traced.kill();
        world.let_go();
        world.check(&unverified);
        steps
    }

    /// Kills a child there. How long a survivor then waited, in milliseconds; `None` if the child didn't come there.
    fn kill(&self, world: &World, steps: &[Step], point: Point) -> Option<f64> {
        let (traced, mut unverified) = self.start(world);
        let came = lead(world, &traced, steps, point);
        unverified.extend(world.at_stake(traced.pid()));
        if let (true, Point::Within(at)) = (came, point) {
            traced.enter(steps[at].next == Next::Sleep);
        }
        traced.kill();
        world.let_go();
        let waited = world.check(&unverified);
        came.then_some(waited)
    }

    /// Takes its share of the points. How long a survivor waited at most, and how many points weren't come to.
    fn kill_at_each(&self, steps: &[Step], next: &dyn Fn() -> Option<Point>) -> (f64, usize) {
        let mut world = Measured::new(self.world());
        let (mut longest, mut missed) = (0f64, 0);
        while let Some(point) = next() {
            let mut came = false;
            for _ in 0..TRIES {
                if let Some(waited) = self.kill(&world.world, steps, point) {
                    longest = longest.max(waited);
                    came = true;
                    break;
                }
                // The way may depend on what is left of the dead: begin as the record did.
                std::mem::replace(&mut world, Measured::new(self.world())).check();
            }
            missed += usize::from(!came);
            if missed > may_miss(steps) {
                break;
            }
        }
        world.check();
        (longest, missed)
    }

    /// A world in which this has been done before, and a pair too: what a table keeps from the first time on (marks,
    /// reaches, the stacks of the hints) would send the second another way.
    fn world(&self) -> World {
        let world = World::new();
        self.record(&world);
        operations::pair_length(&world);
        world
    }

    fn kill_everywhere(&self) {
        let begun = Instant::now();
        // Who waits looks at the clock, and goes a longer way when led slowly: the shortest way is that of who runs.
        let records = (0..RECORDS).map(|_| self.record(&self.world()));
        let steps = records.min_by_key(Vec::len).unwrap();
        let points = points(&steps);
        let next = AtomicUsize::new(0);
        let next = || points.get(next.fetch_add(1, Relaxed)).copied();
        let share = || self.kill_at_each(&steps, &next);
        let shares: Vec<_> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..THREADS).map(|_| scope.spawn(share)).collect();
            all.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let longest = shares.iter().map(|s| s.0).fold(0f64, f64::max);
        let missed: usize = shares.iter().map(|s| s.1).sum();
        let calls = steps.iter().filter(|s| s.is_call()).count();
        let stores = steps.iter().filter(|s| s.stores).count();
        println!(
            "{}: {} instructions, {stores} stores to the table, {calls} system calls; {} kills, {missed} missed, in \
             {:.1} s; a survivor waited {longest:.0} ms at most",
            self.name,
            steps.len() - 1,
            points.len(),
            begun.elapsed().as_secs_f64(),
        );
        assert!(missed <= may_miss(&steps), "{}: {missed} missed", self.name);
        assert!(longest < LIMIT_MS as f64);
    }
}

/// A world, and what a pair cost in it before anybody died.
struct Measured {
    world: World,
    pair: usize,
}

impl Measured {
    fn new(world: World) -> Measured {
        let pair = operations::pair_length(&world);
        Measured { world, pair }
    }

    /// After many deaths: there is room for as many processes, and what the dead left costs the living nothing.
    fn check(self) {
        self.world.check_processes();
        assert_eq!(operations::pair_length(&self.world), self.pair);
    }
}

/// Leads the child there: where it doesn't sleep it runs, which is quicker than to step. False when it goes another way
/// than the recorded one: on a busy machine a sleep may end before the wake.
fn lead(world: &World, traced: &Traced, steps: &[Step], point: Point) -> bool {
    let run = |steps: &[Step]| {
        let address = steps[steps.len() - 1].address;
        let times = steps.iter().filter(|s| s.address == address).count();
        traced.run_to(address, times)
    };
    let (Point::Before(at) | Point::Within(at)) = point;
    let mut from = 0;
    for sleep in (0..at).filter(|i| steps[*i].next == Next::Sleep) {
        if !run(&steps[from..=sleep]) {
            return false;
        }
        traced.step_asleep(|| world.let_go());
        from = sleep + 1;
    }
    run(&steps[from..=at])
}

/// libc copies in more or fewer rounds by where on the stack the bytes are: to be led twice alike, a child has to have
/// them at the same place of a page, whatever called this.
#[inline(never)]
fn on_aligned_stack(body: impl FnOnce() -> i32) -> i32 {
    #[repr(align(4096))]
    struct Page([u8; 4096]);
    let page = Page([0; 4096]);
    std::hint::black_box(&page.0);
    let code = body();
    std::hint::black_box(&page.0);
    code
}

/// Who sleeps, and so looks at the clock, may go another way now and then, and nobody else.
fn may_miss(steps: &[Step]) -> usize {
    let sleeps = steps.iter().any(|s| s.next == Next::Sleep);
    if sleeps { points(steps).len() / 10 } else { 0 }
}

fn points(steps: &[Step]) -> Vec<Point> {
    let all = long() || steps.len() <= WHOLE;
    let stride = (steps.len() / SAMPLE).max(1);
    let shows = |i: usize| steps.get(i).is_some_and(|s| s.stores || s.is_call());
    let mut points = Vec::new();
    for (i, step) in steps.iter().enumerate() {
        let last = i == steps.len() - 1;
        if all || last || i % stride == 0 || shows(i) || shows(i.wrapping_sub(1)) {
            points.push(Point::Before(i));
        }
        if step.is_call() {
            points.push(Point::Within(i));
        }
    }
    points
}
