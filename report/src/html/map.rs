//! The events of one file as few rows as a page can take: equal ones are counted, where in the file and when as coarse as
//! need be and as fine as there is room for.

use std::cmp::Reverse;
use std::collections::HashMap;

use trace::Kind;

use super::seen::Sight;
use crate::event::Event;

/// Numbers that JavaScript has exactly.
const MOST: u64 = (1 << 53) - 1;
/// In how many steps of place and of time a file is cut to begin with: where everything fits, that can be looked at closely.
const FINE: u32 = 16;
/// The same where there is much more than fits: what is coarser anyway needn't be tried.
const LESS_FINE: u32 = 11;

pub const MODES: [&str; 7] = [
    "no mode",
    "buffered_read",
    "buffered_write",
    "direct_read",
    "direct_write",
    "layout",
    "another mode",
];

/// What an event is about, as a page knows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Row {
    /// The first and last step of place.
    first: u64,
    last: u64,
    /// The step of time.
    time: u64,
    mode: u64,
    kind: u64,
    program: u64,
    /// From 1 on; 0: nobody.
    other: u64,
}

pub struct Map {
    /// The byte and the nanosecond (of CLOCK_REALTIME) of the first step, and by how much a step is shifted.
    pub place: u64,
    pub time: u64,
    pub place_shift: u32,
    pub time_shift: u32,
    /// How many steps there are.
    pub places: u64,
    pub times: u64,
    /// Each with its count at the end.
    pub rows: Vec<[u64; 8]>,
    /// Events for whose rows there is no room, however coarse.
    pub left_out: u64,
}

/// Who an event is of, and who was met, by their numbers in the page.
pub type Who = (u64, Option<u64>);

/// How many bits a number takes.
fn bits(number: u64) -> u32 {
    u64::BITS - number.leading_zeros()
}

/// The first and last byte that a range takes of a map.
pub fn extent((first, last): (u64, u64)) -> (u64, u64) {
    let first = first.min(MOST);
    // What goes to the end of time goes to the end of the map.
    let end = if last > MOST { first } else { last };
    (first, end.max(first))
}

fn mode(mode: &[u8]) -> u64 {
    let known = MODES.iter().position(|known| known.as_bytes() == mode);
    match (mode.is_empty(), known) {
        (true, _) => 0,
        (false, Some(at)) => at as u64,
        (false, None) => MODES.len() as u64 - 1,
    }
}

/// A map that events are put into, in whatever order. It gets coarser when it is full, so it takes no more room for more.
pub struct Drawn {
    map: Map,
    /// The last byte and, from the first step on, the last nanosecond.
    end: u64,
    latest: u64,
    most: usize,
    rows: HashMap<Row, u64>,
}

impl Drawn {
    /// Of events of which that was seen, in at most so many rows.
    pub fn of(sight: &Sight, most: usize) -> Drawn {
        let (place, end) = sight.extent.unwrap_or((0, 0));
        let (time, last) = sight.times.unwrap_or((0, 0));
        let latest = last.saturating_sub(time).min(MOST);
        let fine = match sight.events > most.saturating_mul(4) {
            true => LESS_FINE,
            false => FINE,
        };
        let map = Map {
            place,
            time,
            place_shift: bits(end - place).saturating_sub(fine),
            time_shift: bits(latest).saturating_sub(fine),
            places: 0,
            times: 0,
            rows: Vec::new(),
            left_out: 0,
        };
        Drawn {
            map,
            end,
            latest,
            most,
            rows: HashMap::new(),
        }
    }

    pub fn add(&mut self, event: &Event, (program, other): Who) {
        let (map, record) = (&self.map, &event.told.record);
        let (first, last) = record.range.unwrap_or((map.place, map.place));
        let step = |byte: u64| (byte.clamp(map.place, self.end) - map.place) >> map.place_shift;
        // A process that goes on tells of what is later than anything that was seen.
        let span = event.time.saturating_sub(map.time).min(self.latest);
        let row = Row {
            first: step(first),
            last: step(last),
            time: span >> map.time_shift,
            mode: mode(&event.told.mode),
            kind: record.kind as u64,
            program,
            other: other.map_or(0, |other| other + 1),
        };
        *self.rows.entry(row).or_default() += 1;
        while self.rows.len() > self.most && self.map.is_coarser(self.end, self.latest) {
            for (row, count) in std::mem::take(&mut self.rows) {
                *self.rows.entry(self.map.of_step(&row)).or_default() += count;
            }
        }
    }

    pub fn finish(self) -> Map {
        let mut map = self.map;
        let mut rows: Vec<_> = self.rows.into_iter().collect();
        // Hardly ever too many: so many programs meet each other. The least frequent go.
        rows.sort_unstable_by_key(|(row, count)| (is_light(row), Reverse(*count), *row));
        let rest = rows.split_off(rows.len().min(self.most));
        map.left_out = rest.iter().map(|(_, count)| count).sum();
        map.places = ((self.end - map.place) >> map.place_shift) + 1;
        map.times = (self.latest >> map.time_shift) + 1;
        map.rows = rows.iter().map(numbers).collect();
        map
    }
}

impl Map {
    /// Makes steps twice as long: in place or in time, where there are more. False: there is one of each.
    fn is_coarser(&mut self, end: u64, latest: u64) -> bool {
        let places = (end - self.place) >> self.place_shift;
        let times = latest >> self.time_shift;
        if places == 0 && times == 0 {
            return false;
        }
        match places > times {
            true => self.place_shift += 1,
            false => self.time_shift += 1,
        }
        (self.places, self.times) = (u64::from(places > times), u64::from(places <= times));
        true
    }

    /// By the last step made coarser.
    fn of_step(&self, row: &Row) -> Row {
        Row {
            first: row.first >> self.places,
            last: row.last >> self.places,
            time: row.time >> self.times,
            ..*row
        }
    }
}

/// Whether it stays only where there is room.
fn is_light(row: &Row) -> bool {
    let serious = [
        Kind::Collision,
        Kind::InvalidateFailed,
        Kind::Deadlock,
        Kind::LockTimeout,
    ];
    !serious.iter().any(|kind| *kind as u64 == row.kind)
}

fn numbers((row, count): &(Row, u64)) -> [u64; 8] {
    [
        row.first,
        row.last,
        row.time,
        row.mode,
        row.kind,
        row.program,
        row.other,
        *count,
    ]
}
