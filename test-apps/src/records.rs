//! What programs do that write and read whole records in several ways: two processes write theirs, one writes the page behind
//! each, in the same large folio, and one reads the records. Each program says by which way a process goes in which round.
//!
//! A read sees one write of a record (unless both go through the page cache, where the kernel itself may tear them), none
//! that is older than what was done before the read began, and none that began when it had returned. At the end of a round
//! each record and each page hold what was written last, in the cache and on the device. What a killed process was writing
//! may be there, in part or not at all.

use crate::board::{Board, INNER, stamp, unstamp};
use crate::content::words;
use crate::random::Random;
use crate::sys::{Buffer, Fd, PAGE, now};
use crate::team::Team;
use crate::{Res, Setup, Stop};
use std::sync::atomic::Ordering::SeqCst;

/// A record, the page behind it, and nothing.
pub const PLACE: u64 = 1 << 20;
const PLACES: u64 = 8;
const WORKERS: usize = 4;
/// The first ones write records, each every second one.
const WRITERS: u64 = 2;
pub const READER: usize = 2;
pub const NEIGHBOUR: usize = 3;
/// In the plan: when the round ends.
const END: usize = 0;

/// How one process reads and writes.
pub trait Ways {
    /// Says by which way.
    /// `returned` is to be called when the call that reads has returned, and before what it has read is looked at.
    fn read(&mut self, bytes: &mut [u8], at: u64, returned: &mut dyn FnMut()) -> Res<String>;
    fn write(&mut self, bytes: &[u8], at: u64) -> Res<()>;
}

/// Whether a process goes past the page cache in a round: of the writers one does, and who reads goes the other way in
/// every second round.
pub fn is_direct(worker: usize, round: u64) -> bool {
    match worker {
        READER | NEIGHBOUR => !round.is_multiple_of(2),
        _ => worker == 0,
    }
}

/// The plain way, by a descriptor in whatever mode.
impl Ways for Fd {
    fn read(&mut self, bytes: &mut [u8], at: u64, returned: &mut dyn FnMut()) -> Res<String> {
        self.pread_all(bytes, at)?;
        returned();
        Ok("pread".into())
    }

    fn write(&mut self, bytes: &[u8], at: u64) -> Res<()> {
        self.pwrite(bytes, at)
    }
}

/// The way of a process in a round.
pub type Way<'a> = &'a dyn Fn(&Setup, usize, u64) -> Res<Box<dyn Ways>>;

pub fn body(setup: &Setup, record: u64, way: Way) -> Result<(), Stop> {
    let board = &*setup.board;
    let file = Fd::open(&setup.file(), libc::O_RDWR | libc::O_CREAT)?;
    let direct = setup.open_direct()?;
    let mut buffer = Buffer::new(PLACES * PLACE)?;
    file.pwrite(buffer.bytes(), 0)?;
    let part = Part { setup, record, way };
    let job = |worker| part.rounds(worker);
    // What the record, and the page behind it, may hold in each place.
    let mut known = vec![[vec![0u64], vec![0u64]]; PLACES as usize];
    let mut team = Team::start(board, &setup.args, WORKERS, &job)?;
    while !setup.over() {
        // In large writes, and so in large folios.
        file.pread_all(buffer.bytes(), 0)?;
        file.pwrite(buffer.bytes(), 0)?;
        let first = [0, 1, 2, 3].map(|worker| board.next_number(worker + INNER));
        let millis = if setup.args.kills { 30 } else { 100 };
        board.set_plan(END, now() + millis * 1_000_000);
        team.round(WORKERS)?;
        written(board, &first, &mut known);
        look_at_both((&file, &direct), &mut buffer, record, board, &mut known)?;
    }
    team.finish()
}

/// Whether the cache and then the device hold what they may; from now on what is there is known.
pub fn look_at_both(
    (file, direct): (&Fd, &Fd),
    buffer: &mut Buffer,
    record: u64,
    board: &Board,
    known: &mut [[Vec<u64>; 2]],
) -> Res<()> {
    file.pread_all(buffer.bytes(), 0)?;
    let cache = wrong(buffer.bytes(), record, known);
    file.fsync()?;
    file.drop_cache();
    direct.pread_all(buffer.bytes(), 0)?;
    let device = wrong(buffer.bytes(), record, known);
    for text in cache.iter().filter(|text| !device.contains(text)) {
        board.anomaly(false, || format!("in the cache, {text}"));
    }
    for text in &device {
        board.anomaly(true, || text.clone());
    }
    for (place, bytes) in buffer.bytes().chunks(PLACE as usize).enumerate() {
        known[place] = parts(bytes, record).map(values);
    }
    Ok(())
}

struct Part<'a> {
    setup: &'a Setup,
    record: u64,
    way: Way<'a>,
}

impl Part<'_> {
    fn rounds(&self, worker: usize) -> Res<()> {
        let (setup, board) = (self.setup, &*self.setup.board);
        let turns = setup.turns()?;
        let mut random = Random::new(now() + worker as u64);
        let mut buffer = Buffer::new(self.record)?;
        while let Some(round) = board.next_round(worker) {
            let mut way = (self.way)(setup, worker, round)?;
            board.slots[worker].operation(round, || {
                while now() < board.plan(END) {
                    let _turn = turns.take()?;
                    match worker {
                        READER => self.read(&mut *way, round, &mut random, buffer.bytes())?,
                        _ => self.write(&mut *way, worker, &mut buffer)?,
                    }
                    board.done(1);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn write(&self, way: &mut dyn Ways, worker: usize, buffer: &mut Buffer) -> Res<()> {
        let board = &*self.setup.board;
        let number = board.next_number(worker + INNER);
        let (at, len) = match worker {
            NEIGHBOUR => (place(worker, number) * PLACE + self.record, PAGE),
            _ => (place(worker, number) * PLACE, self.record),
        };
        let mine = stamp(worker, number);
        let bytes = buffer.part(len);
        bytes
            .chunks_exact_mut(8)
            .for_each(|word| word.copy_from_slice(&mine.to_ne_bytes()));
        board.slots[worker + INNER].operation(number, || way.write(bytes, at))
    }

    fn read(
        &self,
        way: &mut dyn Ways,
        round: u64,
        random: &mut Random,
        bytes: &mut [u8],
    ) -> Res<()> {
        let board = &*self.setup.board;
        let from = random.between(0, PLACES - 1);
        let writer = (from % WRITERS) as usize;
        // The last number that was done before the read begins, and is this place's.
        let finished = board.slots[writer + INNER].finished.load(SeqCst);
        let before = (1..=finished)
            .rev()
            .take(PLACES as usize)
            .find(|n| place(writer, *n) == from);
        let mut last = 0;
        let mut returned = || last = board.next_number(writer + INNER) - 1;
        let by = way.read(bytes, from * PLACE, &mut returned)?;
        let seen = values(bytes);
        let whole = |stamp: &&u64| unstamp(**stamp).is_none_or(|(_, n)| !is_cut(board, writer, n));
        let tears = !is_direct(writer, round) && !is_direct(READER, round);
        if !tears && seen.iter().filter(whole).count() > 1 {
            board.anomaly(false, || format!("{by}: a torn record: {}", names(&seen)));
        }
        let newest = seen
            .iter()
            .filter_map(|s| unstamp(*s))
            .map(|(_, n)| n)
            .max()
            .unwrap_or(0);
        if newest > last {
            board.anomaly(false, || {
                format!("{by}: written after it was read: {}", names(&seen))
            });
        }
        if let Some(before) = before
            && newest < before
            && !is_cut(board, writer, before)
        {
            board.anomaly(false, || {
                let done = names(&[stamp(writer, before)]);
                format!("{by}: a stale record: {} after {done}", names(&seen))
            });
        }
        Ok(())
    }
}

/// Of a place: the record, and the page behind it.
fn parts(place: &[u8], record: u64) -> [&[u8]; 2] {
    let (record, rest) = place.split_at(record as usize);
    [record, &rest[..PAGE as usize]]
}

/// What holds something else than it may, in words.
fn wrong(bytes: &[u8], record: u64, known: &[[Vec<u64>; 2]]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (place, bytes) in bytes.chunks(PLACE as usize).enumerate() {
        let seen = parts(bytes, record).map(values);
        for (what, (seen, may)) in ["the record", "the page behind the record"]
            .iter()
            .zip(seen.iter().zip(&known[place]))
        {
            if !seen.iter().all(|value| may.contains(value)) {
                let (seen, may) = (names(seen), names(may));
                wrong.push(format!(
                    "{what} of place {place} holds {seen} instead of {may}"
                ));
            }
        }
    }
    wrong
}

/// Known to the referee and to the reader without being told: where a turn writes.
fn place(worker: usize, number: u64) -> u64 {
    match worker {
        NEIGHBOUR => Random::new(stamp(NEIGHBOUR, number)).between(0, PLACES - 1),
        _ => worker as u64 + number % (PLACES / WRITERS) * WRITERS,
    }
}

/// Whether a kill cut this turn short. Waits until that is known: its process may still be at it, or dead.
pub fn is_cut(board: &Board, writer: usize, number: u64) -> bool {
    let slot = writer + INNER;
    let begun = now();
    while !board.finished(slot, number) && now() - begun < 2_000_000_000 {
        std::thread::sleep(std::time::Duration::from_micros(100));
    }
    board.was_cut(slot, number)
}

/// What the places may hold now that so much was written.
fn written(board: &Board, first: &[u64], known: &mut [[Vec<u64>; 2]]) {
    for (worker, first) in first.iter().enumerate().filter(|(w, _)| *w != READER) {
        let slot = worker + INNER;
        for number in *first..=board.slots[slot].finished.load(SeqCst) {
            let part = usize::from(worker == NEIGHBOUR);
            let may = &mut known[place(worker, number) as usize][part];
            if !board.was_cut(slot, number) {
                may.clear();
            }
            may.push(stamp(worker, number));
        }
    }
}

/// The different words.
pub fn values(bytes: &[u8]) -> Vec<u64> {
    let mut all = Vec::new();
    let mut last = None;
    for word in words(bytes).filter(|word| last.replace(*word) != Some(*word)) {
        if !all.contains(&word) {
            all.push(word);
        }
    }
    all
}

pub fn names(values: &[u64]) -> String {
    let name = |value: &u64| match unstamp(*value) {
        Some((worker, number)) => format!("process {worker}'s turn {number}"),
        None => format!("{value:#x}"),
    };
    let names: Vec<_> = values.iter().take(4).map(name).collect();
    names.join(" and ")
}
