//! What a trace tells, summed up: by file who used it how, what came of it, and where in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use policy::Escaped;
use serde::Serialize;
use trace::Kind;

use crate::event::Event;
use crate::folder::OneRing;

/// The whole account; as JSON it is what `docs/report.schema.json` says.
#[derive(Debug, Serialize)]
pub struct Account {
    /// In a sentence or two: who mixes what, and what came of it.
    pub verdict: String,
    /// The way out; empty: none is needed.
    pub hint: String,
    pub rings: usize,
    pub events: usize,
    pub missing: Missing,
    /// Those with the most serious events first.
    pub files: Vec<File>,
    /// What belongs to no file.
    pub others: Vec<Other>,
}

/// Events that aren't there.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Missing {
    pub overwritten: u64,
    pub not_finished: u64,
    pub never_written: u64,
    pub cut_off: u64,
    /// Names and reasons of events that are there.
    pub texts: u64,
    /// Events that there is no room to tell all of: of more files, programs and places than can be kept.
    pub left_out: u64,
}

#[derive(Debug, Serialize)]
pub struct File {
    /// Empty: it isn't known.
    pub path: String,
    pub dev: u64,
    pub ino: u64,
    /// Seconds since 1970.
    pub first: f64,
    pub last: f64,
    /// It was used directly and through the page cache.
    pub mixed: bool,
    pub programs: Vec<Program>,
    pub counts: Vec<Count>,
    pub waits: Waits,
    pub fallbacks: Vec<Count>,
    /// What was recorded of all calls, where the policy asks for that: the most frequent first.
    pub calls: Vec<Calls>,
    /// Who was in whose way, the most frequent first.
    pub pairs: Vec<Pair>,
    /// Where in the file, in stretches of 2 MiB, the most frequent first.
    pub ranges: Vec<Range>,
}

#[derive(Debug, Serialize)]
pub struct Program {
    pub program: String,
    pub processes: Vec<u32>,
    /// Those in which it is seen in some event.
    pub modes: Vec<String>,
}

/// How often something is told.
#[derive(Debug, Serialize)]
pub struct Count {
    pub what: String,
    pub count: usize,
}

/// A program's calls of one kind.
#[derive(Debug, Serialize)]
pub struct Calls {
    pub program: String,
    pub call: &'static str,
    pub mode: &'static str,
    pub count: usize,
    pub failed: usize,
    /// What those that read, write or copy have moved.
    pub bytes: u64,
    pub seconds: f64,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Waits {
    pub count: usize,
    pub total_seconds: f64,
    pub longest_seconds: f64,
}

#[derive(Debug, Serialize)]
pub struct Pair {
    pub event: &'static str,
    pub program: String,
    pub mode: String,
    pub other_program: String,
    /// Empty: not known.
    pub other_mode: String,
    pub count: usize,
    /// The bytes that all of them lie in.
    pub first: u64,
    pub last: u64,
}

#[derive(Debug, Serialize)]
pub struct Range {
    pub first: u64,
    pub last: u64,
    pub count: usize,
}

#[derive(Debug, Serialize)]
pub struct Other {
    pub event: &'static str,
    pub program: String,
    pub file: String,
    pub reason: String,
    pub done: String,
    pub hint: String,
    pub count: usize,
}

/// What is serious first.
pub(crate) const BY_WEIGHT: [Kind; 9] = [
    Kind::InvalidateFailed,
    Kind::Deadlock,
    Kind::LockTimeout,
    Kind::Collision,
    Kind::Nested,
    Kind::Wait,
    Kind::Fallback,
    Kind::Mixed,
    Kind::Reaped,
];

/// The programs of processes that tell something: of the other party the kernel's short name is known.
#[derive(Clone, Default)]
pub struct Names(BTreeMap<u32, Arc<[u8]>>);

impl Names {
    pub fn of_rings(rings: &[OneRing]) -> Names {
        let name = |ring: &OneRing| (ring.process(), ring.program().into());
        Names(rings.iter().map(name).collect())
    }

    pub(crate) fn other<'b>(&'b self, event: &'b Event) -> Option<&'b [u8]> {
        let process = event.told.record.other.as_ref()?.process;
        let known = self.0.get(&process).map(|name| &**name);
        known.or_else(|| event.other_program())
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    Escaped(bytes).to_string()
}

impl Account {
    pub fn json(&self) -> String {
        // Numbers and texts only: there is nothing in it that JSON can't say.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl File {
    /// Its place among others: the lower the more serious.
    pub(crate) fn weight(&self) -> usize {
        let is = |kind: &Kind| self.count(*kind) > 0;
        BY_WEIGHT.iter().position(is).unwrap_or(BY_WEIGHT.len())
    }

    pub(crate) fn events(&self) -> usize {
        self.counts.iter().map(|count| count.count).sum()
    }

    pub fn count(&self, kind: Kind) -> usize {
        let of = self.counts.iter().find(|count| count.what == kind.word());
        of.map_or(0, |count| count.count)
    }
}
