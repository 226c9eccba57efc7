//! What the rounds found, figure by figure.

use super::figures::{Figure, Who};
use super::measure::Found;
use super::pairs::{Counts, histogram};
use crate::statistics::Spread;
use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};

#[derive(Default, Serialize)]
pub struct Results {
    pub one_process: Vec<One>,
    pub two_processes_apart: Vec<Apart>,
    pub two_processes_at_odds: Vec<AtOdds>,
    #[serde(skip)]
    clock_ns: Vec<f64>,
}

#[derive(Serialize)]
pub struct One {
    pub name: &'static str,
    pub says: &'static str,
    #[serde(skip)]
    pub who: Who,
    /// Nanoseconds per pair, a number for each round.
    pub ns: Runs,
    pub latency_ns: Latency,
    pub instructions: Option<f64>,
}

#[derive(Serialize)]
pub struct Apart {
    pub name: &'static str,
    pub says: &'static str,
    /// Nanoseconds per pair, the mean of the two processes.
    pub alone_ns: Runs,
    pub together_ns: Runs,
    /// Together through alone.
    pub times: Runs,
}

#[derive(Serialize)]
pub struct AtOdds {
    pub name: &'static str,
    pub says: &'static str,
    pub processes: [Contender; 2],
    /// What the process that got less got, of all pairs. A half is fair.
    pub lesser_share: Runs,
}

#[derive(Default, Serialize)]
pub struct Contender {
    pub pairs_per_second: Runs,
    pub wait_ns: Latency,
}

/// A number for each round.
#[derive(Default)]
pub struct Runs(pub Vec<f64>);

impl Runs {
    pub fn spread(&self) -> Option<Spread> {
        Spread::of(self.0.iter().copied())
    }

    /// How many times the other, round by round.
    pub fn times(&self, other: &Runs) -> Option<Spread> {
        Spread::of(self.0.iter().zip(&other.0).map(|(a, b)| a / b))
    }
}

impl Serialize for Runs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Whole<'a> {
            #[serde(flatten)]
            spread: Option<Spread>,
            runs: &'a [f64],
        }
        let whole = Whole {
            spread: self.spread(),
            runs: &self.0,
        };
        whole.serialize(serializer)
    }
}

/// All rounds together.
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Latency {
        Latency(histogram())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    pub p50: u64,
    pub p99: u64,
    pub p99_9: u64,
    pub max: u64,
    pub samples: u64,
}

impl Latency {
    fn add(&mut self, counts: &Counts) {
        for (ns, times) in counts {
            self.0.saturating_record_n(*ns, *times);
        }
    }

    pub fn percentiles(&self) -> Percentiles {
        let at = |quantile| self.0.value_at_quantile(quantile);
        Percentiles {
            p50: at(0.5),
            p99: at(0.99),
            p99_9: at(0.999),
            max: self.0.max(),
            samples: self.0.len(),
        }
    }
}

impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.percentiles().serialize(serializer)
    }
}

/// The figure's place in the list, which is made with the first round.
fn place<T>(list: &mut Vec<T>, is_it: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> &mut T {
    let at = list.iter().position(is_it).unwrap_or_else(|| {
        list.push(make());
        list.len() - 1
    });
    &mut list[at]
}

impl Results {
    /// What the processes of one run found, in their order.
    pub fn add(&mut self, figure: &Figure, found: Vec<Found>) -> Result<(), String> {
        let (name, says) = (figure.name, figure.says);
        match &found[..] {
            [
                Found::One {
                    ns,
                    latency,
                    clock_ns,
                },
                ..,
            ] => {
                let one = place(
                    &mut self.one_process,
                    |one| one.name == name,
                    || One {
                        name,
                        says,
                        who: figure.who,
                        ns: Runs::default(),
                        latency_ns: Latency::default(),
                        instructions: None,
                    },
                );
                one.ns.0.push(*ns);
                one.latency_ns.add(latency);
                self.clock_ns.push(*clock_ns as f64);
            }
            [
                Found::Apart {
                    alone_ns: a,
                    together_ns: c,
                },
                Found::Apart {
                    alone_ns: b,
                    together_ns: d,
                },
            ] => {
                let apart = place(
                    &mut self.two_processes_apart,
                    |apart| apart.name == name,
                    || Apart {
                        name,
                        says,
                        alone_ns: Runs::default(),
                        together_ns: Runs::default(),
                        times: Runs::default(),
                    },
                );
                let (Some(c), Some(d)) = (c, d) else {
                    eprintln!(
                        "{name}: the machine is too busy, the two hardly ran at once; not counted"
                    );
                    return Ok(());
                };
                apart.alone_ns.0.push(f64::midpoint(*a, *b));
                apart.together_ns.0.push(f64::midpoint(*c, *d));
                apart.times.0.push(f64::midpoint(c / a, d / b));
            }
            [
                Found::AtOdds {
                    pairs: p,
                    seconds: s,
                    waits: v,
                },
                Found::AtOdds {
                    pairs: q,
                    seconds: t,
                    waits: w,
                },
            ] => {
                let odds = place(
                    &mut self.two_processes_at_odds,
                    |odds| odds.name == name,
                    || AtOdds {
                        name,
                        says,
                        processes: Default::default(),
                        lesser_share: Runs::default(),
                    },
                );
                let rates = [*p as f64 / s, *q as f64 / t];
                let [first, second] = &mut odds.processes;
                first.pairs_per_second.0.push(rates[0]);
                second.pairs_per_second.0.push(rates[1]);
                first.wait_ns.add(v);
                second.wait_ns.add(w);
                let lesser = rates[0].min(rates[1]) / (rates[0] + rates[1]);
                odds.lesser_share.0.push(lesser);
            }
            _ => return Err("its processes didn't agree on what they measured".to_owned()),
        }
        Ok(())
    }

    pub fn one(&self, name: &str) -> Option<&One> {
        self.one_process.iter().find(|one| one.name == name)
    }

    pub fn apart(&self, name: &str) -> Option<&Apart> {
        self.two_processes_apart
            .iter()
            .find(|apart| apart.name == name)
    }

    pub fn set_instructions(&mut self, figure: &Figure, count: f64) {
        let one = self
            .one_process
            .iter_mut()
            .find(|one| one.name == figure.name);
        if let Some(one) = one {
            one.instructions = Some(count);
        }
    }

    pub fn clock_ns(&self) -> Option<f64> {
        let spread = Spread::of(self.clock_ns.iter().copied());
        spread.map(|spread| spread.median)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock_table::figures::FIGURES;

    fn figure(name: &str) -> &'static Figure {
        FIGURES.iter().find(|f| f.name == name).unwrap()
    }

    #[test]
    fn rounds_come_together() {
        let mut results = Results::default();
        for (ns, times) in [(10.0, 1499), (30.0, 499)] {
            let found = Found::One {
                ns,
                latency: vec![(ns as u64, times), (5000, 1)],
                clock_ns: 20,
            };
            results.add(figure("pair"), vec![found]).unwrap();
        }
        let pair = results.one("pair").unwrap();
        assert_eq!(pair.ns.spread().unwrap().median, 20.0);
        let percentiles = pair.latency_ns.percentiles();
        let Percentiles {
            p50,
            p99,
            max,
            samples,
            ..
        } = percentiles;
        assert_eq!((p50, p99, samples), (10, 30, 2000));
        assert!((5000..5010).contains(&max), "{max}");
        assert_eq!(percentiles.p99_9, 30);
    }

    #[test]
    fn ratios_stay_in_their_round() {
        let mut results = Results::default();
        for speed in [1.0, 7.0] {
            let found = |times| Found::Apart {
                alone_ns: 10.0 * speed,
                together_ns: Some(10.0 * speed * times),
            };
            let both = vec![found(1.0), found(2.0)];
            results.add(figure("apart-stripes"), both).unwrap();
        }
        let times = results
            .apart("apart-stripes")
            .unwrap()
            .times
            .spread()
            .unwrap();
        assert_eq!((times.low, times.high), (1.5, 1.5));
    }

    #[test]
    fn who_never_ran_together_has_no_figure() {
        let found = || Found::Apart {
            alone_ns: 1.0,
            together_ns: None,
        };
        let mut results = Results::default();
        results
            .add(figure("apart-ofd"), vec![found(), found()])
            .unwrap();
        assert_eq!(results.apart("apart-ofd").unwrap().times.spread(), None);
    }

    #[test]
    fn shares_are_of_the_pairs() {
        let mut results = Results::default();
        let found = |pairs| Found::AtOdds {
            pairs,
            seconds: 0.5,
            waits: vec![(1000, pairs)],
        };
        results
            .add(figure("same"), vec![found(300), found(100)])
            .unwrap();
        let odds = &results.two_processes_at_odds[0];
        assert_eq!(odds.lesser_share.0, [0.25]);
        assert_eq!(odds.processes[0].pairs_per_second.0, [600.0]);
        assert_eq!(odds.processes[1].wait_ns.percentiles().samples, 100);
    }
}
