//! Pairs of runs, and what they say together.

use serde::{Deserialize, Serialize};

/// Nanoseconds per call, bare and fenced, pair by pair.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Whole", into = "Whole")]
pub struct Series {
    bare: Vec<f64>,
    fenced: Vec<f64>,
}

/// The median, and between what it lies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (*sorted.first()?, *sorted.last()?);
        let upper = *sorted.get(sorted.len() / 2)?;
        let lower = *sorted.get((sorted.len() - 1) / 2)?;
        Some(Spread {
            median: f64::midpoint(lower, upper),
            low,
            high,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    pub bare_ns: Spread,
    pub fenced_ns: Spread,
    pub difference_ns: Spread,
    pub ratio: Spread,
}

impl Series {
    /// A pair of runs, if both have the figure.
    pub fn push(&mut self, bare: Option<f64>, fenced: Option<f64>) {
        if let (Some(bare), Some(fenced)) = (bare, fenced) {
            self.bare.push(bare);
            self.fenced.push(fenced);
        }
    }

    /// None without a pair.
    pub fn summary(&self) -> Option<Summary> {
        let pairs = || self.bare.iter().zip(&self.fenced);
        Some(Summary {
            bare_ns: Spread::of(self.bare.iter().copied())?,
            fenced_ns: Spread::of(self.fenced.iter().copied())?,
            difference_ns: Spread::of(pairs().map(|(b, f)| f - b))?,
            ratio: Spread::of(pairs().map(|(b, f)| f / b))?,
        })
    }
}

/// A series as it is written. Who reads it takes the runs, and makes the summary of them anew.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    #[serde(skip_deserializing, rename = "summary")]
    written: Option<Summary>,
    #[serde(skip_serializing, rename = "summary")]
    _read: Option<serde::de::IgnoredAny>,
    bare_runs_ns: Vec<f64>,
    fenced_runs_ns: Vec<f64>,
}

impl From<Series> for Whole {
    fn from(series: Series) -> Whole {
        Whole {
            written: series.summary(),
            _read: None,
            bare_runs_ns: series.bare,
            fenced_runs_ns: series.fenced,
        }
    }
}

impl TryFrom<Whole> for Series {
    type Error = &'static str;

    fn try_from(whole: Whole) -> Result<Series, &'static str> {
        if whole.bare_runs_ns.len() != whole.fenced_runs_ns.len() {
            return Err("runs are made in pairs, and these are not as many bare as fenced");
        }
        Ok(Series {
            bare: whole.bare_runs_ns,
            fenced: whole.fenced_runs_ns,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_numbers() {
        let odd = Spread::of([3.0, 1.0, 9.0]).unwrap();
        assert_eq!((odd.low, odd.median, odd.high), (1.0, 3.0, 9.0));
        assert_eq!(Spread::of([4.0, 1.0]).unwrap().median, 2.5);
        assert_eq!(Spread::of([]), None);
    }

    /// A machine that gets slower from pair to pair doesn't change what a pair says.
    #[test]
    fn pairs_are_compared_with_themselves() {
        let mut series = Series::default();
        for speed in [1.0, 2.0, 10.0] {
            series.push(Some(100.0 * speed), Some(150.0 * speed));
        }
        let summary = series.summary().unwrap();
        assert_eq!(summary.ratio.low, 1.5);
        assert_eq!(summary.ratio.high, 1.5);
        assert_eq!(summary.difference_ns.median, 100.0);
    }
}
