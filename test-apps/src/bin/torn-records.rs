//! Records of 64 KiB to 1 MiB, each written by one call and read by one call, buffered and direct: torn for a
//! reader, and torn for good.
//!
//! POSIX says that a write to a regular file is seen whole or not at all. Linux keeps that on xfs among
//! buffered calls only, so under a library this program needs `isolation = "atomic"`; with less it may tear.
//! A write cut short by a kill may leave its record torn; then more than one *completed* write in it is wrong.

use pagefence_test_apps::args::{Args, Control};
use pagefence_test_apps::board::{Board, INNER, stamp, unstamp};
use pagefence_test_apps::content::words;
use pagefence_test_apps::harness::run;
use pagefence_test_apps::random::Random;
use pagefence_test_apps::sys::{Buffer, Fd, now};
use pagefence_test_apps::team::{PATIENCE, Team};
use pagefence_test_apps::{Res, Setup, Stop};
use std::time::{Duration, Instant};

const ABOUT: &str = "Writes records of 64 KiB to 1 MiB whole, buffered and direct, and reads them whole, buffered and \
direct, and looks for torn ones. Needs isolation=atomic when it is run under a library that offers it";

const RECORDS: [u64; 4] = [64 << 10, 256 << 10, 512 << 10, 1 << 20];
const PLACE: u64 = 1 << 20;
const WRITERS: usize = 2;
const WORKERS: usize = 4;
/// In the plan: when the round ends.
const END: usize = 0;
/// Whose stamp the referee's own writes bear.
const REFEREE: usize = 15;

fn main() {
    run(Args::parse("torn-records", ABOUT), body);
}

fn body(setup: &Setup) -> Result<(), Stop> {
    if setup.args.control == Some(Control::Buffered) {
        return Err(Stop::NotHere(
            "only xfs keeps buffered calls whole among themselves: use --control serial".into(),
        ));
    }
    setup.direct_unit()?;
    let board = &*setup.board;
    let file = Fd::open(&setup.file(), libc::O_RDWR | libc::O_CREAT)?;
    let direct = setup.open_direct()?;
    let mut buffer = Buffer::new(PLACE)?;
    for (place, len) in RECORDS.into_iter().enumerate() {
        write_record(&file, &mut buffer, place, len, stamp(REFEREE, 1))?;
    }
    file.fsync()?;
    let job = |worker| {
        if worker < WRITERS {
            write_parts(setup, worker)
        } else {
            read_parts(setup, worker)
        }
    };
    let mut team = Team::start(board, &setup.args, WORKERS, &job)?;
    while !setup.over() {
        board.set_plan(END, now() + 50_000_000);
        team.round(WORKERS)?;
        for (place, len) in RECORDS.into_iter().enumerate() {
            look_for_good(board, &file, &direct, &mut buffer, place, len)?;
        }
    }
    team.finish()
}

fn write_record(file: &Fd, buffer: &mut Buffer, place: usize, len: u64, stamp: u64) -> Res<()> {
    let bytes = buffer.part(len);
    bytes
        .chunks_exact_mut(8)
        .for_each(|word| word.copy_from_slice(&stamp.to_ne_bytes()));
    file.pwrite(bytes, place as u64 * PLACE)
}

/// Nobody is at work: is the record in one piece, in the cache and on the device?
fn look_for_good(
    board: &Board,
    file: &Fd,
    direct: &Fd,
    buffer: &mut Buffer,
    place: usize,
    len: u64,
) -> Res<()> {
    let at = place as u64 * PLACE;
    file.pread_all(buffer.part(len), at)?;
    let cache = torn(board, buffer.part(len));
    file.fsync()?;
    file.drop_cache();
    direct.pread_all(buffer.part(len), at)?;
    let device = torn(board, buffer.part(len));
    if let Some(text) = cache.as_ref().or(device.as_ref()) {
        board.anomaly(device.is_some(), || {
            format!("record of {len} bytes torn for good: {text}")
        });
        write_record(file, buffer, place, len, stamp(REFEREE, 1))?;
        file.fsync()?;
    }
    Ok(())
}

fn write_parts(setup: &Setup, worker: usize) -> Res<()> {
    let (board, turns) = (&*setup.board, setup.turns()?);
    let (buffered, direct) = (setup.open_buffered()?, setup.open_direct()?);
    let mut buffer = Buffer::new(PLACE)?;
    let mut random = Random::new(now());
    while let Some(round) = board.next_round(worker) {
        board.slots[worker].operation(round, || {
            while now() < board.plan(END) {
                let place = random.between(0, RECORDS.len() as u64 - 1) as usize;
                let file = if random.one_in(2) { &buffered } else { &direct };
                let number = board.next_number(worker + INNER);
                board.slots[worker + INNER].operation(number, || {
                    let _turn = turns.take()?;
                    write_record(
                        file,
                        &mut buffer,
                        place,
                        RECORDS[place],
                        stamp(worker + INNER, number),
                    )
                })?;
                board.done(1);
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn read_parts(setup: &Setup, worker: usize) -> Res<()> {
    let (board, turns) = (&*setup.board, setup.turns()?);
    let (buffered, direct) = (setup.open_buffered()?, setup.open_direct()?);
    let mut buffer = Buffer::new(PLACE)?;
    let mut random = Random::new(now());
    while let Some(round) = board.next_round(worker) {
        board.slots[worker].operation(round, || {
            while now() < board.plan(END) {
                let place = random.between(0, RECORDS.len() as u64 - 1) as usize;
                let len = RECORDS[place];
                let is_direct = random.one_in(2);
                let file = if is_direct { &direct } else { &buffered };
                {
                    let _turn = turns.take()?;
                    file.pread_all(buffer.part(len), place as u64 * PLACE)?;
                }
                if let Some(text) = torn(board, buffer.part(len)) {
                    let mode = if is_direct { "direct" } else { "buffered" };
                    board.anomaly(false, || {
                        format!("{mode} read of a record of {len} bytes: {text}")
                    });
                }
                board.done(1);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Says how a record is torn: more than one write in it that wasn't cut short.
fn torn(board: &Board, bytes: &[u8]) -> Option<String> {
    let mut stamps: Vec<u64> = Vec::new();
    let mut last = None;
    for word in words(bytes).filter(|word| last.replace(*word) != Some(*word)) {
        if !stamps.contains(&word) {
            stamps.push(word);
        }
    }
    if stamps.len() < 2 {
        return None;
    }
    let whole: Vec<String> = stamps
        .into_iter()
        .filter(|stamp| !cut_short(board, *stamp))
        .map(name)
        .collect();
    (whole.len() > 1).then(|| format!("holds parts of {}", whole.join(" and ")))
}

fn name(stamp: u64) -> String {
    match unstamp(stamp) {
        Some((REFEREE, _)) => "the first content".into(),
        Some((slot, number)) => format!("writer {}'s write {number}", slot.saturating_sub(INNER)),
        None => format!("nobody's {stamp:#x}"),
    }
}

/// Was this write cut short by a kill? Waits until that is known: the writer may still be at it.
fn cut_short(board: &Board, stamp: u64) -> bool {
    // A word can be torn in itself (seen bare on btrfs: one writer's slot, the other's number). What nobody has
    // begun, nobody will finish.
    let begun =
        |(slot, number): &(usize, u64)| *slot != REFEREE && *number < board.next_number(*slot);
    let Some((slot, number)) = unstamp(stamp).filter(begun) else {
        return false;
    };
    let start = Instant::now();
    while !board.finished(slot, number) && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_micros(100));
    }
    board.was_cut(slot, number)
}
