//! What `appenders` and `async-appenders` do: processes that append records to one file, and the look for records that
//! are lost, overlapping or torn, and at the order of each process's own.
//!
//! In rounds of a fraction of a second, each on a fresh file: four processes append records of their own,
//! every sector stamped; then the file is read whole, through the cache and from the device. In every third round
//! they don't leave it to O_APPEND where the end is: each takes the next place from a counter that they share, and reads
//! its record through the cache right after. A record whose writer was killed meanwhile may be there whole, in part or
//! not at all.

use crate::board::{Board, INNER, stamp, unstamp};
use crate::content::words;
use crate::random::Random;
use crate::sys::{Buffer, Fd, PAGE, now};
use crate::team::Team;
use crate::{Res, Setup, Stop};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;

const WORKERS: usize = 4;
const SECTOR: u64 = 512;
/// What one process appends in a round at most.
const MOST: u64 = 4 << 20;
const LONGEST: u64 = 16 * PAGE;
/// In the plan: when the round ends, the unit of sizes, which workers are buffered (bits).
const END: usize = 0;
const UNIT: usize = 1;
const BUFFERED: usize = 2;
/// Where the next record goes, plus one; 0: with O_APPEND.
const NEXT: usize = 3;

/// How one process appends: all of these bytes, at this place if the file isn't open with O_APPEND.
pub type Append = Box<dyn FnMut(&Fd, &[u8], Option<u64>) -> Res<()>>;

/// The whole run; each process makes its own way to append.
pub fn body(setup: &Setup, way: fn() -> Res<Append>) -> Result<(), Stop> {
    let unit = setup.direct_unit()?;
    let board = &*setup.board;
    let mut random = Random::new(setup.args.seed);
    let job = |worker| append_parts(setup, worker, way);
    let mut buffer = Buffer::new(WORKERS as u64 * (MOST + LONGEST))?;
    let mut team = Team::start(board, &setup.args, WORKERS, &job)?;
    while !setup.over() {
        let path = round_file(setup, board.round() + 1);
        let file = Fd::open(&path, libc::O_RDWR | libc::O_CREAT)?;
        let first: Vec<u64> = (0..WORKERS)
            .map(|worker| board.next_number(worker + INNER))
            .collect();
        let millis = if setup.args.kills { 30 } else { 100 };
        board.set_plan(END, now() + millis * 1_000_000);
        board.set_plan(UNIT, if random.one_in(2) { unit } else { PAGE });
        board.set_plan(BUFFERED, random.between(0, 3) & random.between(0, 3));
        board.set_plan(NEXT, u64::from(random.one_in(3)));
        team.round(WORKERS)?;
        judge(setup, &file, &path, &first, &mut buffer)?;
        drop(file);
        std::fs::remove_file(&path)
            .map_err(|error| format!("removing {}: {error}", path.display()))?;
    }
    team.finish()
}

fn round_file(setup: &Setup, round: u64) -> PathBuf {
    setup.work.join(format!("data-{round}"))
}

/// Known to the judge without being told.
fn record_len(worker: usize, number: u64, unit: u64) -> u64 {
    Random::new(stamp(worker, number)).between(1, LONGEST / unit) * unit
}

fn append_parts(setup: &Setup, worker: usize, way: fn() -> Res<Append>) -> Res<()> {
    let mut append = way()?;
    let (board, turns) = (&*setup.board, setup.turns()?);
    let (mut buffer, mut seen) = (Buffer::new(LONGEST)?, Buffer::new(2 * LONGEST)?);
    while let Some(round) = board.next_round(worker) {
        board.slots[worker].operation(round, || {
            let buffered = board.plan(BUFFERED) >> worker & 1 == 1;
            let mode = if buffered { 0 } else { setup.direct_flag() };
            let explicit = board.plan(NEXT) != 0;
            let appends = if explicit { 0 } else { libc::O_APPEND };
            let path = round_file(setup, round);
            let file = Fd::open(&path, libc::O_WRONLY | appends | mode)?;
            let look = Fd::open(&path, libc::O_RDONLY)?;
            let mut put = 0;
            while put < MOST && now() < board.plan(END) {
                let number = board.next_number(worker + INNER);
                let len = record_len(worker, number, board.plan(UNIT));
                fill_record(buffer.part(len), stamp(worker, number));
                board.slots[worker + INNER].operation(number, || {
                    let _turn = turns.take()?;
                    let next = || board.plan[NEXT].fetch_add(len, SeqCst) - 1;
                    let at = explicit.then(next);
                    append(&file, buffer.part(len), at)?;
                    at.map_or(Ok(()), |at| {
                        is_there(board, &look, buffer.part(len), (at, seen.bytes()))
                    })
                })?;
                put += len;
                board.done(1);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Reads it through the cache, with what is before it: that comes in, too, while others write there.
fn is_there(board: &Board, file: &Fd, record: &[u8], (at, seen): (u64, &mut [u8])) -> Res<()> {
    let before = at.min(LONGEST);
    let seen = &mut seen[..before as usize + record.len()];
    let n = file.pread(seen, at - before)?;
    if n < seen.len() || seen[before as usize..] != *record {
        board.anomaly(false, || format!("a record at {at} isn't read right after"));
    }
    Ok(())
}

fn fill_record(bytes: &mut [u8], stamp: u64) {
    let sectors = bytes.len() as u64 / SECTOR;
    for (sector, chunk) in bytes.chunks_exact_mut(SECTOR as usize).enumerate() {
        for (index, word) in chunk.chunks_exact_mut(8).enumerate() {
            word.copy_from_slice(&sector_word(stamp, sector as u64, sectors, index).to_ne_bytes());
        }
    }
}

fn sector_word(stamp: u64, sector: u64, sectors: u64, index: usize) -> u64 {
    match index {
        0 => stamp,
        1 => (sectors << 32) | sector,
        _ => stamp.wrapping_add(sector << 20).wrapping_add(index as u64),
    }
}

/// One sector as it was read: whose, which, of how many.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sector {
    Record {
        stamp: u64,
        sector: u64,
        sectors: u64,
    },
    Zero,
    Mixed,
}

fn parse(bytes: &[u8]) -> Sector {
    let mut all = words(bytes);
    let (stamp, place) = (all.next().unwrap_or(0), all.next().unwrap_or(0));
    if words(bytes).all(|word| word == 0) {
        return Sector::Zero;
    }
    let (sector, sectors) = (place & 0xffff_ffff, place >> 32);
    let right = words(bytes)
        .enumerate()
        .all(|(index, word)| word == sector_word(stamp, sector, sectors, index));
    if right {
        Sector::Record {
            stamp,
            sector,
            sectors,
        }
    } else {
        Sector::Mixed
    }
}

fn judge(
    setup: &Setup,
    file: &Fd,
    path: &std::path::Path,
    first: &[u64],
    buffer: &mut Buffer,
) -> Res<()> {
    let board = &*setup.board;
    let size = file.size()?.min(buffer.bytes().len() as u64);
    file.pread_all(buffer.part(size), 0)?;
    let cache = faults(board, first, buffer.part(size));
    file.fsync()?;
    file.drop_cache();
    let direct = Fd::open(path, libc::O_RDWR | setup.direct_flag())?;
    // A direct read must be of whole units, also where the file's end isn't at one.
    let aligned = size.next_multiple_of(PAGE);
    direct.pread(buffer.part(aligned), 0)?;
    let device = faults(board, first, buffer.part(size));
    for at in 0..cache.len().max(device.len()) {
        let text = cache
            .get(at)
            .or(device.get(at))
            .cloned()
            .unwrap_or_default();
        let modes = format!(
            "buffered workers {:#b}, sizes in units of {}, {}",
            board.plan(BUFFERED),
            board.plan(UNIT),
            match board.plan(NEXT) {
                0 => "with O_APPEND",
                _ => "at the next place",
            }
        );
        board.anomaly(at < device.len(), || format!("{text} ({modes})"));
    }
    Ok(())
}

/// Everything that is wrong with a file of this round.
fn faults(board: &Board, first: &[u64], bytes: &[u8]) -> Vec<String> {
    let sectors: Vec<Sector> = bytes.chunks(SECTOR as usize).map(parse).collect();
    let mut seen: HashMap<u64, u64> = HashMap::new();
    let mut latest = [0; WORKERS];
    let (mut faults, mut strays, mut at) = (Vec::new(), 0, 0);
    while at < sectors.len() {
        let Some((stamp, count)) = record_at(&sectors, at) else {
            strays += u64::from(!is_cut_short(board, sectors[at]));
            at += 1;
            continue;
        };
        *seen.entry(stamp).or_default() += 1;
        if let Some((worker, number)) = unstamp(stamp).filter(|(worker, _)| *worker < WORKERS) {
            if number < latest[worker] {
                faults.push(format!(
                    "worker {worker}'s record {number} comes after its record {}",
                    latest[worker]
                ));
            }
            latest[worker] = number;
        }
        at += count;
    }
    for (worker, first) in first.iter().enumerate() {
        for number in *first..=board.slots[worker + INNER].finished.load(SeqCst) {
            let times = seen.get(&stamp(worker, number)).copied().unwrap_or(0);
            if times != 1 && !(times == 0 && board.was_cut(worker + INNER, number)) {
                faults.push(format!("worker {worker}'s record {number} is there {times} times (whole) instead of once"));
            }
        }
    }
    if faults.is_empty() && strays > 0 {
        faults.push(format!("{strays} sectors that belong to no record"));
    }
    faults
}

/// A whole record that begins here, and its sectors.
fn record_at(sectors: &[Sector], at: usize) -> Option<(u64, usize)> {
    let Sector::Record {
        stamp,
        sector: 0,
        sectors: count,
    } = sectors[at]
    else {
        return None;
    };
    let count = count as usize;
    let body = sectors.get(at..at.checked_add(count)?)?;
    let whole = body.iter().enumerate().all(|(index, seen)| {
        *seen
            == Sector::Record {
                stamp,
                sector: index as u64,
                sectors: count as u64,
            }
    });
    (whole && count > 0).then_some((stamp, count))
}

/// May be what a kill has left: part of a record that was being written, or space allocated for one.
fn is_cut_short(board: &Board, sector: Sector) -> bool {
    match sector {
        Sector::Record { stamp, .. } => unstamp(stamp).is_some_and(|(worker, number)| {
            worker < WORKERS && board.was_cut(worker + INNER, number)
        }),
        Sector::Zero | Sector::Mixed => (0..WORKERS).any(|worker| {
            board.was_cut(
                worker + INNER,
                board.slots[worker + INNER].finished.load(SeqCst),
            )
        }),
    }
}
