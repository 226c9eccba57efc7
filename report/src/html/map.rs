//! The events of one file as few rows as a page can take: equal ones are counted, where in the file and when as coarse as
//! need be and as fine as there is room for.

use trace::Kind;

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
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

/// Where the bytes begin and end that some event names. None: none does.
fn extent(events: &[&Event]) -> Option<(u64, u64)> {
    let ranges = || events.iter().filter_map(|e| e.told.record.range);
    let first = ranges().map(|range| range.0.min(MOST)).min()?;
    // What goes to the end of time goes to the end of the map.
    let ends = ranges().map(|(first, last)| if last > MOST { first } else { last });
    let last = ends.map(|last| last.min(MOST)).max()?;
    Some((first, last.max(first)))
}

fn mode(mode: &[u8]) -> u64 {
    let known = MODES.iter().position(|known| known.as_bytes() == mode);
    match (mode.is_empty(), known) {
        (true, _) => 0,
        (false, Some(at)) => at as u64,
        (false, None) => MODES.len() as u64 - 1,
    }
}

impl Map {
    /// Of the events of a file, in their order, in at most so many rows.
    pub fn of(events: &[&Event], who: impl Fn(&Event) -> Who, most: usize) -> Map {
        let (place, end) = extent(events).unwrap_or((0, 0));
        let time = events.first().map_or(0, |e| e.time);
        let span = |e: &Event| e.time.saturating_sub(time).min(MOST);
        let latest = events.last().map_or(0, |e| span(e));
        let fine = match events.len() > most.saturating_mul(4) {
            true => LESS_FINE,
            false => FINE,
        };
        let mut map = Map {
            place,
            time,
            place_shift: bits(end - place).saturating_sub(fine),
            time_shift: bits(latest).saturating_sub(fine),
            places: 0,
            times: 0,
            rows: Vec::new(),
            left_out: 0,
        };
        let row = |event: &&Event| {
            let record = &event.told.record;
            let (first, last) = record.range.unwrap_or((place, place));
            let step = |byte: u64| (byte.clamp(place, end) - place) >> map.place_shift;
            let (program, other) = who(event);
            let row = Row {
                first: step(first),
                last: step(last),
                time: span(event) >> map.time_shift,
                mode: mode(&event.told.mode),
                kind: record.kind as u64,
                program,
                other: other.map_or(0, |other| other + 1),
            };
            (row, 1)
        };
        let mut rows: Vec<(Row, u64)> = counted(events.iter().map(row).collect());
        while rows.len() > most && map.is_coarser(end, latest) {
            rows = counted(rows.iter().map(|row| map.of_step(row)).collect());
        }
        // Hardly ever: so many programs meet each other. The least frequent go.
        rows.sort_by_key(|(row, count)| (is_light(row), core::cmp::Reverse(*count)));
        let rest = rows.split_off(rows.len().min(most));
        map.left_out = rest.iter().map(|(_, count)| count).sum();
        map.places = ((end - place) >> map.place_shift) + 1;
        map.times = (latest >> map.time_shift) + 1;
        map.rows = rows.iter().map(numbers).collect();
        map
    }

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
    fn of_step(&self, (row, count): &(Row, u64)) -> (Row, u64) {
        let row = Row {
            first: row.first >> self.places,
            last: row.last >> self.places,
            time: row.time >> self.times,
            ..*row
        };
        (row, *count)
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

/// Equal ones together.
fn counted(mut rows: Vec<(Row, u64)>) -> Vec<(Row, u64)> {
    rows.sort_unstable_by_key(|row| row.0);
    rows.dedup_by(|next, row| {
        let same = next.0 == row.0;
        if same {
            row.1 += next.1;
        }
        same
    });
    rows
}
