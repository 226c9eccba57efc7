//! An innocent process whose fsync fails with EIO because two others collided.
//!
//! A direct writer and a mapper meet on one page. Two more processes never touch that part of the file: one
//! overwrites a region of its own, one appends, both buffered, and call fsync. The kernel tells everybody of
//! the failed invalidation as a writeback error.

use pagefence_test_apps::args::Args;
use pagefence_test_apps::collision::{MAPPER, MIB, Plan, WRITER, store_parts, write_parts};
use pagefence_test_apps::content::{Model, fill};
use pagefence_test_apps::harness::run;
use pagefence_test_apps::random::Random;
use pagefence_test_apps::sys::{Buffer, Fd, PAGE};
use pagefence_test_apps::team::Team;
use pagefence_test_apps::{Res, Setup, Stop};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

const ABOUT: &str = "Writes and appends where nobody else does and calls fsync, while two other processes collide \
elsewhere in the file, and counts EIO";

const OVERWRITER: usize = 2;
const APPENDER: usize = 3;
const OWN: u64 = 16 * MIB;
const OWN_LEN: u64 = 64 * 1024;

fn main() {
    run(Args::parse("innocent-fsync", ABOUT), body);
}

fn body(setup: &Setup) -> Result<(), Stop> {
    let unit = setup.direct_unit()?;
    let board = &*setup.board;
    let mut random = Random::new(setup.args.seed);
    let file = Fd::open(&setup.file(), libc::O_RDWR | libc::O_CREAT)?;
    let mut buffer = Buffer::new(OWN + OWN_LEN)?;
    fill(buffer.bytes(), 0, 0);
    file.pwrite(buffer.bytes(), 0)?;
    file.fsync()?;
    let job = |worker| match worker {
        WRITER => write_parts(setup, Fd::pwrite),
        MAPPER => store_parts(setup),
        _ => innocent(setup, worker),
    };
    let mut team = Team::start(board, &setup.args, 4, &job)?;
    while !setup.over() {
        Plan::last_page(&mut random, unit).publish(board);
        team.round(2)?;
        file.drop_cache();
    }
    team.finish()?;
    check_own_region(setup, &file)
}

fn innocent(setup: &Setup, worker: usize) -> Res<()> {
    let board = &*setup.board;
    let turns = setup.turns()?;
    let append = if worker == APPENDER {
        libc::O_APPEND
    } else {
        0
    };
    let file = Fd::open(&setup.file(), libc::O_RDWR | append)?;
    let mut buffer = Buffer::new(OWN_LEN)?;
    while !board.stopped() {
        let number = board.next_number(worker);
        fill(buffer.bytes(), OWN, number);
        board.slots[worker].operation(number, || {
            let _turn = turns.take()?;
            if worker == APPENDER {
                file.append(buffer.part(PAGE))?
            } else {
                file.pwrite(buffer.bytes(), OWN)?
            }
            if !file.fsync()? {
                let what = if worker == APPENDER {
                    "appends"
                } else {
                    "overwrites its own region"
                };
                board.anomaly(false, || {
                    format!("fsync gave EIO to the process that only {what}")
                });
            }
            Ok(())
        })?;
        board.done(1);
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

/// What the overwriter wrote last is on the device.
fn check_own_region(setup: &Setup, file: &Fd) -> Result<(), Stop> {
    let last = setup.board.slots[OVERWRITER].finished.load(SeqCst);
    if setup.board.was_cut(OVERWRITER, last) {
        return Ok(());
    }
    file.fsync()?;
    file.drop_cache();
    let mut buffer = Buffer::new(OWN_LEN)?;
    setup.open_direct()?.pread_all(buffer.bytes(), OWN)?;
    let mut model = Model::new(OWN + OWN_LEN, 0);
    model.write(OWN, OWN_LEN, last);
    if let Some(wrong) = model.check(OWN, buffer.bytes(), &|_, _| false) {
        setup.board.anomaly(true, || {
            format!("the innocent's own region, at the end: {}", wrong.explain())
        });
    }
    Ok(())
}
