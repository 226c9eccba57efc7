//! From what rings tell to the history of each file. A call's contents come before or after it, and lead to it by the
//! moment at which it began; what comes alone was never finished.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use trace::{Call, Contents, Kind, Mode, Record, What, whole_blocks};

use crate::event::Event;
use crate::history::file::{Done, History};
use crate::history::zones::NEVER;

/// By as much may clocks that are read in two processes contradict each other: they follow CLOCK_MONOTONIC to a microsecond
/// or so.
pub const SLACK: u64 = 10_000;
/// Room for all histories together, in bytes as they are counted here.
const ROOM: usize = 1 << 30;
/// Of a call, beside its sums.
const PLACE: usize = 256;

/// Device, inode and birth.
pub type Key = (u64, u64, u32);

/// A call that has begun.
struct Begun {
    thread: u32,
    who: u32,
    birth: u32,
    contents: Contents,
    /// Which bytes it moves.
    placed: Option<(u64, u64)>,
    /// From where on it may.
    beyond: u64,
    block: u64,
    sums: Vec<u32>,
    /// Two calls began at one moment: nobody knows whose contents these are.
    is_mixed: bool,
    path: Arc<[u8]>,
}

type Began = (u32, u64, u64, u64);

/// How it ended.
#[derive(Clone, Copy)]
struct Told {
    range: Option<(u64, u64)>,
    result: i64,
}

/// Where the beginning of a ring was overwritten.
#[derive(Default)]
struct Start {
    threads: HashMap<u32, u64>,
    /// All that was overwritten was over then.
    known_from: Option<u64>,
    last: u64,
}

/// The histories in the making.
pub struct Collected {
    pub files: BTreeMap<Key, History>,
    /// Programs, by their index.
    pub programs: Vec<Arc<[u8]>>,
    begun: HashMap<Began, Begun>,
    /// Changes that were recorded without contents: of all lives of the inode.
    bare: Vec<((u64, u64), Done)>,
    /// Files of which something isn't covered.
    uncovered: HashSet<(u64, u64)>,
    /// Things that aren't covered, of no file that is known.
    pub unseen: u64,
    /// Calls on files whose contents aren't recorded.
    pub without: u64,
    start: Start,
    room: usize,
    /// There was no room for all.
    pub left_out: u64,
}

impl Collected {
    pub fn new() -> Collected {
        Collected {
            files: BTreeMap::new(),
            programs: Vec::new(),
            begun: HashMap::new(),
            bare: Vec::new(),
            uncovered: HashSet::new(),
            unseen: 0,
            without: 0,
            start: Start::default(),
            room: ROOM,
            left_out: 0,
        }
    }

    /// Another ring begins.
    pub fn begins(&mut self, program: &[u8]) {
        self.start = Start::default();
        self.programs.push(program.into());
    }

    /// It has ended. From when on all that it told is there, if its beginning was overwritten.
    pub fn known_from(&self) -> u64 {
        let start = &self.start;
        start.known_from.unwrap_or(start.last).saturating_add(SLACK)
    }

    pub fn add(&mut self, event: &Event) {
        let record = &event.told.record;
        self.start.sees(event.time, record.thread);
        match (record.kind, record.file, record.contents, record.call) {
            (Kind::Contents, Some(file), Some(contents), _) => self.moved(event, file, contents),
            (Kind::Call, Some(file), _, Some(call)) => self.ended(event, file, call),
            (Kind::Uncovered, Some(file), ..) => {
                self.uncovered.insert(file);
            }
            (Kind::Uncovered, None, ..) => self.unseen += 1,
            _ => {}
        }
    }

    fn moved(&mut self, event: &Event, file: (u64, u64), contents: Contents) {
        let record = &event.told.record;
        let key = (record.process, event.time, file.0, file.1);
        let who = (self.programs.len() as u32).wrapping_sub(1);
        let Some(room) = self.room.checked_sub(size_of_val(contents.sums())) else {
            self.left_out += 1;
            return;
        };
        self.room = room;
        match self.begun.entry(key) {
            Entry::Occupied(there) => there.into_mut().goes_on(record, contents),
            Entry::Vacant(place) => match self.room.checked_sub(PLACE) {
                Some(room) => {
                    self.room = room;
                    place.insert(Begun::of(who, event, contents));
                }
                None => self.left_out += 1,
            },
        }
    }

    fn ended(&mut self, event: &Event, file: (u64, u64), call: Call) {
        let record = &event.told.record;
        let key = (record.process, event.time, file.0, file.1);
        let end = event.time.saturating_add(record.nanoseconds.unwrap_or(0));
        if let Some(begun) = self.begun.remove(&key) {
            let told = Told {
                range: record.range,
                result: call.result,
            };
            return self.put(file, key, begun, Some((told, end)));
        }
        self.without += 1;
        let changes = match call.what {
            What::Write => call.result > 0,
            What::Copy => matches!(call.mode, Mode::BufferedWrite | Mode::DirectWrite),
            What::Map => call.mode == Mode::MappedWritable,
            What::Layout => true,
            What::Read | What::Sync | What::Unmap => false,
        };
        if changes && let Some(room) = self.room.checked_sub(PLACE) {
            self.room = room;
            let done = Done {
                begin: event.time.saturating_sub(SLACK),
                end: end.saturating_add(SLACK),
                who: (self.programs.len() as u32).wrapping_sub(1),
                process: record.process,
                thread: record.thread,
                what: call.what,
                mode: call.mode,
                appends: false,
                range: record.range,
                beyond: 0,
                block: 0,
                sums: 0..0,
            };
            self.bare.push((file, done));
        }
    }

    /// A call, and how it ended if it did.
    fn put(&mut self, file: (u64, u64), key: Began, begun: Begun, ended: Option<(Told, u64)>) {
        let contents = &begun.contents;
        let works = ended.is_none_or(|(told, _)| told.result >= 0);
        let is_read = contents.what == What::Read;
        if is_read && !(ended.is_some_and(|(told, _)| told.range == begun.placed) && works) {
            return;
        }
        if contents.what == What::Map && !works {
            return;
        }
        let history = self.files.entry((file.0, file.1, begun.birth)).or_default();
        if history.path.is_empty() {
            history.path = begun.path.clone();
        }
        // What it was to move, and what it has moved for sure.
        let moved = match ended {
            Some((told, _)) if !contents.appends => told.range,
            _ => begun.placed,
        };
        let range = begun.placed.filter(|_| moved.is_some() && !begun.is_mixed);
        let from = history.sums.len();
        let mut block = begun.block;
        if let (Some(_), Some(moved), true) = (range, moved, works) {
            let (first, sums) = begun.within(moved);
            block = first;
            history.sums.extend_from_slice(sums);
        }
        history.done.push(Done {
            begin: key.1.saturating_sub(SLACK),
            end: ended.map_or(NEVER, |(_, end)| end.saturating_add(SLACK)),
            who: begun.who,
            process: key.0,
            thread: begun.thread,
            what: contents.what,
            mode: contents.mode,
            appends: contents.appends,
            range,
            beyond: begun.beyond,
            block,
            sums: from..history.sums.len(),
        });
    }

    /// All rings are read: what has no end has none. Bare changes are of every life of their inode.
    pub fn finish(&mut self) {
        let begun = std::mem::take(&mut self.begun);
        for (key, begun) in begun {
            self.put((key.2, key.3), key, begun, None);
        }
        for (file, done) in std::mem::take(&mut self.bare) {
            let lives = self
                .files
                .range_mut((file.0, file.1, 0)..=(file.0, file.1, u32::MAX));
            lives.for_each(|(_, history)| history.done.push(done.clone()));
        }
        let uncovered = &self.uncovered;
        let before = self.files.len();
        self.files
            .retain(|(dev, ino, _), _| !uncovered.contains(&(*dev, *ino)));
        self.unseen += (before - self.files.len()) as u64;
        for history in self.files.values_mut() {
            history.done.sort_by_key(|done| (done.begin, done.end));
            history.forget_doubtful();
        }
    }
}

impl Begun {
    fn of(who: u32, event: &Event, contents: Contents) -> Begun {
        let record = &event.told.record;
        Begun {
            thread: record.thread,
            who,
            birth: contents.birth,
            contents,
            placed: placed(record),
            beyond: record.range.map_or(0, |range| range.0),
            block: contents.block,
            sums: contents.sums().to_vec(),
            is_mixed: false,
            path: event.told.path.clone(),
        }
    }

    fn goes_on(&mut self, record: &Record, contents: Contents) {
        self.is_mixed |= record.thread != self.thread || contents.what != self.contents.what;
        self.placed = placed(record);
        if self.sums.is_empty() {
            self.block = contents.block;
        }
        // What comes behind one that is missing isn't known.
        if contents.block == self.block.saturating_add(self.sums.len() as u64) {
            self.sums.extend(contents.sums());
        }
    }

    /// The sums of the blocks that lie whole in that range.
    fn within(&self, (first, last): (u64, u64)) -> (u64, &[u32]) {
        let (from, count) = whole_blocks(first, last.saturating_sub(first).saturating_add(1));
        let end = from
            .saturating_add(count)
            .min(self.block.saturating_add(self.sums.len() as u64));
        let from = from.max(self.block);
        let at =
            |block: u64| usize::try_from(block.saturating_sub(self.block)).unwrap_or(usize::MAX);
        (from, self.sums.get(at(from)..at(end)).unwrap_or(&[]))
    }
}

/// Where its bytes go; of an append that is told before it is made, only from where on.
fn placed(record: &Record) -> Option<(u64, u64)> {
    record
        .range
        .filter(|(first, last)| *last != u64::MAX && first <= last)
}

impl Start {
    /// A thread that begins another call has told of the one before: all that was overwritten had been told then.
    fn sees(&mut self, time: u64, thread: u32) {
        self.last = self.last.max(time);
        if self.known_from.is_none()
            && self
                .threads
                .insert(thread, time)
                .is_some_and(|before| before < time)
        {
            self.known_from = Some(time);
        }
    }
}
