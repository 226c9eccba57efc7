//! Records of 256 KiB: two processes write theirs with O_DIRECT and Linux AIO, four requests at once; one writes the page
//! behind each, in the same large folio, through the cache or, every second round, through a mapping; and one reads all of
//! it through the cache. No two of them write the same byte.
//!
//! A read sees one write of a record, and none that is older than what was done before the read began. At the end of a
//! round each record and each page hold what was written last, in the cache and on the device. What a killed process was
//! writing may be there, in part or not at all.

use pagefence_test_apps::aio::{Context, Request};
use pagefence_test_apps::args::Args;
use pagefence_test_apps::board::{Board, INNER, stamp, unstamp};
use pagefence_test_apps::content::words;
use pagefence_test_apps::harness::run;
use pagefence_test_apps::random::Random;
use pagefence_test_apps::sys::{Buffer, Fd, Map, PAGE, now};
use pagefence_test_apps::team::Team;
use pagefence_test_apps::{Res, Setup, Stop};
use std::sync::atomic::Ordering::SeqCst;

const ABOUT: &str = "Writes records by Linux AIO, with O_DIRECT, beside a writer of the pages behind them and a reader that \
go through the page cache, and looks for torn, stale and lost ones";

const RECORD: u64 = 256 << 10;
/// A record, the page behind it, and nothing.
const PLACE: u64 = 1 << 20;
const PLACES: u64 = 8;
const WORKERS: usize = 4;
/// The first ones write records, each every second one.
const WRITERS: u64 = 2;
const READER: usize = 2;
const NEIGHBOUR: usize = 3;
/// In the plan: when the round ends.
const END: usize = 0;

fn main() {
    run(Args::parse("async-records", ABOUT), body);
}

fn body(setup: &Setup) -> Result<(), Stop> {
    setup.direct_unit()?;
    let board = &*setup.board;
    let file = Fd::open(&setup.file(), libc::O_RDWR | libc::O_CREAT)?;
    let direct = setup.open_direct()?;
    let mut buffer = Buffer::new(PLACES * PLACE)?;
    file.pwrite(buffer.bytes(), 0)?;
    let job = |worker| match worker {
        READER => read_parts(setup),
        NEIGHBOUR => neighbour_parts(setup),
        _ => write_parts(setup, worker),
    };
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
        file.pread_all(buffer.bytes(), 0)?;
        let cache = wrong(buffer.bytes(), &known);
        file.fsync()?;
        file.drop_cache();
        direct.pread_all(buffer.bytes(), 0)?;
        let device = wrong(buffer.bytes(), &known);
        for text in cache.iter().filter(|text| !device.contains(text)) {
            board.anomaly(false, || format!("in the cache, {text}"));
        }
        for text in &device {
            board.anomaly(true, || text.clone());
        }
        for (place, bytes) in buffer.bytes().chunks(PLACE as usize).enumerate() {
            known[place] = parts(bytes).map(values);
        }
    }
    team.finish()
}

/// Of a place: the record, and the page behind it.
fn parts(place: &[u8]) -> [&[u8]; 2] {
    let (record, rest) = place.split_at(RECORD as usize);
    [record, &rest[..PAGE as usize]]
}

fn fill(bytes: &mut [u8], stamp: u64) {
    bytes
        .chunks_exact_mut(8)
        .for_each(|word| word.copy_from_slice(&stamp.to_ne_bytes()));
}

/// A turn writes all records of its process.
fn write_parts(setup: &Setup, worker: usize) -> Res<()> {
    let (board, turns) = (&*setup.board, setup.turns()?);
    let direct = setup.open_direct()?;
    let context = Context::new((PLACES / WRITERS) as u32)?;
    let mut buffer = Buffer::new(RECORD)?;
    let mut read = Buffer::new(RECORD)?;
    while let Some(round) = board.next_round(worker) {
        board.slots[worker].operation(round, || {
            while now() < board.plan(END) {
                let number = board.next_number(worker + INNER);
                let mine = stamp(worker, number);
                fill(buffer.bytes(), mine);
                let _turn = turns.take()?;
                board.slots[worker + INNER].operation(number, || {
                    let bytes: &[u8] = buffer.bytes();
                    let write = |place| Request::write(&direct, bytes, place * PLACE);
                    let places = (worker as u64..PLACES).step_by(WRITERS as usize);
                    context.all(&mut places.map(write).collect::<Vec<_>>())
                })?;
                let place = worker as u64 + number % (PLACES / WRITERS) * WRITERS;
                direct.pread_all(read.bytes(), place * PLACE)?;
                let seen = values(read.bytes());
                if seen != [mine] {
                    board.anomaly(false, || {
                        format!(
                            "direct read right after {}: {}",
                            names(&[mine]),
                            names(&seen)
                        )
                    });
                }
                board.done(PLACES / WRITERS);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Known to the referee without being told: where a turn writes.
fn neighbour_place(number: u64) -> u64 {
    Random::new(stamp(NEIGHBOUR, number)).between(0, PLACES - 1)
}

fn neighbour_parts(setup: &Setup) -> Res<()> {
    let (board, turns) = (&*setup.board, setup.turns()?);
    let file = setup.open_buffered()?;
    let mut buffer = Buffer::new(PAGE)?;
    while let Some(round) = board.next_round(NEIGHBOUR) {
        board.slots[NEIGHBOUR].operation(round, || {
            // Of the upper half of the file: direct writes to the lower one aren't concerned.
            let half = PLACES / 2 * PLACE;
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let map = || Map::file(&file, half, half, protection, libc::MAP_SHARED);
            let map = round.is_multiple_of(2).then(map).transpose()?;
            while now() < board.plan(END) {
                let number = board.next_number(NEIGHBOUR + INNER);
                let at = neighbour_place(number) * PLACE + RECORD;
                let mine = stamp(NEIGHBOUR, number);
                fill(buffer.bytes(), mine);
                let _turn = turns.take()?;
                board.slots[NEIGHBOUR + INNER].operation(number, || {
                    match (&map, at.checked_sub(half)) {
                        (Some(map), Some(at)) => {
                            (0..PAGE / 8).for_each(|word| map.store(at + word * 8, mine));
                            Ok(())
                        }
                        _ => file.pwrite(buffer.bytes(), at),
                    }
                })?;
                board.done(1);
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn read_parts(setup: &Setup) -> Res<()> {
    let (board, turns) = (&*setup.board, setup.turns()?);
    let file = setup.open_buffered()?;
    let mut buffer = Buffer::new(RECORD)?;
    let mut random = Random::new(now());
    while let Some(round) = board.next_round(READER) {
        board.slots[READER].operation(round, || {
            while now() < board.plan(END) {
                let place = random.between(0, PLACES - 1);
                let writer = (place % WRITERS) as usize;
                let before = board.slots[writer + INNER].finished.load(SeqCst);
                {
                    let _turn = turns.take()?;
                    file.pread_all(buffer.bytes(), place * PLACE)?;
                }
                let seen = values(buffer.bytes());
                let cut = |stamp: &u64| {
                    unstamp(*stamp).is_some_and(|(_, number)| is_cut(board, writer, number))
                };
                let whole = seen.iter().filter(|stamp| !cut(stamp)).count();
                if whole > 1 {
                    board.anomaly(false, || format!("a torn record: {}", names(&seen)));
                }
                let newest = seen
                    .iter()
                    .filter_map(|s| unstamp(*s))
                    .map(|(_, n)| n)
                    .max();
                let newest = newest.unwrap_or(0);
                if (newest + 1..=before).any(|number| !is_cut(board, writer, number)) {
                    board.anomaly(false, || {
                        let done = names(&[stamp(writer, before)]);
                        format!("a stale record: {} after {done}", names(&seen))
                    });
                }
                board.done(1);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Whether a kill cut this turn short. Waits until that is known: its process may still be at it, or dead.
fn is_cut(board: &Board, writer: usize, number: u64) -> bool {
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
            let mut add = |place: u64, part: usize| {
                let may = &mut known[place as usize][part];
                if !board.was_cut(slot, number) {
                    may.clear();
                }
                may.push(stamp(worker, number));
            };
            match worker {
                NEIGHBOUR => add(neighbour_place(number), 1),
                _ => (worker as u64..PLACES)
                    .step_by(WRITERS as usize)
                    .for_each(|place| add(place, 0)),
            }
        }
    }
}

/// The different words.
fn values(bytes: &[u8]) -> Vec<u64> {
    let mut all = Vec::new();
    let mut last = None;
    for word in words(bytes).filter(|word| last.replace(*word) != Some(*word)) {
        if !all.contains(&word) {
            all.push(word);
        }
    }
    all
}

fn names(values: &[u64]) -> String {
    let name = |value: &u64| match unstamp(*value) {
        Some((worker, number)) => format!("process {worker}'s turn {number}"),
        None => format!("{value:#x}"),
    };
    let names: Vec<_> = values.iter().take(4).map(name).collect();
    names.join(" and ")
}

fn wrong(bytes: &[u8], known: &[[Vec<u64>; 2]]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (place, bytes) in bytes.chunks(PLACE as usize).enumerate() {
        let seen = parts(bytes).map(values);
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
