//! A ring as somebody else reads it, while its process writes to it or after its end. Nothing that stands in it is trusted:
//! every index is checked, every loop has an end, and what makes no sense is counted and left out.

use std::collections::HashMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::format::{
    HEAD_WORDS, MAGIC, MOST_OF_A_TEXT, RECORD_WORDS, Record, Shape, Text, VERSION, WORD, Words, at,
};

/// Why a file is no ring that can be read.
#[derive(Debug)]
pub enum Wrong {
    /// A pipe, a directory, a device.
    NoFile,
    /// Shorter than a head.
    TooShort,
    /// Something else.
    NoRing,
    /// Of another version of Pagefence.
    Version(u64),
    /// Its head contradicts itself.
    Head,
    Unreadable(io::Error),
}

impl fmt::Display for Wrong {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::NoFile => out.write_str("it is not a regular file"),
            Wrong::TooShort => out.write_str("it is too short to be a ring of a trace: cut off?"),
            Wrong::NoRing => out.write_str("it is not a ring of a trace"),
            Wrong::Version(version) => write!(
                out,
                "it is a ring of version {version}, and this reads version {VERSION}: use the pagefence that wrote it"
            ),
            Wrong::Head => out.write_str("its head is damaged"),
            Wrong::Unreadable(error) => write!(out, "{error}"),
        }
    }
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Wrong {
        Wrong::Unreadable(error)
    }
}

/// What is missing of a ring's records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lost {
    /// By later ones: the ring was full.
    pub overwritten: u64,
    /// Not finished (their process was killed), or spoiled.
    pub torn: u64,
    /// Never written: there was no ring yet, or no room on the disk for one.
    pub dropped: u64,
    /// Beyond the end of a file that was cut off.
    pub cut_off: u64,
    /// Texts: their records are there without them.
    pub texts: u64,
}

impl Lost {
    /// Records.
    pub fn records(&self) -> u64 {
        let all = [self.overwritten, self.torn, self.dropped, self.cut_off];
        all.into_iter().fold(0, u64::saturating_add)
    }
}

/// One thing that happened, as it is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// Counted from 1 in its ring.
    pub number: u64,
    pub record: Record,
    pub path: Arc<[u8]>,
    pub mode: Arc<[u8]>,
    pub other_mode: Arc<[u8]>,
    pub reason: Arc<[u8]>,
    pub done: Arc<[u8]>,
    pub hint: Arc<[u8]>,
}

/// Who doesn't come to an end of a record within this was killed.
const PATIENCE: Duration = Duration::from_secs(1);

/// A ring that is read from its beginning on.
#[derive(Debug)]
pub struct Reader {
    file: File,
    /// How many bytes there were when it was opened.
    length: u64,
    shape: Shape,
    pub process: u32,
    pub program: Arc<[u8]>,
    /// One moment by two clocks.
    pub monotonic: u64,
    pub realtime: u64,
    /// The index of the first record that wasn't looked at.
    next: u64,
    /// Those that were looked at and weren't whole yet.
    unfinished: Vec<(u64, Instant)>,
    lost: Lost,
    texts: HashMap<u32, Arc<[u8]>>,
    /// The modes of calls.
    modes: HashMap<&'static str, Arc<[u8]>>,
    /// How many bytes of texts may be kept yet: one that is written once takes its place there. Texts that lie over each other
    /// are the work of who means harm, and could take a thousand times that.
    room: usize,
    /// Texts for which that was too little.
    refused: u64,
}

impl Reader {
    pub fn open(path: &Path) -> Result<Reader, Wrong> {
        // Opening something else could do things, or make us wait.
        if !std::fs::metadata(path)?.is_file() {
            return Err(Wrong::NoFile);
        }
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path)?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(Wrong::NoFile);
        }
        let length = found.len();
        let mut reader = Reader {
            file,
            length,
            shape: Shape::STANDARD,
            process: 0,
            program: Arc::default(),
            monotonic: 0,
            realtime: 0,
            next: 0,
            unfinished: Vec::new(),
            lost: Lost::default(),
            texts: HashMap::new(),
            modes: HashMap::new(),
            room: 0,
            refused: 0,
        };
        let head = reader.head()?;
        reader.shape = shape(&head)?;
        reader.room = reader.shape.text_words.saturating_mul(WORD);
        let word = |at: usize| head.get(at).copied().unwrap_or(0);
        reader.process = word(at::PROCESS) as u32;
        (reader.monotonic, reader.realtime) = (word(at::MONOTONIC), word(at::REALTIME));
        reader.program = reader.text(Text(word(at::PROGRAM) as u32));
        Ok(reader)
    }

    /// What has been told since the last time, in its order. `last`: nobody comes again, so what isn't finished now never
    /// will be.
    pub fn read(&mut self, last: bool) -> Result<Vec<Told>, Wrong> {
        let mut all = Vec::new();
        self.read_each(last, &mut |told| all.push(told))?;
        Ok(all)
    }

    /// The same, each by itself.
    pub fn read_each(&mut self, last: bool, each: &mut dyn FnMut(Told)) -> Result<(), Wrong> {
        let head = self.head()?;
        let word = |at: usize| head.get(at).copied().unwrap_or(0);
        let end = word(at::HEAD);
        let oldest = end.saturating_sub(self.shape.records as u64);
        if oldest > self.next {
            let missed = oldest.saturating_sub(self.next);
            self.lost.overwritten = self.lost.overwritten.saturating_add(missed);
            self.next = oldest;
        }
        self.lost.dropped = word(at::DROPPED);
        self.lost.texts = word(at::TEXTS_LOST);
        for (index, since) in std::mem::take(&mut self.unfinished) {
            self.look_at(index, since, last, each);
        }
        self.read_on(end, last, each);
        self.lost.texts = self.lost.texts.saturating_add(self.refused);
        Ok(())
    }

    /// Those with these numbers once more, as far as they still stand there. What is missing isn't counted.
    pub fn read_again(&mut self, (first, last): (u64, u64), each: &mut dyn FnMut(Told)) {
        let (lost, next) = (self.lost, self.next);
        self.next = first.saturating_sub(1);
        self.read_on(last, true, each);
        (self.lost, self.next) = (lost, next);
    }

    /// Up to that index.
    fn read_on(&mut self, end: u64, last: bool, each: &mut dyn FnMut(Told)) {
        let now = Instant::now();
        while self.next < end {
            let block = self.block(self.next, end);
            let mut records = block.chunks_exact(RECORD_WORDS).peekable();
            if records.peek().is_none() {
                self.look_at(self.next, now, last, each);
                self.next = self.next.saturating_add(1);
            }
            for words in records.filter_map(|words| words.try_into().ok()) {
                self.judge(self.next, &words, now, last, each);
                self.next = self.next.saturating_add(1);
            }
        }
    }

    pub fn lost(&self) -> Lost {
        self.lost
    }

    /// When that was, by CLOCK_REALTIME.
    pub fn realtime_of(&self, monotonic: u64) -> u64 {
        self.realtime
            .wrapping_add(monotonic.wrapping_sub(self.monotonic))
    }

    fn look_at(&mut self, index: u64, since: Instant, last: bool, each: &mut dyn FnMut(Told)) {
        match self.record(index) {
            Some(words) => self.judge(index, &words, since, last, each),
            None => self.lost.cut_off = self.lost.cut_off.saturating_add(1),
        }
    }

    /// The words that stand in the place of that record.
    fn judge(
        &mut self,
        index: u64,
        words: &Words,
        since: Instant,
        last: bool,
        each: &mut dyn FnMut(Told),
    ) {
        let number = index.wrapping_add(1);
        if let Some(record) = Record::from_words(words, number) {
            return each(self.told(number, record));
        }
        if words.first().is_some_and(|there| *there > number) {
            self.lost.overwritten = self.lost.overwritten.saturating_add(1);
        } else if last || since.elapsed() > PATIENCE {
            self.lost.torn = self.lost.torn.saturating_add(1);
        } else {
            self.unfinished.push((index, since));
        }
    }

    fn told(&mut self, number: u64, record: Record) -> Told {
        Told {
            number,
            record,
            path: self.text(record.path),
            mode: match record.call {
                Some(call) => self.mode(call.mode.word()),
                None => self.text(record.mode),
            },
            other_mode: self.text(record.other.map_or(Text::NONE, |other| other.mode)),
            reason: self.text(record.reason),
            done: self.text(record.done),
            hint: self.text(record.hint),
        }
    }

    fn mode(&mut self, word: &'static str) -> Arc<[u8]> {
        let known = self.modes.entry(word);
        known.or_insert_with(|| word.as_bytes().into()).clone()
    }

    fn head(&self) -> Result<Vec<u64>, Wrong> {
        self.words(0, HEAD_WORDS).ok_or(Wrong::TooShort)
    }

    /// The words of records that stand in a row, from that one on; empty: they can't be read together.
    fn block(&self, from: u64, end: u64) -> Vec<u64> {
        const MOST: u64 = 512;
        let records = self.shape.records as u64;
        let row = records.saturating_sub(from.checked_rem(records).unwrap_or(0));
        let count = end.saturating_sub(from).min(row).min(MOST);
        let place = self.shape.record(from);
        let words = place.and_then(|at| {
            let count = usize::try_from(count).ok()?.checked_mul(RECORD_WORDS)?;
            self.words(at, count)
        });
        words.unwrap_or_default()
    }

    fn record(&self, index: u64) -> Option<Words> {
        let words = self.words(self.shape.record(index)?, RECORD_WORDS)?;
        words.try_into().ok()
    }

    /// Empty where it makes no sense.
    fn text(&mut self, text: Text) -> Arc<[u8]> {
        if let Some(known) = self.texts.get(&text.0) {
            return known.clone();
        }
        if self.room == 0 && text != Text::NONE {
            self.refused = self.refused.saturating_add(1);
            return Arc::default();
        }
        let read = self.read_text(text).unwrap_or_default();
        let Some(room) = self.room.checked_sub(read.len()) else {
            // No more of them are read.
            self.room = 0;
            self.refused = self.refused.saturating_add(1);
            return Arc::default();
        };
        self.room = room;
        let read: Arc<[u8]> = read.into();
        // What isn't there now may be later.
        if !read.is_empty() {
            self.texts.insert(text.0, read.clone());
        }
        read
    }

    fn read_text(&self, text: Text) -> Option<Vec<u8>> {
        let from = (text.0 as usize).checked_sub(1)?;
        let length = *self.words(self.shape.text(from, 1)?, 1)?.first()?;
        let length = usize::try_from(length).ok()?;
        if length > MOST_OF_A_TEXT {
            return None;
        }
        let count = length.div_ceil(WORD);
        let place = self.shape.text(from.checked_add(1)?, count)?;
        let words = self.words(place, count)?;
        let bytes = words.iter().flat_map(|word| word.to_le_bytes());
        Some(bytes.take(length).collect())
    }

    /// None: the file ends before.
    fn words(&self, from: usize, count: usize) -> Option<Vec<u64>> {
        let mut bytes = vec![0; count.checked_mul(WORD)?];
        let offset = u64::try_from(from.checked_mul(WORD)?).ok()?;
        if offset.checked_add(bytes.len() as u64)? > self.length {
            return None;
        }
        self.file.read_exact_at(&mut bytes, offset).ok()?;
        let words = bytes.chunks_exact(WORD).filter_map(|c| c.try_into().ok());
        Some(words.map(u64::from_le_bytes).collect())
    }
}

fn shape(head: &[u64]) -> Result<Shape, Wrong> {
    let word = |at: usize| head.get(at).copied().unwrap_or(0);
    if word(at::MAGIC) != MAGIC {
        return Err(Wrong::NoRing);
    }
    if word(at::VERSION) != VERSION {
        return Err(Wrong::Version(word(at::VERSION)));
    }
    // What is longer was never made: no loop over it is.
    const MOST: u64 = 1 << 30;
    let size = |at: usize| usize::try_from(word(at)).ok().filter(|n| *n as u64 <= MOST);
    let (Some(files), Some(index), Some(text_words), Some(records)) = (
        size(at::FILES),
        size(at::INDEX),
        size(at::TEXT_WORDS),
        size(at::RECORDS),
    ) else {
        return Err(Wrong::Head);
    };
    let shape = Shape {
        files,
        index,
        text_words,
        records,
    };
    let length = word(at::LENGTH);
    match length == shape.bytes() as u64 && length <= MOST && records > 0 {
        true => Ok(shape),
        false => Err(Wrong::Head),
    }
}
