//! Records of 320 KiB: two processes write theirs with O_DIRECT and Linux AIO, four or more requests at once; one changes
//! the page behind each, in the same large folio; and one reads all of it through the cache. No two of them change the
//! same byte.
//!
//! Each round draws a way: how the requests end (`ends`), whether those of one batch overlap, and what the neighbour does:
//! it writes through the cache, stores through a mapping, punches, or truncates down and up again.
//!
//! A read sees one write of a record, and none that is older than what was done before the read began. At the end of a
//! round each record and each page hold what was written last, in the cache and on the device. What a killed process was
//! writing may be there, in part or not at all.

use pagefence_test_apps::aio::Request;
use pagefence_test_apps::args::Args;
use pagefence_test_apps::board::{Board, INNER, stamp, unstamp};
use pagefence_test_apps::ends::{ENDS, End, Requests};
use pagefence_test_apps::harness::run;
use pagefence_test_apps::random::Random;
use pagefence_test_apps::records::{PLACE, is_cut, look_at_both, names, values};
use pagefence_test_apps::sys::{Buffer, Fd, Map, PAGE, now};
use pagefence_test_apps::team::Team;
use pagefence_test_apps::{Res, Setup, Stop};
use std::sync::atomic::Ordering::SeqCst;

const ABOUT: &str = "Writes records by Linux AIO, with O_DIRECT, beside a reader through the page cache and a process that \
writes, maps, punches or truncates behind them, and looks for torn, stale and lost ones.";

/// No power of two: the folio of its end, as readahead makes it, reaches over the page behind.
const RECORD: u64 = 320 << 10;
const PLACES: u64 = 8;
const WORKERS: usize = 4;
/// The first ones write records, each every second one.
const WRITERS: u64 = 2;
const READER: usize = 2;
const NEIGHBOUR: usize = 3;
/// In the plan: when the round ends, and its way.
const END: usize = 0;
const WAY: usize = 1;

/// What the process beside the writers does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Neighbour {
    Writes,
    Stores,
    Punches,
    Truncates,
}

const NEIGHBOURS: [(&str, Neighbour); 4] = [
    ("writes", Neighbour::Writes),
    ("mapping", Neighbour::Stores),
    ("punch", Neighbour::Punches),
    ("truncate", Neighbour::Truncates),
];

const OVERLAPPING: &str = "overlapping";

#[derive(Clone, Copy)]
struct Way {
    end: End,
    neighbour: Neighbour,
    overlapping: bool,
}

impl Way {
    /// Drawn; or plain but for what the command line names.
    fn of(random: &mut Random, named: Option<&str>) -> u64 {
        let Some(name) = named else {
            let way = random.between(0, 63);
            // The first way to an end is the fastest, and so it is drawn more often.
            return if random.one_in(2) { way & !7 } else { way };
        };
        let end = ENDS.iter().position(|(end, _)| *end == name);
        let neighbour = NEIGHBOURS.iter().position(|(n, _)| *n == name);
        let overlapping = usize::from(name == OVERLAPPING);
        (end.unwrap_or(0) + 8 * neighbour.unwrap_or(0) + 32 * overlapping) as u64
    }

    fn read(board: &Board) -> Way {
        let way = board.plan(WAY) as usize;
        Way {
            end: ENDS[way % 8].1,
            neighbour: NEIGHBOURS[way / 8 % 4].1,
            overlapping: way / 32 == 1,
        }
    }
}

fn main() {
    let ends = ENDS.iter().map(|(name, _)| *name);
    let neighbours = NEIGHBOURS.iter().map(|(name, _)| *name);
    let ways = ends.chain(neighbours).chain([OVERLAPPING]).collect();
    run(Args::parse_with("async-records", ABOUT, ways), body);
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
    let mut random = Random::new(setup.args.seed);
    let mut team = Team::start(board, &setup.args, WORKERS, &job)?;
    while !setup.over() {
        board.set_plan(WAY, Way::of(&mut random, setup.args.way.as_deref()));
        // In large writes, and so in large folios.
        file.pread_all(buffer.bytes(), 0)?;
        file.pwrite(buffer.bytes(), 0)?;
        let first = [0, 1, 2, 3].map(|worker| board.next_number(worker + INNER));
        let millis = if setup.args.kills { 30 } else { 100 };
        board.set_plan(END, now() + millis * 1_000_000);
        team.round(WORKERS)?;
        // It may have been killed between down and up.
        file.truncate(PLACES * PLACE)?;
        written(board, &first, &mut known);
        look_at_both((&file, &direct), &mut buffer, RECORD, board, &mut known)?;
    }
    team.finish()
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
    let mut buffer = Buffer::new(RECORD)?;
    let mut read = Buffer::new(RECORD)?;
    while let Some(round) = board.next_round(worker) {
        board.slots[worker].operation(round, || {
            let way = Way::read(board);
            let mut requests = Requests::new(way.end)?;
            while now() < board.plan(END) {
                let number = board.next_number(worker + INNER);
                let mine = stamp(worker, number);
                fill(buffer.bytes(), mine);
                let _turn = turns.take()?;
                board.slots[worker + INNER].operation(number, || {
                    let places = (worker as u64..PLACES).step_by(WRITERS as usize);
                    let mut batch = Vec::new();
                    for at in places.map(|place| place * PLACE) {
                        add_writes(&mut batch, &direct, buffer.bytes(), at, way.overlapping);
                        if way.overlapping {
                            batch.push(batch[0].read_there(read.bytes()));
                        }
                    }
                    requests.all(&mut batch)
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

/// Of one record: a write; or two, and the middle is written by both.
fn add_writes(batch: &mut Vec<Request>, file: &Fd, bytes: &[u8], at: u64, overlapping: bool) {
    let part = bytes.len() / 5;
    match overlapping {
        false => batch.push(Request::write(file, bytes, at)),
        true => {
            batch.push(Request::write(file, &bytes[..3 * part], at));
            batch.push(Request::write(
                file,
                &bytes[2 * part..],
                at + 2 * part as u64,
            ));
        }
    }
}

/// Known to the referee without being told: where a turn is, and what the page holds afterwards. None: what it did.
fn neighbour_turn(number: u64, neighbour: Neighbour) -> (u64, Option<u64>) {
    let place = Random::new(stamp(NEIGHBOUR, number)).between(0, PLACES - 1);
    match neighbour {
        Neighbour::Punches if !is_direct(number) => (place, Some(0)),
        Neighbour::Truncates if !is_direct(number) => (PLACES - 1, None),
        _ => (place, Some(stamp(NEIGHBOUR, number))),
    }
}

/// Every second turn writes past the cache, and so out of it: the page comes back in one folio with the record's end.
fn is_direct(number: u64) -> bool {
    !number.is_multiple_of(2)
}

fn neighbour_parts(setup: &Setup) -> Res<()> {
    let (board, turns) = (&*setup.board, setup.turns()?);
    let (file, direct) = (setup.open_buffered()?, setup.open_direct()?);
    let mut buffer = Buffer::new(PAGE)?;
    while let Some(round) = board.next_round(NEIGHBOUR) {
        board.slots[NEIGHBOUR].operation(round, || {
            let neighbour = Way::read(board).neighbour;
            // Of the upper half of the file: direct writes to the lower one aren't concerned.
            let half = PLACES / 2 * PLACE;
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let map = || Map::file(&file, half, half, protection, libc::MAP_SHARED);
            let map = (neighbour == Neighbour::Stores).then(map).transpose()?;
            while now() < board.plan(END) {
                let number = board.next_number(NEIGHBOUR + INNER);
                let at = neighbour_turn(number, neighbour).0 * PLACE + RECORD;
                let mine = stamp(NEIGHBOUR, number);
                fill(buffer.bytes(), mine);
                let _turn = turns.take()?;
                board.slots[NEIGHBOUR + INNER].operation(number, || {
                    match (neighbour, &map, at.checked_sub(half)) {
                        _ if is_direct(number) => direct.pwrite(buffer.bytes(), at),
                        (Neighbour::Punches, ..) => punch(&file, at),
                        (Neighbour::Truncates, ..) => cut_off(&file, at),
                        (_, Some(map), Some(at)) => {
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

/// The page at `at`, and half of the next, which the kernel zeroes through the cache.
fn punch(file: &Fd, at: u64) -> Res<()> {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    match file.fallocate(mode, at, PAGE + PAGE / 2)? {
        true => Ok(()),
        false => Err("no holes here".to_owned()),
    }
}

/// The file ends within the page behind that at `at`, and then where it did. Nobody's bytes are there.
fn cut_off(file: &Fd, at: u64) -> Res<()> {
    file.truncate(at + PAGE + PAGE / 2)?;
    file.truncate(PLACES * PLACE)
}

fn read_parts(setup: &Setup) -> Res<()> {
    let (board, turns) = (&*setup.board, setup.turns()?);
    let file = setup.open_buffered()?;
    let mut buffer = Buffer::new(RECORD)?;
    let mut random = Random::new(now());
    while let Some(round) = board.next_round(READER) {
        board.slots[READER].operation(round, || {
            let overlapping = Way::read(board).overlapping;
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
                // Of an overlapping batch one request may be done, and another not.
                if whole > 1 + usize::from(overlapping) {
                    board.anomaly(false, || format!("a torn record: {}", names(&seen)));
                }
                let numbers = seen.iter().filter_map(|seen| unstamp(*seen));
                let oldest = numbers.map(|(_, number)| number).min().unwrap_or(0);
                if (oldest + 1..=before).any(|number| !is_cut(board, writer, number)) {
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

/// What the places may hold now that so much was written.
fn written(board: &Board, first: &[u64], known: &mut [[Vec<u64>; 2]]) {
    let neighbour = Way::read(board).neighbour;
    for (worker, first) in first.iter().enumerate().filter(|(w, _)| *w != READER) {
        let slot = worker + INNER;
        for number in *first..=board.slots[slot].finished.load(SeqCst) {
            let mut add = |place: u64, part: usize, value: u64| {
                let may = &mut known[place as usize][part];
                if !board.was_cut(slot, number) {
                    may.clear();
                }
                may.push(value);
            };
            if worker == NEIGHBOUR {
                let (place, value) = neighbour_turn(number, neighbour);
                value.into_iter().for_each(|value| add(place, 1, value));
                continue;
            }
            (worker as u64..PLACES)
                .step_by(WRITERS as usize)
                .for_each(|place| add(place, 0, stamp(worker, number)));
        }
    }
}
