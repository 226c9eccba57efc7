//! A record of 256 KiB that one process writes with O_DIRECT, again and again, and two others read through the page cache;
//! a fourth writes the page behind it, in the same large folio, through the cache. All by system calls that are
//! instructions of the program's own, as `rustix` makes them, and not the C library's.
//!
//! A read sees one write of the record, and none that is older than what was done before the read began. At the end of a
//! round the record and the page hold what was written last, in the cache and on the device. What a killed process was
//! writing may be there, in part or not at all.

use pagefence_test_apps::args::Args;
use pagefence_test_apps::board::{Board, INNER, stamp, unstamp};
use pagefence_test_apps::harness::run;
use pagefence_test_apps::raw::Raw;
use pagefence_test_apps::records::{PLACE, is_cut, look_at_both, names, values};
use pagefence_test_apps::sys::{Buffer, Fd, PAGE, now};
use pagefence_test_apps::team::Team;
use pagefence_test_apps::{Res, Setup, Stop};
use std::sync::atomic::Ordering::SeqCst;

const ABOUT: &str = "Reads and writes a record by system calls of its own, not libc's: past the page cache and through it, \
and looks for torn, stale and lost writes";

const RECORD: u64 = 256 << 10;
const WORKERS: usize = 4;
const WRITER: usize = 0;
const NEIGHBOUR: usize = 1;
/// In the plan: when the round ends.
const END: usize = 0;

fn main() {
    run(Args::parse("raw-records", ABOUT), body);
}

fn body(setup: &Setup) -> Result<(), Stop> {
    setup.direct_unit()?;
    let board = &*setup.board;
    let file = Fd::open(&setup.file(), libc::O_RDWR | libc::O_CREAT)?;
    let direct = setup.open_direct()?;
    let mut buffer = Buffer::new(PLACE)?;
    file.pwrite(buffer.bytes(), 0)?;
    let job = |worker| rounds(setup, worker);
    // What the record, and the page behind it, may hold.
    let mut known = [[vec![0u64], vec![0u64]]];
    let mut team = Team::start(board, &setup.args, WORKERS, &job)?;
    while !setup.over() {
        // In large writes, and so in large folios.
        file.pread_all(buffer.bytes(), 0)?;
        file.pwrite(buffer.bytes(), 0)?;
        let first = [WRITER, NEIGHBOUR].map(|worker| board.next_number(worker + INNER));
        let millis = if setup.args.kills { 30 } else { 100 };
        board.set_plan(END, now() + millis * 1_000_000);
        team.round(WORKERS)?;
        for worker in [WRITER, NEIGHBOUR] {
            written(board, worker, first[worker], &mut known[0][worker]);
        }
        look_at_both((&file, &direct), &mut buffer, RECORD, board, &mut known)?;
    }
    team.finish()
}

/// What a part may hold now that so much was written.
fn written(board: &Board, worker: usize, first: u64, may: &mut Vec<u64>) {
    let slot = worker + INNER;
    for number in first..=board.slots[slot].finished.load(SeqCst) {
        if !board.was_cut(slot, number) {
            may.clear();
        }
        may.push(stamp(worker, number));
    }
}

fn rounds(setup: &Setup, worker: usize) -> Res<()> {
    let (board, turns) = (&*setup.board, setup.turns()?);
    let mut buffer = Buffer::new(RECORD)?;
    while let Some(round) = board.next_round(worker) {
        let mut raw = Raw::open(&setup.file(), worker == WRITER)?;
        board.slots[worker].operation(round, || {
            while now() < board.plan(END) {
                let _turn = turns.take()?;
                match worker {
                    WRITER => write(board, worker, &mut raw, buffer.bytes(), 0)?,
                    NEIGHBOUR => write(board, worker, &mut raw, buffer.part(PAGE), RECORD)?,
                    _ => read(board, &mut raw, buffer.bytes())?,
                }
                board.done(1);
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn write(board: &Board, worker: usize, raw: &mut Raw, bytes: &mut [u8], at: u64) -> Res<()> {
    let number = board.next_number(worker + INNER);
    let mine = stamp(worker, number);
    let words = bytes.chunks_exact_mut(8);
    words.for_each(|word| word.copy_from_slice(&mine.to_ne_bytes()));
    board.slots[worker + INNER].operation(number, || raw.write(bytes, at))
}

fn read(board: &Board, raw: &mut Raw, bytes: &mut [u8]) -> Res<()> {
    let before = board.slots[WRITER + INNER].finished.load(SeqCst);
    let by = raw.read(bytes, 0)?;
    let seen = values(bytes);
    let cut = |stamp: &u64| unstamp(*stamp).is_some_and(|(_, n)| is_cut(board, WRITER, n));
    if seen.iter().filter(|stamp| !cut(stamp)).count() > 1 {
        board.anomaly(false, || format!("{by}: a torn record: {}", names(&seen)));
    }
    let numbers = seen.iter().filter_map(|seen| unstamp(*seen));
    let oldest = numbers.map(|(_, number)| number).min().unwrap_or(0);
    if (oldest + 1..=before).any(|number| !is_cut(board, WRITER, number)) {
        board.anomaly(false, || {
            let done = names(&[stamp(WRITER, before)]);
            format!("{by}: a stale record: {} after {done}", names(&seen))
        });
    }
    Ok(())
}
