//! Events summed up one by one, in whatever order their rings are read, so that a long trace takes no more room than a short
//! one. What a ring says may be meant to fill the memory of who reads it: there is so much room, and what doesn't fit is
//! counted as left out.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use trace::{Call, Kind, Lost, What};

use crate::account::{
    Account, Calls, Count, File, Missing, Names, Other, Pair, Program, Range, Waits, text,
};
use crate::event::Event;
use crate::verdict::verdict;

/// In bytes, as they are counted here: about as many as are taken.
const ROOM: usize = 64 << 20;
/// A byte of a text may be told as `\xNN`.
const AS_TOLD: usize = 4;
/// Of anything that is kept, beside its texts.
const PLACE: usize = 128;
/// A range rounded out to this is what excludes others: the unit of stretches.
const STRETCH: u64 = 2 << 20;
const STRETCHES: usize = 8;

type Text = Arc<[u8]>;

struct Room(usize);

impl Room {
    /// The value there, which is made if there is room for it.
    fn entry<'m, K: Ord, V: Default>(
        &mut self,
        map: &'m mut BTreeMap<K, V>,
        key: K,
        texts: usize,
    ) -> Option<&'m mut V> {
        match map.entry(key) {
            Entry::Occupied(there) => Some(there.into_mut()),
            Entry::Vacant(place) => {
                self.0 = self.0.checked_sub(AS_TOLD * texts + PLACE)?;
                Some(place.insert(V::default()))
            }
        }
    }
}

/// The account in the making.
pub struct Sums {
    /// Of all processes that have rings, from the beginning on.
    names: Names,
    files: BTreeMap<(u64, u64), Sum>,
    /// By kind, program, file and reason.
    others: BTreeMap<(u8, Text, Text, Text), Noted>,
    events: usize,
    left_out: u64,
    room: Room,
}

#[derive(Default)]
struct Noted {
    done: Text,
    hint: Text,
    count: usize,
}

/// Of one file.
#[derive(Default)]
struct Sum {
    path: Text,
    /// When it was called that.
    named: u64,
    /// None: no event yet.
    times: Option<(u64, u64)>,
    counts: BTreeMap<u8, usize>,
    waited: u64,
    longest: u64,
    programs: BTreeMap<Text, Used>,
    fallbacks: BTreeMap<Text, usize>,
    /// By kind, program, mode, the other's program and its mode.
    pairs: BTreeMap<(u8, [Text; 4]), Bytes>,
    stretches: BTreeMap<u64, Bytes>,
    /// By program, call and mode.
    calls: BTreeMap<(Text, &'static str, &'static str), Called>,
}

/// Calls that were recorded.
#[derive(Default)]
struct Called {
    count: usize,
    failed: usize,
    bytes: u64,
    nanoseconds: u64,
}

impl Called {
    fn add(&mut self, call: &Call, nanoseconds: u64) {
        self.count += 1;
        self.failed += usize::from(call.result < 0);
        if [What::Read, What::Write, What::Copy].contains(&call.what) {
            let moved = u64::try_from(call.result).unwrap_or(0);
            self.bytes = self.bytes.saturating_add(moved);
        }
        self.nanoseconds = self.nanoseconds.saturating_add(nanoseconds);
    }
}

/// By a program.
#[derive(Default)]
struct Used {
    processes: BTreeMap<u32, ()>,
    modes: BTreeSet<Text>,
}

/// How often, and which bytes all of them lie in.
#[derive(Default)]
struct Bytes {
    count: usize,
    range: Option<(u64, u64)>,
}

impl Bytes {
    fn add(&mut self, (first, last): (u64, u64)) {
        self.count += 1;
        let (from, to) = self.range.unwrap_or((first, last));
        self.range = Some((from.min(first), to.max(last)));
    }
}

impl Sums {
    pub fn new(names: Names) -> Sums {
        Sums {
            names,
            files: BTreeMap::new(),
            others: BTreeMap::new(),
            events: 0,
            left_out: 0,
            room: Room(ROOM),
        }
    }

    pub fn add(&mut self, event: &Event) {
        self.events += 1;
        let fits = match event.told.record.file {
            Some(file) if event.is_of_a_file() => self.of_file(file, event),
            _ => self.note(event),
        };
        if fits.is_none() {
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    /// None: something of it has no room.
    fn of_file(&mut self, file: (u64, u64), event: &Event) -> Option<()> {
        let other = self.names.other(event).map(Text::from);
        let sum = self.room.entry(&mut self.files, file, 0)?;
        sum.add(event, other, &mut self.room)
    }

    fn note(&mut self, event: &Event) -> Option<()> {
        let told = &event.told;
        let texts = [
            &event.program,
            &told.path,
            &told.reason,
            &told.done,
            &told.hint,
        ];
        let texts = texts.iter().map(|text| text.len()).sum();
        let kind = told.record.kind as u8;
        let key = (
            kind,
            event.program.clone(),
            told.path.clone(),
            told.reason.clone(),
        );
        let noted = self.room.entry(&mut self.others, key, texts)?;
        if noted.count == 0 {
            (noted.done, noted.hint) = (told.done.clone(), told.hint.clone());
        }
        noted.count += 1;
        Some(())
    }

    pub fn account(self, rings: usize, lost: &Lost) -> Account {
        let files = self.files.into_iter();
        let mut files: Vec<File> = files.map(|(file, sum)| sum.file(file)).collect();
        files.sort_by_key(|file| (file.weight(), core::cmp::Reverse(file.events())));
        let others = self
            .others
            .into_iter()
            .map(|((kind, program, file, reason), noted)| Other {
                event: word(kind),
                program: text(&program),
                file: text(&file),
                reason: text(&reason),
                done: text(&noted.done),
                hint: text(&noted.hint),
                count: noted.count,
            });
        let others: Vec<Other> = others.collect();
        let (verdict, hint) = verdict(&files, &others);
        Account {
            verdict,
            hint,
            rings,
            events: self.events,
            missing: Missing {
                overwritten: lost.overwritten,
                not_finished: lost.torn,
                never_written: lost.dropped,
                cut_off: lost.cut_off,
                texts: lost.texts,
                left_out: self.left_out,
            },
            files,
            others,
        }
    }
}

fn word(kind: u8) -> &'static str {
    Kind::ALL
        .get(usize::from(kind))
        .map_or("", |kind| kind.word())
}

impl Sum {
    fn add(&mut self, event: &Event, other: Option<Text>, room: &mut Room) -> Option<()> {
        let (told, record) = (&event.told, &event.told.record);
        let (first, last) = self.times.unwrap_or((event.time, event.time));
        self.times = Some((first.min(event.time), last.max(event.time)));
        // The last name that it was met by.
        if !told.path.is_empty() && event.time >= self.named {
            let longer = told.path.len().saturating_sub(self.path.len());
            room.0 = room.0.checked_sub(AS_TOLD * longer)?;
            (self.path, self.named) = (told.path.clone(), event.time);
        }
        *self.counts.entry(record.kind as u8).or_default() += 1;
        let took = record.nanoseconds.filter(|_| record.kind == Kind::Wait);
        self.waited = self.waited.saturating_add(took.unwrap_or(0));
        self.longest = self.longest.max(took.unwrap_or(0));
        let own = self.used(&event.program, record.process, &told.mode, room);
        let party = match (&other, &record.other) {
            (Some(name), Some(party)) => self.used(name, party.process, &Text::default(), room),
            _ => Some(()),
        };
        if record.kind == Kind::Fallback {
            let reason = told.reason.clone();
            *room.entry(&mut self.fallbacks, reason, told.reason.len())? += 1;
        }
        if let Some(call) = &record.call {
            let key = (event.program.clone(), call.what.word(), call.mode.word());
            let called = room.entry(&mut self.calls, key, event.program.len())?;
            called.add(call, record.nanoseconds.unwrap_or(0));
        }
        if let Some(range) = record.range {
            // Calls that nothing came of are everywhere.
            if record.kind != Kind::Call {
                let stretch = range.0 / STRETCH;
                room.entry(&mut self.stretches, stretch, 0)?.add(range);
            }
            if let Some(other) = other {
                let names = [&event.program, &told.mode, &other, &told.other_mode].map(Text::clone);
                let texts = names.iter().map(|name| name.len()).sum();
                let key = (record.kind as u8, names);
                room.entry(&mut self.pairs, key, texts)?.add(range);
            }
        }
        own.and(party)
    }

    fn used(&mut self, name: &Text, process: u32, mode: &Text, room: &mut Room) -> Option<()> {
        let used = room.entry(&mut self.programs, name.clone(), name.len())?;
        room.entry(&mut used.processes, process, 0)?;
        if !mode.is_empty() && !used.modes.contains(mode) {
            room.0 = room.0.checked_sub(AS_TOLD * mode.len() + PLACE)?;
            used.modes.insert(mode.clone());
        }
        Some(())
    }

    fn file(self, (dev, ino): (u64, u64)) -> File {
        let seconds = |ns: u64| ns as f64 / 1e9;
        let (first, last) = self.times.unwrap_or((0, 0));
        let count = |kind: Kind| self.counts.get(&(kind as u8)).copied().unwrap_or(0);
        let counts = Kind::ALL.iter().map(|kind| Count {
            what: kind.word().to_owned(),
            count: count(*kind),
        });
        let programs = self.programs.into_iter().map(|(name, used)| Program {
            program: text(&name),
            processes: used.processes.into_keys().collect(),
            modes: used.modes.iter().map(|mode| text(mode)).collect(),
        });
        let fallbacks = self.fallbacks.iter().map(|(reason, count)| Count {
            what: text(reason),
            count: *count,
        });
        let ranges = self.stretches.values().filter_map(|bytes| {
            let (first, last) = bytes.range?;
            let count = bytes.count;
            Some(Range { first, last, count })
        });
        let mut ranges = most_first(ranges, |range| range.count);
        ranges.truncate(STRETCHES);
        File {
            path: text(&self.path),
            dev,
            ino,
            first: seconds(first),
            last: seconds(last),
            mixed: count(Kind::Mixed) > 0,
            waits: Waits {
                count: count(Kind::Wait),
                total_seconds: seconds(self.waited),
                longest_seconds: seconds(self.longest),
            },
            counts: counts.filter(|count| count.count > 0).collect(),
            programs: programs.collect(),
            fallbacks: most_first(fallbacks, |count| count.count),
            calls: calls(self.calls),
            pairs: pairs(&self.pairs),
            ranges,
        }
    }
}

fn pairs(all: &BTreeMap<(u8, [Text; 4]), Bytes>) -> Vec<Pair> {
    let pairs = all.iter().map(|((kind, names), bytes)| {
        let (first, last) = bytes.range.unwrap_or((0, 0));
        let [program, mode, other_program, other_mode] = names.each_ref().map(|n| text(n));
        Pair {
            event: word(*kind),
            program,
            mode,
            other_program,
            other_mode,
            count: bytes.count,
            first,
            last,
        }
    });
    most_first(pairs, |pair| pair.count)
}

fn calls(all: BTreeMap<(Text, &'static str, &'static str), Called>) -> Vec<Calls> {
    let calls = all
        .into_iter()
        .map(|((program, call, mode), called)| Calls {
            program: text(&program),
            call,
            mode,
            count: called.count,
            failed: called.failed,
            bytes: called.bytes,
            seconds: called.nanoseconds as f64 / 1e9,
        });
    most_first(calls, |calls| calls.count)
}

fn most_first<T>(all: impl Iterator<Item = T>, count: impl Fn(&T) -> usize) -> Vec<T> {
    let mut all: Vec<T> = all.collect();
    all.sort_by_key(|one| core::cmp::Reverse(count(one)));
    all
}
