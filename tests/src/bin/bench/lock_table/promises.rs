//! What the lock table promises of its speed, and whether this run's figures keep it.

use super::results::{One, Results};
use serde::Serialize;

const PAIR_NS: f64 = 20.0;
const PAIR_TIMES_LOCKED: f64 = 1.5;
const OFD_TIMES_PAIR: f64 = 50.0;
const HELD_TIMES_NONE: f64 = 2.0;
const NOISE: f64 = 1.05;

#[derive(Serialize)]
pub struct Promise {
    pub promise: &'static str,
    pub kept: bool,
    pub measured: f64,
    pub limit: f64,
    /// The numbers behind it.
    pub because: String,
}

/// Those whose figures were measured.
pub fn of(results: &Results) -> Vec<Promise> {
    let all = [pair(results), ofd(results), held(results), apart(results)];
    all.into_iter().flatten().collect()
}

fn pair(results: &Results) -> Option<Promise> {
    let (pair, locked) = (results.one("pair")?, results.one("two-locked")?);
    let (ns, times) = (pair.ns.spread()?.median, pair.ns.times(&locked.ns)?.median);
    let limit = PAIR_NS.max(PAIR_TIMES_LOCKED * ns / times);
    Some(Promise {
        promise: "a pair takes at most 20 ns or 1.5 times two locked instructions",
        kept: ns <= PAIR_NS || times <= PAIR_TIMES_LOCKED,
        measured: ns,
        limit,
        because: format!("{ns:.1} ns, {times:.2} times"),
    })
}

fn ofd(results: &Results) -> Option<Promise> {
    let times = results.one("ofd")?.ns.times(&results.one("pair")?.ns)?;
    Some(Promise {
        promise: "an fcntl pair (OFD) takes at least 50 times as long",
        kept: times.median >= OFD_TIMES_PAIR,
        measured: times.median,
        limit: OFD_TIMES_PAIR,
        because: format!(
            "{:.0} times, {:.0}..{:.0}",
            times.median, times.low, times.high
        ),
    })
}

/// The worst of the figures with 1,000 held, each through the same without.
fn held(results: &Results) -> Option<Promise> {
    let factor = |held, none| {
        let ns = |name| results.one(name).map(|one: &One| &one.ns);
        Some(ns(held)?.times(ns(none)?)?.median)
    };
    let ours = [
        factor("held-1000", "pair"),
        factor("held-1000-processes", "pair"),
        factor("held-1000-stripes", "stripes"),
    ];
    let worst = ours.into_iter().flatten().reduce(f64::max)?;
    let ofd =
        factor("ofd-held-1000", "ofd").map_or(String::new(), |f| format!("; OFD: {f:.1} times"));
    Some(Promise {
        promise: "with 1,000 ranges held elsewhere in the file, at most 2 times the pair with none",
        kept: worst <= HELD_TIMES_NONE,
        measured: worst,
        limit: HELD_TIMES_NONE,
        because: format!("{worst:.2} times{ofd}"),
    })
}

/// What two processes that share nothing do to each other on this machine is its noise, and it isn't taken for less
/// than `NOISE`.
fn apart(results: &Results) -> Option<Promise> {
    let ours = results.apart("apart-stripes")?.times.spread()?;
    let noise = results.apart("apart-locked")?.times.spread()?;
    let limit = noise.high.max(NOISE);
    Some(Promise {
        promise: "two processes on different stripes of a file are each no slower than one alone, within noise",
        kept: ours.median <= limit,
        measured: ours.median,
        limit,
        because: format!(
            "{:.2} times, {:.2}..{:.2}; noise: two that share nothing {:.2}..{:.2}",
            ours.median, ours.low, ours.high, noise.low, noise.high
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock_table::figures::{FIGURES, Kind};
    use crate::lock_table::measure::Found;

    /// Results in which figures took so many nanoseconds, or for two processes so many times as alone.
    fn results(figures: &[(&str, f64)]) -> Results {
        let mut results = Results::default();
        for (name, number) in figures {
            let figure = FIGURES.iter().find(|f| f.name == *name).unwrap();
            let found = match figure.kind {
                Kind::One => vec![Found::One {
                    ns: *number,
                    latency: Vec::new(),
                    clock_ns: 20,
                }],
                _ => [(); 2]
                    .map(|()| Found::Apart {
                        alone_ns: 1.0,
                        together_ns: Some(*number),
                    })
                    .into(),
            };
            results.add(figure, found).unwrap();
        }
        results
    }

    fn kept(figures: &[(&str, f64)]) -> Vec<bool> {
        of(&results(figures)).iter().map(|p| p.kept).collect()
    }

    #[test]
    fn promises_are_kept_or_not() {
        let slow_machine = [("two-locked", 20.0), ("pair", 29.0)];
        assert_eq!(kept(&slow_machine), [true]);
        assert_eq!(kept(&[("two-locked", 20.0), ("pair", 31.0)]), [false]);
        assert_eq!(kept(&[("two-locked", 5.0), ("pair", 19.0)]), [true]);
        assert_eq!(kept(&[("ofd", 500.0), ("pair", 10.0)]), [true]);
        assert_eq!(kept(&[("ofd", 490.0), ("pair", 10.0)]), [false]);
        let held = |processes| {
            [
                ("pair", 10.0),
                ("held-1000", 12.0),
                ("held-1000-processes", processes),
            ]
        };
        assert_eq!(kept(&held(20.0)), [true]);
        assert_eq!(kept(&held(21.0)), [false], "the worst counts");
        let apart = |ours, noise| [("apart-stripes", ours), ("apart-locked", noise)];
        assert_eq!(kept(&apart(1.1, 1.2)), [true]);
        assert_eq!(kept(&apart(1.3, 1.2)), [false]);
        assert_eq!(kept(&apart(1.04, 0.9)), [true], "no clock is that good");
        assert_eq!(kept(&apart(1.06, 0.9)), [false]);
    }

    #[test]
    fn nothing_is_said_of_what_was_not_measured() {
        assert!(kept(&[("pair", 10.0), ("held-1", 10.0)]).is_empty());
    }
}
