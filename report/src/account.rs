//! What a trace tells, summed up: by file who used it how, what came of it, and where in it.

use std::collections::BTreeMap;

use policy::Escaped;
use serde::Serialize;
use trace::{Kind, Lost, What};

use crate::event::Event;
use crate::verdict::verdict;

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

/// A range rounded out to this is what excludes others: the unit of stretches.
const STRETCH: u64 = 2 << 20;
const STRETCHES: usize = 8;

/// The programs of processes that tell something: of the other party the kernel's short name is known.
pub(crate) struct Names<'a>(BTreeMap<u32, &'a [u8]>);

impl<'a> Names<'a> {
    pub fn of(events: &'a [Event]) -> Names<'a> {
        let name = |e: &'a Event| (e.told.record.process, &*e.program);
        Names(events.iter().map(name).collect())
    }

    pub fn other<'b>(&'b self, event: &'b Event) -> Option<&'b [u8]> {
        let process = event.told.record.other.as_ref()?.process;
        let known = self.0.get(&process).copied();
        known.or_else(|| event.other_program())
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    Escaped(bytes).to_string()
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

impl Account {
    pub fn of(events: &[Event], rings: usize, lost: &Lost) -> Account {
        let mut by_file: BTreeMap<(u64, u64), Vec<&Event>> = BTreeMap::new();
        let mut others: BTreeMap<_, Other> = BTreeMap::new();
        for event in events {
            match event.told.record.file {
                Some(file) if event.is_of_a_file() => by_file.entry(file).or_default().push(event),
                _ => note(&mut others, event),
            }
        }
        let names = Names::of(events);
        let files = by_file.into_values().filter_map(|e| file(&e, &names));
        let mut files: Vec<File> = files.collect();
        files.sort_by_key(|file| (file.weight(), core::cmp::Reverse(file.events())));
        let others: Vec<Other> = others.into_values().collect();
        let (verdict, hint) = verdict(&files, &others);
        Account {
            verdict,
            hint,
            rings,
            events: events.len(),
            missing: Missing {
                overwritten: lost.overwritten,
                not_finished: lost.torn,
                never_written: lost.dropped,
                cut_off: lost.cut_off,
                texts: lost.texts,
            },
            files,
            others,
        }
    }

    pub fn json(&self) -> String {
        // Numbers and texts only: there is nothing in it that JSON can't say.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl File {
    /// Its place among others: the lower the more serious.
    fn weight(&self) -> usize {
        let is = |kind: &Kind| self.count(*kind) > 0;
        BY_WEIGHT.iter().position(is).unwrap_or(BY_WEIGHT.len())
    }

    fn events(&self) -> usize {
        self.counts.iter().map(|count| count.count).sum()
    }

    pub fn count(&self, kind: Kind) -> usize {
        let of = self.counts.iter().find(|count| count.what == kind.word());
        of.map_or(0, |count| count.count)
    }
}

fn note(others: &mut BTreeMap<(u8, String, String, String), Other>, event: &Event) {
    let told = &event.told;
    let (program, file, reason) = (text(&event.program), text(&told.path), text(&told.reason));
    let kind = told.record.kind;
    let key = (kind as u8, program.clone(), file.clone(), reason.clone());
    let other = others.entry(key).or_insert_with(|| Other {
        event: kind.word(),
        program,
        file,
        reason,
        done: text(&told.done),
        hint: text(&told.hint),
        count: 0,
    });
    other.count += 1;
}

/// None of no events.
fn file(events: &[&Event], names: &Names) -> Option<File> {
    let (first, last) = (events.first()?, events.last()?);
    let (dev, ino) = first.told.record.file?;
    // The last name that it was met by.
    let named = events.iter().rev().find(|e| !e.told.path.is_empty());
    let of = |kind: Kind| events.iter().filter(move |e| e.told.record.kind == kind);
    let counts = Kind::ALL.iter().map(|kind| Count {
        what: kind.word().to_owned(),
        count: of(*kind).count(),
    });
    let nanoseconds = || of(Kind::Wait).filter_map(|e| e.told.record.nanoseconds);
    Some(File {
        path: named.map_or(String::new(), |e| text(&e.told.path)),
        dev,
        ino,
        first: seconds(first.time),
        last: seconds(last.time),
        mixed: of(Kind::Mixed).next().is_some(),
        programs: programs(events, names),
        counts: counts.filter(|count| count.count > 0).collect(),
        waits: Waits {
            count: of(Kind::Wait).count(),
            total_seconds: seconds(nanoseconds().fold(0, u64::saturating_add)),
            longest_seconds: seconds(nanoseconds().max().unwrap_or(0)),
        },
        fallbacks: counted(of(Kind::Fallback).map(|e| text(&e.told.reason))),
        calls: calls(events),
        pairs: pairs(events, names),
        ranges: ranges(events),
    })
}

/// The most frequent first.
fn counted(all: impl Iterator<Item = String>) -> Vec<Count> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    all.for_each(|what| *counts.entry(what).or_default() += 1);
    let counts = counts.into_iter();
    let mut counts: Vec<_> = counts.map(|(what, count)| Count { what, count }).collect();
    counts.sort_by_key(|count| core::cmp::Reverse(count.count));
    counts
}

fn programs(events: &[&Event], names: &Names) -> Vec<Program> {
    let mut all: BTreeMap<String, Program> = BTreeMap::new();
    let mut add = |name: &[u8], process: u32, mode: &[u8]| {
        let name = text(name);
        let program = all.entry(name.clone()).or_insert(Program {
            program: name,
            processes: Vec::new(),
            modes: Vec::new(),
        });
        if !program.processes.contains(&process) {
            program.processes.push(process);
        }
        let mode = text(mode);
        if !mode.is_empty() && !program.modes.contains(&mode) {
            program.modes.push(mode);
        }
    };
    for event in events {
        add(&event.program, event.told.record.process, &event.told.mode);
        if let (Some(name), Some(other)) = (names.other(event), &event.told.record.other) {
            add(name, other.process, b"");
        }
    }
    all.into_values().collect()
}

fn calls(events: &[&Event]) -> Vec<Calls> {
    let mut all: BTreeMap<(&[u8], &str, &str), Calls> = BTreeMap::new();
    for event in events {
        let Some(call) = event.told.record.call else {
            continue;
        };
        let (what, mode) = (call.what.word(), call.mode.word());
        let one = all
            .entry((&event.program, what, mode))
            .or_insert_with(|| Calls {
                program: text(&event.program),
                call: what,
                mode,
                count: 0,
                failed: 0,
                bytes: 0,
                seconds: 0.0,
            });
        one.count += 1;
        one.failed += usize::from(call.result < 0);
        if [What::Read, What::Write, What::Copy].contains(&call.what) {
            let moved = u64::try_from(call.result).unwrap_or(0);
            one.bytes = one.bytes.saturating_add(moved);
        }
        one.seconds += seconds(event.told.record.nanoseconds.unwrap_or(0));
    }
    let mut all: Vec<_> = all.into_values().collect();
    all.sort_by_key(|calls| core::cmp::Reverse(calls.count));
    all
}

fn pairs(events: &[&Event], names: &Names) -> Vec<Pair> {
    let mut all: BTreeMap<(&str, [String; 4]), Pair> = BTreeMap::new();
    for event in events {
        let (Some(other), Some((first, last))) = (names.other(event), event.told.record.range)
        else {
            continue;
        };
        let kind = event.told.record.kind.word();
        let told = &event.told;
        let names = [&event.program, &told.mode, other, &told.other_mode].map(text);
        let [program, mode, other_program, other_mode] = names.clone();
        let pair = all.entry((kind, names)).or_insert(Pair {
            event: kind,
            program,
            mode,
            other_program,
            other_mode,
            count: 0,
            first,
            last,
        });
        pair.count += 1;
        pair.first = pair.first.min(first);
        pair.last = pair.last.max(last);
    }
    let mut all: Vec<_> = all.into_values().collect();
    all.sort_by_key(|pair| core::cmp::Reverse(pair.count));
    all
}

fn ranges(events: &[&Event]) -> Vec<Range> {
    let mut all: BTreeMap<u64, Range> = BTreeMap::new();
    // Calls that nothing came of are everywhere.
    let told = events.iter().filter(|e| e.told.record.kind != Kind::Call);
    for (first, last) in told.filter_map(|e| e.told.record.range) {
        let range = all.entry(first / STRETCH).or_insert(Range {
            first,
            last,
            count: 0,
        });
        range.count += 1;
        range.first = range.first.min(first);
        range.last = range.last.max(last);
    }
    let mut all: Vec<_> = all.into_values().collect();
    all.sort_by_key(|range| core::cmp::Reverse(range.count));
    all.truncate(STRETCHES);
    all
}
