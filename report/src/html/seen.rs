//! What a page must know of the events before it can draw any: how far those of each file go, and how often programs come.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use trace::Kind;

use super::map;
use crate::account::{File, Names, text};
use crate::event::Event;

/// Programs that have a name in maps; the rest are one.
pub const PROGRAMS: usize = 40;
/// So many are counted: a ring that means harm may have another name in each event.
const COUNTED: usize = 10_000;

/// The files that have a map.
pub struct Shown(HashMap<(u64, u64), usize>);

impl Shown {
    pub fn of(files: &[File]) -> Shown {
        let numbered = files.iter().enumerate();
        Shown(
            numbered
                .map(|(n, file)| ((file.dev, file.ino), n))
                .collect(),
        )
    }

    /// The event's place among them.
    pub fn place(&self, event: &Event) -> Option<usize> {
        let file = event.told.record.file.filter(|_| event.is_of_a_file())?;
        self.0.get(&file).copied()
    }
}

/// What was seen of one file's events.
#[derive(Default)]
pub struct Sight {
    pub events: usize,
    /// When the first and the last one was.
    pub times: Option<(u64, u64)>,
    /// The bytes that they name.
    pub extent: Option<(u64, u64)>,
    /// How many waits took at least 2^n nanoseconds, and less than twice that.
    pub wait_times: Vec<u64>,
}

impl Sight {
    pub fn add(&mut self, event: &Event) {
        let record = &event.told.record;
        self.events += 1;
        let (first, last) = self.times.unwrap_or((event.time, event.time));
        self.times = Some((first.min(event.time), last.max(event.time)));
        if let Some((from, to)) = record.range.map(map::extent) {
            let (first, last) = self.extent.unwrap_or((from, to));
            self.extent = Some((first.min(from), last.max(to)));
        }
        if let Some(took) = record.nanoseconds.filter(|_| record.kind == Kind::Wait) {
            let at = took.checked_ilog2().unwrap_or(0) as usize;
            if self.wait_times.len() <= at {
                self.wait_times.resize(at + 1, 0);
            }
            if let Some(count) = self.wait_times.get_mut(at) {
                *count += 1;
            }
        }
    }
}

/// How often each program came.
#[derive(Default)]
pub struct Comers(BTreeMap<Arc<[u8]>, usize>);

impl Comers {
    pub fn add(&mut self, event: &Event, names: &Names) {
        self.count(&event.program);
        if let Some(other) = names.other(event) {
            self.count(other);
        }
    }

    fn count(&mut self, name: &[u8]) {
        if let Some(count) = self.0.get_mut(name) {
            *count += 1;
        } else if self.0.len() < COUNTED
            && let Entry::Vacant(place) = self.0.entry(name.into())
        {
            place.insert(1);
        }
    }
}

/// The programs that maps know, by number.
pub struct Programs {
    pub names: Vec<String>,
    numbers: HashMap<Arc<[u8]>, u64>,
}

impl Programs {
    /// The most frequent first.
    pub fn of(Comers(comers): Comers) -> Programs {
        let mut all: Vec<_> = comers.into_iter().collect();
        all.sort_by_key(|(_, count)| core::cmp::Reverse(*count));
        let rest = all.split_off(all.len().min(PROGRAMS));
        let numbered = all.iter().zip(0..);
        let numbers = numbered.map(|((name, _), number)| (name.clone(), number));
        let mut names: Vec<String> = all.iter().map(|(name, _)| text(name)).collect();
        if !rest.is_empty() {
            names.push(format!("{} more programs", rest.len()));
        }
        Programs {
            numbers: numbers.collect(),
            names,
        }
    }

    fn number(&self, name: &[u8]) -> u64 {
        let rest = self.numbers.len() as u64;
        self.numbers.get(name).copied().unwrap_or(rest)
    }

    pub fn who(&self, event: &Event, names: &Names) -> map::Who {
        let other = names.other(event).map(|other| self.number(other));
        (self.number(&event.program), other)
    }
}
