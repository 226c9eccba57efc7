//! What one process of a run does: open its lock, hold what is to be held meanwhile, and take pairs against the clock.

use super::figures::{Figure, Held, Kind, Ranges, Who};
use super::lockers::{Intervals, Locked, Locker, Ofd, Ours, Range, Rwlock};
use super::pairs::{
    Counts, ENOUGH, PATIENCE, Pairs, clock_ns, counts, histogram, interruptions, nanoseconds,
};
use super::scene::Scene;
use crate::statistics::Spread;
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering::{Relaxed, Release, SeqCst};
use std::time::{Duration, Instant};

const STRIPE: u64 = 4 << 20;
const PAGE: u64 = 4096;
const FILE: u64 = 1_000_003;
/// How often in a batch each of the two says how far it is.
const PARTS: u64 = 8;
/// How long a range is held that others want, in nanoseconds: a small cached read or write.
const INSIDE_NS: u64 = 1000;

/// What a process found.
#[derive(Serialize, Deserialize, Debug)]
pub enum Found {
    One {
        ns: f64,
        latency: Counts,
        clock_ns: u64,
    },
    Apart {
        alone_ns: f64,
        together_ns: Option<f64>,
    },
    AtOdds {
        pairs: u64,
        seconds: f64,
        waits: Counts,
    },
    /// It held ranges, or was counted by somebody else.
    Nothing,
}

pub struct Job<'a> {
    pub figure: &'a Figure,
    pub scene: &'a Scene,
    /// The first processes are measured, the others hold.
    pub process: usize,
    pub round: u64,
    pub task: Task,
}

#[derive(Clone, Copy)]
pub enum Task {
    /// So long by the clock.
    For(Duration),
    /// One process, so many pairs: for callgrind.
    Pairs(u64),
}

pub fn work(job: &Job) -> Found {
    match job.figure.who {
        Who::Locked => work_with::<Locked>(job),
        Who::Ours => work_with::<Ours>(job),
        Who::Ofd => work_with::<Ofd>(job),
        Who::Rwlock => work_with::<Rwlock>(job),
        Who::Intervals => work_with::<Intervals>(job),
    }
}

fn page(file: u64, stripe: u64, page: u64) -> Range {
    let first = stripe * STRIPE + page * PAGE;
    Range {
        file,
        first,
        last: first + PAGE - 1,
    }
}

fn whole(file: u64) -> Range {
    Range {
        file,
        first: 0,
        last: u64::MAX,
    }
}

fn work_with<L: Locker>(job: &Job) -> Found {
    let mut locker = L::open(job.scene);
    hold_meanwhile(&mut locker, job);
    if job.process >= job.figure.measured() {
        job.meet(1);
        job.scene.wait_for_end();
        return Found::Nothing;
    }
    let process = job.process as u64;
    // Others in each round, and far apart: which lines they share is chance, and the rounds show it.
    let base = job.round * 977 + process * (1 << 16);
    let all = whole(FILE);
    match job.figure.ranges {
        Ranges::OneStripe => job.run(locker, move |i| page(FILE, base, i % 1024)),
        Ranges::Stripes => job.run(locker, move |i| page(FILE, (base + i) % (1 << 17), 0)),
        Ranges::Random => {
            let mut random = 88_172_645_463_325_252 + job.round;
            job.run(locker, move |_| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                page(FILE, random % (1 << 17), 0)
            })
        }
        Ranges::Whole => job.run(locker, move |_| all),
        Ranges::Files(files) => {
            let mut file = 0;
            job.run(locker, move |_| {
                file = if file + 1 == files { 0 } else { file + 1 };
                page(FILE + file, base, 0)
            })
        }
        Ranges::HalfStripe => job.run(locker, move |i| {
            page(FILE, job.round, process * 512 + i % 512)
        }),
        Ranges::OwnFile => job.run(locker, move |i| page(FILE + process, base, i % 1024)),
        Ranges::Same => job.run(locker, move |_| page(FILE, job.round, 0)),
        Ranges::WholeOrShort if process == 0 => job.run(locker, move |_| all),
        Ranges::WholeOrShort => job.run(locker, move |i| page(FILE, base, i % 1024)),
    }
}

fn hold_meanwhile<L: Locker>(locker: &mut L, job: &Job) {
    let elsewhere = |i: u64| page(FILE, (1 << 18) + i, 0);
    match job.figure.held {
        Held::Nothing => {}
        Held::Elsewhere(n) => (0..n).for_each(|i| locker.keep(&elsewhere(i))),
        Held::OtherFiles(n) => (1..=n).for_each(|i| locker.keep(&page(FILE + i, 0, 0))),
        Held::WholeFiles(n) => (1..=n).for_each(|i| locker.keep(&whole(FILE + i))),
        Held::Before(n) => {
            (0..n).for_each(|i| locker.keep(&elsewhere(i)));
            locker.drop_kept();
        }
        Held::Processes(n, holders) => {
            let Some(holder) = job.process.checked_sub(job.figure.measured()) else {
                return;
            };
            let share = |i: &u64| i % holders as u64 == holder as u64;
            (0..n)
                .filter(share)
                .for_each(|i| locker.keep(&elsewhere(i)));
        }
    }
}

impl Job<'_> {
    /// The `times`-th meeting of all processes of this run.
    fn meet(&self, times: u64) {
        let all = self.figure.measured() + self.figure.holders();
        self.scene.gate(times, all);
    }

    fn run<L: Locker, F: FnMut(u64) -> Range>(&self, locker: L, next: F) -> Found {
        let mut pairs = Pairs {
            locker,
            next,
            taken: 0,
        };
        match (self.task, self.figure.kind) {
            (Task::Pairs(n), _) => {
                pairs.take(n);
                Found::Nothing
            }
            (Task::For(time), Kind::One) => self.one(&mut pairs, time),
            (Task::For(time), Kind::Apart) => self.apart(&mut pairs, time),
            // Who waits longest shows in a long run only.
            (Task::For(time), Kind::AtOdds) => self.at_odds(&mut pairs, 4 * time),
        }
    }

    fn one<L: Locker, F: FnMut(u64) -> Range>(
        &self,
        pairs: &mut Pairs<L, F>,
        time: Duration,
    ) -> Found {
        self.meet(1);
        let batch = pairs.warm();
        let ns = pairs.batches(time / 2, batch);
        let clock_ns = clock_ns();
        let latency = pairs.singles(time / 2, clock_ns);
        self.scene.end();
        Found::One {
            ns,
            latency,
            clock_ns,
        }
    }

    /// First alone, while the other sleeps at the gate; then both.
    fn apart<L: Locker, F: FnMut(u64) -> Range>(
        &self,
        pairs: &mut Pairs<L, F>,
        time: Duration,
    ) -> Found {
        self.meet(1);
        let mut alone = (1, 0.0);
        for process in 0..2 {
            if process == self.process {
                let batch = pairs.warm();
                alone = (batch, pairs.batches(time / 2, batch));
            }
            self.meet(2 + process as u64);
        }
        let shared = self.scene.shared();
        let [mine, its] = [self.process, 1 - self.process].map(|p| &shared.done[p].0);
        let (batch, alone_ns) = alone;
        // Short ones, which are less likely to be interrupted.
        let part = batch.div_ceil(4 * PARTS);
        let (mut costs, mut said) = (Vec::new(), false);
        let begun = Instant::now();
        // On a busy machine the two seldom run at once; who has seen enough goes on, so that the other may.
        while shared.content.0.load(Relaxed) < 2 && begun.elapsed() < time + PATIENCE {
            let (seen, before) = (its.load(Relaxed), interruptions());
            let start = Instant::now();
            for _ in 0..PARTS {
                pairs.take(part);
                mine.store(pairs.taken, Relaxed);
            }
            let ns = nanoseconds(start.elapsed()) as f64 / (PARTS * part) as f64;
            // Only what was taken while both ran: either may have had to leave its processor.
            let it_ran = (its.load(Relaxed) - seen) * 2 >= PARTS * part;
            if it_ran && interruptions() == before {
                costs.push(ns);
            }
            if !said && costs.len() >= ENOUGH && begun.elapsed() >= time {
                said = true;
                shared.content.0.fetch_add(1, Relaxed);
            }
        }
        let enough = costs.len() >= ENOUGH;
        let together_ns = Spread::of(costs)
            .filter(|_| enough)
            .map(|spread| spread.median);
        Found::Apart {
            alone_ns,
            together_ns,
        }
    }

    fn at_odds<L: Locker, F: FnMut(u64) -> Range>(
        &self,
        pairs: &mut Pairs<L, F>,
        time: Duration,
    ) -> Found {
        let mut waits = histogram();
        let inside = &self.scene.shared().inside.0;
        self.meet(1);
        let begun = Instant::now();
        while begun.elapsed() < time {
            let range = (pairs.next)(pairs.taken);
            let asked = Instant::now();
            pairs.locker.hold(&range);
            let held = Instant::now();
            waits.saturating_record(nanoseconds(held - asked));
            assert_eq!(
                inside.swap(1, SeqCst),
                0,
                "both have it: what isn't a lock has no figures"
            );
            while nanoseconds(held.elapsed()) < INSIDE_NS {
                std::hint::spin_loop();
            }
            inside.store(0, Release);
            pairs.locker.release(&range);
            pairs.taken += 1;
        }
        Found::AtOdds {
            pairs: pairs.taken,
            seconds: begun.elapsed().as_secs_f64(),
            waits: counts(&waits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock_table::figures::FIGURES;

    fn job<'a>(figure: &'a Figure, scene: &'a Scene, process: usize, task: Task) -> Job<'a> {
        Job {
            figure,
            scene,
            process,
            round: 3,
            task,
        }
    }

    /// Every figure of one process does what it says, and leaves its ranges free: our table and the tree would panic
    /// at a range that is taken, the others wait for good.
    #[test]
    fn figures_run() {
        for figure in FIGURES {
            if figure.kind == Kind::One && figure.holders() == 0 {
                work(&job(figure, &Scene::new().unwrap(), 0, Task::Pairs(2000)));
            }
        }
        let time = Task::For(Duration::from_millis(2));
        let pair = FIGURES.iter().find(|f| f.name == "pair").unwrap();
        let found = work(&job(pair, &Scene::new().unwrap(), 0, time));
        let Found::One { ns, latency, .. } = found else {
            panic!("{found:?}");
        };
        assert!(ns > 0.5 && !latency.is_empty(), "{ns} {latency:?}");
    }

    /// As threads, since a test must not fork. Each asserts that it is alone inside.
    #[test]
    fn two_at_odds_are_never_both_inside() {
        for figure in FIGURES.iter().filter(|f| f.kind == Kind::AtOdds) {
            let scene = Scene::new().unwrap();
            let time = Task::For(Duration::from_millis(2));
            let one = |process| work(&job(figure, &scene, process, time));
            let found = std::thread::scope(|scope| {
                [0, 1]
                    .map(|process| scope.spawn(move || one(process)))
                    .map(|t| t.join())
            });
            for found in found {
                assert!(
                    matches!(found, Ok(Found::AtOdds { pairs, .. }) if pairs > 0),
                    "{}: {found:?}",
                    figure.name
                );
            }
        }
    }
}
