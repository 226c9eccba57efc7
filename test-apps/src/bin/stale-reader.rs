//! A reader of a mapping that still sees the old page after the direct write has returned, and 20 ms later.
//!
//! One process writes with O_DIRECT, one stores to bytes of the last page that the reader leaves out, and one
//! has that page mapped read-only, shared or private, and looks. In a quarter of the rounds nobody stores:
//! clean pages are dropped by the kernel, and the reader must be right there on the bare kernel too.

use pagefence_test_apps::args::Args;
use pagefence_test_apps::board::Board;
use pagefence_test_apps::collision::{
    AFTER, MAPPER, Plan, RETURNED, SIZE, WRITER, store_parts, write_parts,
};
use pagefence_test_apps::content::{describe, word};
use pagefence_test_apps::harness::run;
use pagefence_test_apps::random::Random;
use pagefence_test_apps::referee::Referee;
use pagefence_test_apps::sys::{Fd, Map, PAGE, spin};
use pagefence_test_apps::team::Team;
use pagefence_test_apps::{Res, Setup, Stop};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

const ABOUT: &str = "Reads through a read-only mapping, shared or private, after a direct write of the page has \
returned, at once and 20 ms later, and looks for the old content";

const READER: usize = 2;
const WAIT: Duration = Duration::from_millis(20);
/// In the plan: is the reader's mapping private?
const PRIVATE: usize = 16;
/// Marked by the reader when it has counted an anomaly in this round.
const STALE: usize = 16;

fn main() {
    run(Args::parse("stale-reader", ABOUT), body);
}

fn body(setup: &Setup) -> Result<(), Stop> {
    let unit = setup.direct_unit()?;
    let board = &*setup.board;
    let mut random = Random::new(setup.args.seed);
    let mut referee = Referee::new(setup, SIZE)?;
    let job = |worker| match worker {
        WRITER => write_parts(setup, Fd::pwrite),
        MAPPER => store_parts(setup),
        _ => read_parts(setup),
    };
    let mut team = Team::start(board, &setup.args, 3, &job)?;
    while !setup.over() {
        let mut plan = Plan::last_page(&mut random, unit);
        if random.one_in(4) {
            plan.stores = 0;
        }
        plan.publish(board);
        board.set_plan(PRIVATE, u64::from(random.one_in(2)));
        let cut = team.round(3)?;
        let round = board.round();
        let allow = plan.outcome(&mut referee.model, round, board.marked(AFTER, round), &cut);
        let cut = cut.contains(&true);
        let (offset, len) = if cut { (0, SIZE) } else { plan.window(round) };
        let verdict = referee.judge(offset, len, cut, &allow)?;
        match verdict.wrong() {
            // The reader has counted this round already.
            Some(_) if board.marked(STALE, round) => {
                board
                    .persistent
                    .fetch_add(u64::from(verdict.device.is_some()), SeqCst);
            }
            Some(wrong) => board.anomaly(verdict.device.is_some(), || {
                format!("{}: {wrong}", plan.describe())
            }),
            None => {}
        }
        board.done(3);
    }
    team.finish()?;
    referee.last_look()
}

fn read_parts(setup: &Setup) -> Res<()> {
    let (board, file) = (&*setup.board, setup.open_buffered()?);
    while let Some(round) = board.next_round(READER) {
        board.slots[READER].operation(round, || {
            let plan = Plan::read(board);
            let flags = if board.plan(PRIVATE) == 1 {
                libc::MAP_PRIVATE
            } else {
                libc::MAP_SHARED
            };
            let map = Map::file(&file, plan.page(), PAGE, libc::PROT_READ, flags)?;
            while !board.marked(RETURNED, round)
                && !board.finished(WRITER, round)
                && !board.stopped()
            {
                map.load(0);
                spin(Duration::from_micros(5));
                std::thread::yield_now();
            }
            if board.marked(RETURNED, round) {
                look(board, &plan, &map, round);
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn look(board: &Board, plan: &Plan, map: &Map, round: u64) {
    let at_once = stale(plan, map, round);
    if at_once.is_none() && !round.is_multiple_of(16) {
        return;
    }
    std::thread::sleep(WAIT);
    let later = stale(plan, map, round);
    let Some((offset, seen)) = at_once.or(later) else {
        return;
    };
    board.mark(STALE, round);
    board.anomaly(false, || {
        let kind = if board.plan(PRIVATE) == 1 {
            "private"
        } else {
            "shared"
        };
        let still = if later.is_some() {
            "20 ms later still"
        } else {
            "20 ms later no longer"
        };
        let stored = if plan.stores == 0 {
            ", nobody stored"
        } else {
            ""
        };
        format!(
            "{}{stored}: after it returned, the {kind} mapping shows {} at {offset}, {still}",
            plan.describe(),
            describe(seen)
        )
    });
}

/// A word of the page that isn't what the write has put there.
fn stale(plan: &Plan, map: &Map, round: u64) -> Option<(u64, u64)> {
    (plan.page()..plan.page() + PAGE)
        .step_by(8)
        .filter(|at| plan.writes(*at) && !plan.is_stored(*at))
        .map(|at| (at, map.load(at - plan.page())))
        .find(|(at, seen)| *seen != word(*at, round))
}
