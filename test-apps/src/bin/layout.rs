//! Punch (by a descriptor, and through a mapping), zero and collapse range, truncate down and up, and growth by a write past the end, against buffered
//! and direct readers and a writer next door.
//!
//! In rounds: one process changes the layout, one writes bytes below it (buffered or direct), two read the
//! changed range, buffered and direct, all the time. A read must show the file as it was before or as it is
//! after the change, whole; after the change has returned, only as it is after. At the end of the round every
//! byte is checked, in the cache and on the device: nothing stale, nothing lost.
//!
//! What the bare kernel gets wrong is the whole call: a buffered read in the middle of which pages go away.
//! Filesystems that know no collapse range (btrfs, tmpfs) are tested with the other changes.

use pagefence_test_apps::args::{Args, Control};
use pagefence_test_apps::board::Board;
use pagefence_test_apps::collision::RETURNED;
use pagefence_test_apps::content::{describe, fill, word, words};
use pagefence_test_apps::harness::{Turns, run};
use pagefence_test_apps::random::Random;
use pagefence_test_apps::sys::{Buffer, Fd, Map, PAGE};
use pagefence_test_apps::team::{PATIENCE, Team};
use pagefence_test_apps::{Res, Setup, Stop};
use std::time::{Duration, Instant};

const ABOUT: &str = "Punches, removes, zeroes and collapses ranges, truncates down and up and writes past the end, while \
other processes read there and write next door, buffered and direct, and looks for stale and lost bytes and for reads \
that show half a change";

const LAYOUT: usize = 0;
const WRITER: usize = 1;
const BUFFERED_READER: usize = 2;
const DIRECT_READER: usize = 3;
const WORKERS: usize = 4;

const MIB: u64 = 1 << 20;
const MOST: u64 = 4 * MIB;
/// Blocks of every filesystem here divide it.
const BLOCK: u64 = 64 * 1024;
const WRITE_TAG: u64 = 1 << 38;
const GROW_TAG: u64 = 1 << 37;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Change {
    Punch,
    /// By `madvise(MADV_REMOVE)` on a mapping.
    Remove,
    Zero,
    Collapse,
    Down,
    DownAndUp,
    Up,
    WritePastEnd,
}

const CHANGES: [Change; 8] = [
    Change::Punch,
    Change::Remove,
    Change::Zero,
    Change::Collapse,
    Change::Down,
    Change::DownAndUp,
    Change::Up,
    Change::WritePastEnd,
];

#[derive(Clone, Copy, Debug)]
struct Plan {
    change: Change,
    /// What is changed; growth starts at `start`, the old end, and makes `len` more bytes.
    start: u64,
    len: u64,
    size: u64,
    write_at: u64,
    write_len: u64,
    direct_write: bool,
    delay_us: u64,
}

/// What the file is at a moment of the round.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    Before,
    /// Truncated down and not yet up again.
    Between,
    After,
}

impl Plan {
    fn draw(random: &mut Random, collapse: bool) -> Plan {
        let change = match CHANGES[random.between(0, 7) as usize] {
            Change::Collapse if !collapse => Change::Punch,
            change => change,
        };
        let grows = matches!(change, Change::Up | Change::WritePastEnd);
        let size = if grows {
            MOST - random.between(1, MIB / 8) * 8
        } else {
            MOST
        };
        let (start, len) = match change {
            Change::Collapse => (random.between(8, 40) * BLOCK, random.between(1, 16) * BLOCK),
            Change::Up | Change::WritePastEnd => (size, random.between(1, MIB / 8) * 8),
            Change::Remove => (
                random.between(MIB / 2 / PAGE, MIB * 5 / 2 / PAGE) * PAGE,
                random.between(1, MIB / PAGE) * PAGE,
            ),
            _ => (
                random.between(MIB / 16, MIB * 5 / 16) * 8,
                random.between(1, MIB / 8) * 8,
            ),
        };
        // The writer's bytes end where the changed page begins, or a little below.
        let end = (start / PAGE - random.between(0, 2)) * PAGE;
        let write_len = random.between(1, 128) * PAGE;
        let write_at = end.saturating_sub(write_len);
        let delay_us = random.between(0, 300);
        let direct_write = random.one_in(2);
        Plan {
            change,
            start,
            len,
            size,
            write_at,
            write_len: end - write_at,
            direct_write,
            delay_us,
        }
    }

    fn publish(&self, board: &Board) {
        let change = CHANGES
            .iter()
            .position(|change| *change == self.change)
            .unwrap_or(0) as u64;
        let direct = u64::from(self.direct_write);
        let values = [
            change,
            self.start,
            self.len,
            self.size,
            self.write_at,
            self.write_len,
            direct,
            self.delay_us,
        ];
        values
            .into_iter()
            .enumerate()
            .for_each(|(at, value)| board.set_plan(at, value));
    }

    fn read(board: &Board) -> Plan {
        let [
            change,
            start,
            len,
            size,
            write_at,
            write_len,
            direct,
            delay_us,
        ] = std::array::from_fn(|at| board.plan(at));
        let change = CHANGES[change as usize % CHANGES.len()];
        Plan {
            change,
            start,
            len,
            size,
            write_at,
            write_len,
            direct_write: direct == 1,
            delay_us,
        }
    }

    fn size_at(&self, moment: Moment) -> u64 {
        match (self.change, moment) {
            (_, Moment::Before)
            | (Change::Punch | Change::Remove | Change::Zero, _)
            | (Change::DownAndUp, Moment::After) => self.size,
            (Change::Collapse, _) => self.size - self.len,
            (Change::Down | Change::DownAndUp, _) => self.start,
            (Change::Up | Change::WritePastEnd, _) => self.size + self.len,
        }
    }

    /// The word at an offset, apart from the writer's.
    fn word_at(&self, at: u64, moment: Moment, round: u64) -> u64 {
        if moment == Moment::Before || at < self.start {
            return word(at, round);
        }
        match self.change {
            Change::Punch | Change::Remove | Change::Zero if at < self.start + self.len => 0,
            Change::Punch | Change::Remove | Change::Zero => word(at, round),
            Change::Collapse => word(at + self.len, round),
            Change::WritePastEnd if at >= self.size + self.len - self.written_past() => {
                word(at, round + GROW_TAG)
            }
            _ => 0,
        }
    }

    /// How much of the growth is written; what lies between is a gap.
    fn written_past(&self) -> u64 {
        self.len.min(PAGE)
    }

    fn is_written(&self, at: u64) -> bool {
        (self.write_at..self.write_at + self.write_len).contains(&at)
    }

    /// Does a read of `bytes` at `from` show this moment?
    fn mismatch(
        &self,
        from: u64,
        bytes: &[u8],
        asked: u64,
        moment: Moment,
        round: u64,
    ) -> Option<String> {
        let right = self.size_at(moment).saturating_sub(from).min(asked);
        if bytes.len() as u64 != right {
            return Some(format!("{} bytes instead of {right}", bytes.len()));
        }
        words(bytes)
            .enumerate()
            .map(|(index, seen)| (from + index as u64 * 8, seen))
            .find_map(|(at, seen)| {
                let expected = self.word_at(at, moment, round);
                (seen != expected).then(|| {
                    format!(
                        "at {at} {} instead of {}",
                        describe(seen),
                        describe(expected)
                    )
                })
            })
    }
}

fn main() {
    run(Args::parse("layout", ABOUT), body);
}

fn body(setup: &Setup) -> Result<(), Stop> {
    if setup.args.control == Some(Control::Buffered) {
        return Err(Stop::NotHere(
            "buffered reads alone show half a change on some filesystems: use --control serial"
                .into(),
        ));
    }
    setup.direct_unit()?;
    let board = &*setup.board;
    let file = Fd::open(&setup.file(), libc::O_RDWR | libc::O_CREAT)?;
    let direct = setup.open_direct()?;
    let collapse = knows_collapse(&file)?;
    let mut random = Random::new(setup.args.seed);
    let mut buffer = Buffer::new(MOST + 2 * MIB)?;
    let job = |worker| match worker {
        LAYOUT => change_parts(setup),
        WRITER => write_parts(setup),
        _ => read_parts(setup, worker),
    };
    let mut team = Team::start(board, &setup.args, WORKERS, &job)?;
    while !setup.over() {
        let plan = Plan::draw(&mut random, collapse);
        plan.publish(board);
        let round = board.round() + 1;
        fill(buffer.bytes(), 0, round);
        file.truncate(0)?;
        file.pwrite(buffer.part(plan.size), 0)?;
        if random.one_in(2) {
            file.fsync()?;
            file.drop_cache();
        }
        let cut = team.round(WORKERS)?;
        judge(board, &file, &direct, &mut buffer, &plan, &cut)?;
        board.done(2);
    }
    team.finish()
}

fn knows_collapse(file: &Fd) -> Res<bool> {
    file.truncate(4 * BLOCK)?;
    file.fallocate(libc::FALLOC_FL_COLLAPSE_RANGE, 0, BLOCK)
}

fn judge(
    board: &Board,
    file: &Fd,
    direct: &Fd,
    buffer: &mut Buffer,
    plan: &Plan,
    cut: &[bool],
) -> Res<()> {
    let round = board.round();
    let room = buffer.bytes().len() as u64;
    let got = file.pread(buffer.part(room), 0)? as u64;
    let cache = fault(plan, buffer.part(got), round, cut);
    file.fsync()?;
    file.drop_cache();
    let got = direct.pread(buffer.part(room), 0)? as u64;
    let device = fault(plan, buffer.part(got), round, cut);
    if let Some(text) = cache.as_ref().or(device.as_ref()) {
        board.anomaly(device.is_some(), || {
            format!("after the round, {text}; {plan:?}")
        });
    }
    Ok(())
}

/// What is wrong with the whole file after the round.
fn fault(plan: &Plan, bytes: &[u8], round: u64, cut: &[bool]) -> Option<String> {
    // A change cut short by a kill says nothing of the bytes that it was to change.
    let sure = if cut[LAYOUT] { plan.start } else { u64::MAX };
    let size = bytes.len() as u64;
    if !cut[LAYOUT] && size != plan.size_at(Moment::After) {
        return Some(format!(
            "size {size} instead of {}",
            plan.size_at(Moment::After)
        ));
    }
    words(bytes)
        .enumerate()
        .map(|(index, seen)| (index as u64 * 8, seen))
        .find_map(|(at, seen)| {
            let before = plan.word_at(at, Moment::After, round);
            let right = match plan.is_written(at) {
                true if cut[WRITER] => seen == before || seen == word(at, round + WRITE_TAG),
                true => seen == word(at, round + WRITE_TAG),
                false => seen == before || at >= sure,
            };
            (!right).then(|| format!("at {at} {} instead of {}", describe(seen), describe(before)))
        })
}

fn change_parts(setup: &Setup) -> Res<()> {
    let (board, turns, file) = (&*setup.board, setup.turns()?, setup.open_buffered()?);
    let mut buffer = Buffer::new(PAGE)?;
    while let Some(round) = board.next_round(LAYOUT) {
        board.slots[LAYOUT].operation(round, || {
            let plan = Plan::read(board);
            std::thread::sleep(Duration::from_micros(plan.delay_us));
            let _turn = turns.take()?;
            change(&file, &plan, buffer.part(plan.written_past()), round)?;
            board.mark(RETURNED, round);
            Ok(())
        })?;
    }
    Ok(())
}

fn change(file: &Fd, plan: &Plan, page: &mut [u8], round: u64) -> Res<()> {
    let keep = libc::FALLOC_FL_KEEP_SIZE;
    let known = match plan.change {
        Change::Punch => file.fallocate(libc::FALLOC_FL_PUNCH_HOLE | keep, plan.start, plan.len)?,
        Change::Remove => {
            let both = libc::PROT_READ | libc::PROT_WRITE;
            let map = Map::file(file, plan.start, plan.len, both, libc::MAP_SHARED)?;
            map.remove().map(|()| true)?
        }
        // Where it isn't known (tmpfs), a punched hole reads the same.
        Change::Zero => {
            file.fallocate(libc::FALLOC_FL_ZERO_RANGE | keep, plan.start, plan.len)?
                || file.fallocate(libc::FALLOC_FL_PUNCH_HOLE | keep, plan.start, plan.len)?
        }
        Change::Collapse => file.fallocate(libc::FALLOC_FL_COLLAPSE_RANGE, plan.start, plan.len)?,
        Change::Down => file.truncate(plan.start).map(|()| true)?,
        Change::DownAndUp => file
            .truncate(plan.start)
            .and_then(|()| file.truncate(plan.size))
            .map(|()| true)?,
        Change::Up => file.truncate(plan.size + plan.len).map(|()| true)?,
        Change::WritePastEnd => {
            let at = plan.size + plan.len - page.len() as u64;
            fill(page, at, round + GROW_TAG);
            file.pwrite(page, at).map(|()| true)?
        }
    };
    if known {
        Ok(())
    } else {
        Err(format!("{:?} isn't known here", plan.change))
    }
}

fn write_parts(setup: &Setup) -> Res<()> {
    let (board, turns) = (&*setup.board, setup.turns()?);
    let (buffered, direct) = (setup.open_buffered()?, setup.open_direct()?);
    let mut buffer = Buffer::new(MIB)?;
    while let Some(round) = board.next_round(WRITER) {
        board.slots[WRITER].operation(round, || {
            let plan = Plan::read(board);
            let bytes = buffer.part(plan.write_len);
            fill(bytes, plan.write_at, round + WRITE_TAG);
            let _turn = turns.take()?;
            let file = if plan.direct_write {
                &direct
            } else {
                &buffered
            };
            file.pwrite(bytes, plan.write_at)
        })?;
    }
    Ok(())
}

fn read_parts(setup: &Setup, me: usize) -> Res<()> {
    let (board, turns) = (&*setup.board, setup.turns()?);
    let file = if me == DIRECT_READER {
        setup.open_direct()?
    } else {
        setup.open_buffered()?
    };
    let mut buffer = Buffer::new(2 * MIB)?;
    while let Some(round) = board.next_round(me) {
        board.slots[me].operation(round, || {
            let plan = Plan::read(board);
            while !board.finished(LAYOUT, round) && !board.stopped() {
                read_once(board, &turns, &file, &mut buffer, me, &plan)?;
                // The change needs the processor too.
                std::thread::sleep(Duration::from_micros(30));
            }
            read_once(board, &turns, &file, &mut buffer, me, &plan)
        })?;
    }
    Ok(())
}

fn read_once(
    board: &Board,
    turns: &Turns,
    file: &Fd,
    buffer: &mut Buffer,
    me: usize,
    plan: &Plan,
) -> Res<()> {
    let round = board.round();
    let from = plan.start / PAGE * PAGE;
    let asked = (plan.len + PAGE).next_multiple_of(PAGE).min(MIB);
    let after = board.marked(RETURNED, round);
    let got = {
        let _turn = turns.take()?;
        file.pread(buffer.part(asked), from)?
    };
    board.done(1);
    let bytes = buffer.part(got as u64);
    let mismatch = |moment| plan.mismatch(from, bytes, asked, moment, round);
    let Some(text) = mismatch(Moment::After) else {
        return Ok(());
    };
    if !after && (mismatch(Moment::Before).is_none() || mismatch(Moment::Between).is_none()) {
        return Ok(());
    }
    // A write isn't a change of layout: in the middle of it a reader may see a part. A change that a kill has
    // cut short may have happened in part.
    if (!after && plan.change == Change::WritePastEnd) || cut_short(board, round) {
        return Ok(());
    }
    board.anomaly(false, || {
        let mode = if me == BUFFERED_READER {
            "buffered"
        } else {
            "direct"
        };
        let when = if after {
            "after the change had returned"
        } else {
            "while the file changed: neither before nor after"
        };
        format!("{mode} read of {asked} at {from}, {when}: {text}; {plan:?}")
    });
    Ok(())
}

/// Was the change of this round cut short by a kill? Known when it is over.
fn cut_short(board: &Board, round: u64) -> bool {
    let start = Instant::now();
    while !board.finished(LAYOUT, round) && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_micros(100));
    }
    board.was_cut(LAYOUT, round)
}
