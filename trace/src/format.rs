//! What lies where: in a ring, in its head, in a record.

use crate::call::Call;
use crate::contents::Contents;

/// "PFTRACE1" as the file's first bytes.
pub const MAGIC: u64 = u64::from_le_bytes(*b"PFTRACE1");
pub const VERSION: u64 = 5;

pub const WORD: usize = 8;
/// The head's words, the rest of its page is free.
pub const HEAD_WORDS: usize = 512;
pub const RECORD_WORDS: usize = 16;
/// A file whose path is known: phase and hash, device, inode, the path.
pub const FILE_WORDS: usize = 4;
/// Of a longer text the beginning is kept.
pub const MOST_OF_A_TEXT: usize = 4096;

/// The head's words.
pub mod at {
    pub const MAGIC: usize = 0;
    pub const VERSION: usize = 1;
    /// The whole file's length in bytes.
    pub const LENGTH: usize = 2;
    pub const PROCESS: usize = 3;
    /// One moment by two clocks: CLOCK_MONOTONIC, which records have, and CLOCK_REALTIME.
    pub const MONOTONIC: usize = 4;
    pub const REALTIME: usize = 5;
    pub const PROGRAM: usize = 6;
    pub const FILES: usize = 8;
    pub const INDEX: usize = 9;
    pub const TEXT_WORDS: usize = 10;
    pub const RECORDS: usize = 11;
    /// How many records there have been; in a cache line of its own, as is what follows.
    pub const HEAD: usize = 16;
    /// Records that could not be written.
    pub const DROPPED: usize = 24;
    /// Texts for which there was no room.
    pub const TEXTS_LOST: usize = 25;
    /// How many words of texts there are.
    pub const TEXT_HEAD: usize = 32;
}

/// A record's words.
pub mod of {
    pub const NUMBER: usize = 0;
    pub const TIME: usize = 1;
    pub const WHO: usize = 2;
    /// The kind, what else there is, and the path.
    pub const WHAT: usize = 3;
    pub const DEV: usize = 4;
    pub const INO: usize = 5;
    pub const FIRST: usize = 6;
    pub const LAST: usize = 7;
    /// The mode and the reason; of a call what it was. Of contents all from here on but the sum.
    pub const WHY: usize = 8;
    /// What was done and what to do.
    pub const DONE: usize = 9;
    pub const NANOSECONDS: usize = 10;
    /// Who was met, and his mode; of a call its result.
    pub const OTHER: usize = 11;
    pub const OTHER_PROGRAM: usize = 12;
    pub const SUM: usize = 15;
}

/// How much of each thing a ring has room for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Files whose path is known.
    pub files: usize,
    /// Places to find a text by.
    pub index: usize,
    pub text_words: usize,
    pub records: usize,
}

impl Shape {
    /// 4 MiB in all: some 30,000 records.
    pub const STANDARD: Shape = Shape {
        files: 1024,
        index: 4096,
        text_words: 32 * 1024,
        records: 30_000,
    };
    /// 32 MiB: of a process that records what its calls move.
    pub const ROOMY: Shape = Shape {
        records: 256_000,
        ..Shape::STANDARD
    };

    const fn files_at(self) -> usize {
        HEAD_WORDS
    }
    const fn index_at(self) -> usize {
        self.files_at()
            .saturating_add(self.files.saturating_mul(FILE_WORDS))
    }
    const fn text_at(self) -> usize {
        self.index_at().saturating_add(self.index)
    }
    const fn records_at(self) -> usize {
        self.text_at().saturating_add(self.text_words)
    }

    /// In words.
    pub const fn length(self) -> usize {
        self.records_at()
            .saturating_add(self.records.saturating_mul(RECORD_WORDS))
    }

    /// In bytes.
    pub const fn bytes(self) -> usize {
        self.length().saturating_mul(WORD)
    }

    /// Where a file's words lie. None: there is no such place, here and below.
    pub fn file(self, index: usize) -> Option<usize> {
        let from = index.checked_mul(FILE_WORDS)?;
        (index < self.files).then(|| self.files_at().saturating_add(from))
    }

    pub fn cell(self, index: usize) -> Option<usize> {
        (index < self.index).then(|| self.index_at().saturating_add(index))
    }

    /// Where so many words of text lie, from the given one on.
    pub fn text(self, from: usize, words: usize) -> Option<usize> {
        let fits = from.checked_add(words)? <= self.text_words;
        fits.then(|| self.text_at().saturating_add(from))
    }

    /// Where the record with that index, counted from 0 through all laps, lies.
    #[inline(always)]
    pub fn record(self, index: u64) -> Option<usize> {
        const STANDARD: u64 = Shape::STANDARD.records as u64;
        let place = match self.records as u64 {
            // To divide by a number that the compiler knows takes a product.
            STANDARD => index % STANDARD,
            records => index.checked_rem(records)?,
        };
        let place = usize::try_from(place).ok()?;
        Some(
            self.records_at()
                .saturating_add(place.saturating_mul(RECORD_WORDS)),
        )
    }
}

const _: () = assert!(Shape::STANDARD.bytes() <= 4 << 20 && Shape::ROOMY.bytes() <= 32 << 20);

/// A text of a ring, by its place there; 0: none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Text(pub(crate) u32);

impl Text {
    pub const NONE: Text = Text(0);

    /// For who keeps it as a number.
    pub const fn number(self) -> u32 {
        self.0
    }

    pub const fn from_number(number: u32) -> Text {
        Text(number)
    }
}

/// The other party.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Other {
    pub process: u32,
    /// As the kernel calls the thread, with zeros behind it.
    pub program: [u8; 16],
    /// In which it was there.
    pub mode: Text,
}

/// One thing that happened, as a ring holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// CLOCK_MONOTONIC in nanoseconds.
    pub time: u64,
    pub process: u32,
    pub thread: u32,
    pub kind: crate::Kind,
    /// Device and inode.
    pub file: Option<(u64, u64)>,
    pub path: Text,
    pub range: Option<(u64, u64)>,
    pub mode: Text,
    pub other: Option<Other>,
    pub reason: Text,
    pub done: Text,
    pub hint: Text,
    pub nanoseconds: Option<u64>,
    /// In the place of the texts but the path, and of the other party.
    pub call: Option<Call>,
    /// In the place of all of them, and of how long it took.
    pub contents: Option<Contents>,
}

/// What of it there is: bits beside the kind.
const HAS_FILE: u64 = 1 << 8;
const HAS_RANGE: u64 = 1 << 9;
const HAS_OTHER: u64 = 1 << 10;
const HAS_NANOSECONDS: u64 = 1 << 11;
const HAS_CALL: u64 = 1 << 12;
const HAS_CONTENTS: u64 = 1 << 13;

const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

const fn apart(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

pub type Words = [u64; RECORD_WORDS];

impl Record {
    /// One that says no more than that.
    #[inline(always)]
    pub const fn of(kind: crate::Kind, time: u64, process: u32, thread: u32) -> Record {
        Record {
            time,
            process,
            thread,
            kind,
            file: None,
            path: Text::NONE,
            range: None,
            mode: Text::NONE,
            other: None,
            reason: Text::NONE,
            done: Text::NONE,
            hint: Text::NONE,
            nanoseconds: None,
            call: None,
            contents: None,
        }
    }

    /// As words, without the number and the sum.
    #[inline(always)]
    pub fn words(&self) -> Words {
        let bit = |bit: u64, is: bool| if is { bit } else { 0 };
        let what = u64::from(self.kind as u8)
            | bit(HAS_FILE, self.file.is_some())
            | bit(HAS_RANGE, self.range.is_some())
            | bit(HAS_OTHER, self.other.is_some())
            | bit(HAS_NANOSECONDS, self.nanoseconds.is_some())
            | bit(HAS_CALL, self.call.is_some())
            | bit(HAS_CONTENTS, self.contents.is_some())
            | pair(0, self.path.0);
        let (dev, ino) = self.file.unwrap_or((0, 0));
        let (first, last) = self.range.unwrap_or((0, 0));
        let who = pair(self.process, self.thread);
        if let Some(contents) = &self.contents {
            let [a, b, c, d, e, f, g] = contents.words();
            return [
                0, self.time, who, what, dev, ino, first, last, a, b, c, d, e, f, g, 0,
            ];
        }
        let other = u128::from_le_bytes(self.other.map_or([0; 16], |o| o.program));
        [
            0,
            self.time,
            who,
            what,
            dev,
            ino,
            first,
            last,
            match self.call {
                Some(call) => call.code(),
                None => pair(self.mode.0, self.reason.0),
            },
            pair(self.done.0, self.hint.0),
            self.nanoseconds.unwrap_or(0),
            match self.call {
                Some(call) => call.result as u64,
                None => self.other.map_or(0, |o| pair(o.process, o.mode.0)),
            },
            other as u64,
            (other >> 64) as u64,
            0,
            0,
        ]
    }

    /// None: they aren't the whole of the record with that number.
    pub fn from_words(words: &Words, number: u64) -> Option<Record> {
        let word = |at: usize| words.get(at).copied().unwrap_or(0);
        if word(of::NUMBER) != number || word(of::SUM) != sum(words) {
            return None;
        }
        let (what, path) = apart(word(of::WHAT));
        let has = |bit: u64| u64::from(what) & bit != 0;
        let (process, thread) = apart(word(of::WHO));
        let contents = match has(HAS_CONTENTS) {
            true => {
                let from = |at: usize| word(of::WHY.saturating_add(at));
                Some(Contents::from_words([0, 1, 2, 3, 4, 5, 6].map(from))?)
            }
            false => None,
        };
        let has =
            |bit: u64| has(bit) && (contents.is_none() || bit == HAS_FILE || bit == HAS_RANGE);
        let call = match has(HAS_CALL) {
            true => Some(Call::from_code(word(of::WHY), word(of::OTHER))?),
            false => None,
        };
        let (mode, reason) = match call.is_none() && contents.is_none() {
            true => apart(word(of::WHY)),
            false => (0, 0),
        };
        let (done, hint) = match contents {
            Some(_) => (0, 0),
            None => apart(word(of::DONE)),
        };
        let (other_process, other_mode) = apart(word(of::OTHER));
        let other = u128::from(word(of::OTHER_PROGRAM))
            | u128::from(word(of::OTHER_PROGRAM.saturating_add(1))) << 64;
        Some(Record {
            time: word(of::TIME),
            process,
            thread,
            kind: *crate::Kind::ALL.get((what & 0xff) as usize)?,
            file: has(HAS_FILE).then(|| (word(of::DEV), word(of::INO))),
            path: Text(path),
            range: has(HAS_RANGE).then(|| (word(of::FIRST), word(of::LAST))),
            mode: Text(mode),
            other: (has(HAS_OTHER) && call.is_none()).then(|| Other {
                process: other_process,
                program: other.to_le_bytes(),
                mode: Text(other_mode),
            }),
            reason: Text(reason),
            done: Text(done),
            hint: Text(hint),
            nanoseconds: has(HAS_NANOSECONDS).then(|| word(of::NANOSECONDS)),
            call,
            contents,
        })
    }
}

/// Puts the number and the sum in.
#[inline(always)]
pub fn seal(words: &mut Words, number: u64) {
    if let Some(place) = words.get_mut(of::NUMBER) {
        *place = number;
    }
    let sum = sum(words);
    if let Some(place) = words.get_mut(of::SUM) {
        *place = sum;
    }
}

/// Over all words but the sum itself. What two writers left of each other's records doesn't add up.
#[inline(always)]
fn sum(words: &Words) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    // Odd ones: no word can change alone. Nothing waits for another's product, and what is known to be zero takes none.
    let factor = |at: usize| FACTOR.wrapping_mul((at as u64).wrapping_mul(2).wrapping_add(3));
    let products = words.iter().take(of::SUM).enumerate();
    let products = products.map(|(at, word)| word.wrapping_mul(factor(at)));
    products.fold(MAGIC, u64::wrapping_add)
}
