//! Takes pairs against the clock.
//!
//! A pair may take less than the clock can tell. So its cost is taken in batches of about 50 µs, with a look at the
//! clock before and after, and a run's figure is the median of those that weren't interrupted.
//! Percentiles need single pairs: a look before and after each, less what two looks take with nothing between them.

use super::lockers::{Locker, Range};
use crate::statistics::Spread;
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};

const WARM: Duration = Duration::from_millis(5);
const BATCH: Duration = Duration::from_micros(50);
/// So many batches are a figure. How much longer than asked they may take on a busy machine.
pub const ENOUGH: usize = 10;
pub const PATIENCE: Duration = Duration::from_secs(2);
/// The longest wait that a histogram tells from longer ones.
const LONGEST_NS: u64 = 120_000_000_000;

/// How often which time was seen: (nanoseconds, times).
pub type Counts = Vec<(u64, u64)>;

pub struct Pairs<L, F> {
    pub locker: L,
    /// The range of the pair with this number.
    pub next: F,
    pub taken: u64,
}

impl<L: Locker, F: FnMut(u64) -> Range> Pairs<L, F> {
    #[inline]
    fn pair(&mut self) {
        let range = (self.next)(self.taken);
        self.locker.hold_free(&range);
        self.locker.release(&range);
        self.taken += 1;
    }

    pub fn take(&mut self, n: u64) {
        for _ in 0..n {
            self.pair();
        }
    }

    /// Until caches and pages are warm. Returns how many pairs make a batch.
    pub fn warm(&mut self) -> u64 {
        let begun = Instant::now();
        let mut n = 1;
        while begun.elapsed() < WARM {
            self.take(n);
            n *= 2;
        }
        // Everything up to now was 2n - 1 pairs with a look at the clock now and then; the last half is as good.
        let start = Instant::now();
        let n = (n / 4).max(1);
        self.take(n);
        let ns = nanoseconds(start.elapsed()).max(1);
        (n * nanoseconds(BATCH) / ns).max(1)
    }

    /// The median of batches, nanoseconds per pair.
    pub fn batches(&mut self, time: Duration, batch: u64) -> f64 {
        let (mut whole, mut interrupted) = (Vec::new(), Vec::new());
        let begun = Instant::now();
        // On a busy machine it may take longer until some were not interrupted.
        while begun.elapsed() < time || whole.len() < ENOUGH && begun.elapsed() < time + PATIENCE {
            let before = interruptions();
            let start = Instant::now();
            self.take(batch);
            let ns = nanoseconds(start.elapsed()) as f64 / batch as f64;
            if interruptions() == before {
                whole.push(ns);
            } else {
                interrupted.push(ns);
            }
        }
        let counted = if whole.is_empty() { interrupted } else { whole };
        Spread::of(counted).map_or(f64::NAN, |spread| spread.median)
    }

    pub fn singles(&mut self, time: Duration, clock_ns: u64) -> Counts {
        let mut latency = histogram();
        let begun = Instant::now();
        while begun.elapsed() < time {
            let range = (self.next)(self.taken);
            let start = Instant::now();
            self.locker.hold_free(&range);
            self.locker.release(&range);
            let ns = nanoseconds(start.elapsed());
            self.taken += 1;
            latency.saturating_record(ns.saturating_sub(clock_ns));
        }
        counts(&latency)
    }
}

/// How often this process has been interrupted in favour of another. A wait of its own is none of these.
pub fn interruptions() -> i64 {
    // SAFETY: zero bytes are a valid rusage, and the kernel writes one to the address of one.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage.ru_nivcsw
    }
}

pub fn nanoseconds(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

/// What two looks at the clock take with nothing between them.
pub fn clock_ns() -> u64 {
    let look = |_| nanoseconds(Instant::now().elapsed()) as f64;
    Spread::of((0..1001).map(look)).map_or(0, |spread| spread.median as u64)
}

pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("bounds in order")
}

pub fn counts(histogram: &Histogram<u64>) -> Counts {
    let recorded = histogram.iter_recorded();
    recorded
        .map(|at| (at.value_iterated_to(), at.count_at_value()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_travels() {
        let mut here = histogram();
        for ns in [7, 7, 90_000] {
            here.saturating_record(ns);
        }
        let mut there = histogram();
        for (ns, times) in counts(&here) {
            there.saturating_record_n(ns, times);
        }
        assert_eq!(here, there);
    }
}
