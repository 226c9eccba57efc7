//! Direct I/O whose memory is a mapping of the same file.
//!
//! One process stores new content through a mapping and writes it elsewhere in the file with O_DIRECT,
//! straight from that mapping. Another one reads with O_DIRECT into a mapping of the pages behind that
//! write's range: its read is a store to those pages. All ranges are disjoint, so everything must be there.
//! In a third of the rounds the writer's memory is itself what lies behind its target, in one large folio
//! with its end.

use pagefence_test_apps::args::Args;
use pagefence_test_apps::board::Board;
use pagefence_test_apps::collision::{BEGAN, MIB, READY};
use pagefence_test_apps::content::{Model, fill, word};
use pagefence_test_apps::harness::{Turns, run};
use pagefence_test_apps::random::Random;
use pagefence_test_apps::referee::Referee;
use pagefence_test_apps::sys::{Buffer, Fd, Map, PAGE, spin};
use pagefence_test_apps::team::Team;
use pagefence_test_apps::{Res, Setup, Stop};
use std::time::Duration;

const ABOUT: &str = "Reads with O_DIRECT into a mapping of the same file, and writes with O_DIRECT from a mapping \
of the same file, in two processes, and looks for lost bytes";

const WRITER: usize = 0;
const READER: usize = 1;
/// The file: where is written to, memory that is written from, what is read from.
const TARGETS: u64 = 8 * MIB;
const MEMORY: u64 = TARGETS;
const MEMORY_LEN: u64 = 4 * MIB;
const SOURCE: u64 = MEMORY + MEMORY_LEN;
const SOURCE_LEN: u64 = 16 * PAGE;
const SIZE: u64 = SOURCE + SOURCE_LEN;
const SOURCE_TAG: u64 = 1 << 38;

#[derive(Clone, Copy)]
struct Plan {
    /// The end of what is written, and the start of the pages that are read into.
    border: u64,
    /// Where the writer's memory lies in the file, and how much of it is written to just below the border.
    memory: u64,
    len: u64,
    /// How much is read, and where to.
    read_len: u64,
    read_to: u64,
    delay_us: u64,
}

impl Plan {
    fn draw(random: &mut Random) -> Plan {
        let mut border = 4 * MIB;
        while border.is_multiple_of(2 * MIB) {
            border = random.between(4 * MIB / PAGE, (TARGETS - MIB) / PAGE) * PAGE;
        }
        let read_len = random.between(1, 16) * PAGE;
        let longest = 1 << random.between(3, 11);
        let delay_us = random.between(1, longest);
        if random.one_in(3) {
            // The memory is next to the target; the reader works at the end of what belongs to nobody then.
            let read_to = MEMORY + MEMORY_LEN - read_len;
            return Plan {
                border,
                memory: border,
                len: MIB / 2,
                read_len,
                read_to,
                delay_us,
            };
        }
        Plan {
            border,
            memory: MEMORY,
            len: MEMORY_LEN,
            read_len,
            read_to: border,
            delay_us,
        }
    }

    fn publish(&self, board: &Board) {
        let values = [
            self.border,
            self.memory,
            self.len,
            self.read_len,
            self.read_to,
            self.delay_us,
        ];
        values
            .into_iter()
            .enumerate()
            .for_each(|(at, value)| board.set_plan(at, value));
    }

    fn read(board: &Board) -> Plan {
        let [border, memory, len, read_len, read_to, delay_us] =
            std::array::from_fn(|at| board.plan(at));
        Plan {
            border,
            memory,
            len,
            read_len,
            read_to,
            delay_us,
        }
    }

    fn target(&self) -> u64 {
        self.border - self.len
    }

    /// As for every plan: enters what must be there, and answers what may be there besides.
    fn outcome(
        self,
        model: &mut Model,
        round: u64,
        cut: &[bool],
    ) -> impl Fn(u64, u64) -> bool + use<> {
        let (cut_write, cut_read) = (cut[WRITER], cut[READER]);
        // A write cut short may have taken its memory's old content too.
        let old: Vec<u64> = (0..if cut_write { self.len } else { 0 })
            .step_by(8)
            .map(|at| model.get(self.memory + at))
            .collect();
        if !cut_write {
            model.write(self.memory, self.len, round);
            for at in (0..self.len).step_by(8) {
                model.set(self.target() + at, word(self.memory + at, round));
            }
        }
        if !cut_read {
            for at in (0..self.read_len).step_by(8) {
                model.set(self.read_to + at, word(SOURCE + at, round + SOURCE_TAG));
            }
        }
        let within =
            |at: u64, start: u64, len: u64| at.checked_sub(start).filter(|inner| *inner < len);
        move |at, seen| {
            let written = within(at, self.target(), self.len).filter(|_| cut_write);
            let stored = within(at, self.memory, self.len).filter(|_| cut_write);
            let taken = within(at, self.read_to, self.read_len).filter(|_| cut_read);
            written.is_some_and(|inner| {
                seen == word(self.memory + inner, round)
                    || old.get(inner as usize / 8) == Some(&seen)
            }) || stored.is_some_and(|_| seen == word(at, round))
                || taken.is_some_and(|inner| seen == word(SOURCE + inner, round + SOURCE_TAG))
        }
    }

    fn describe(&self) -> String {
        let (target, border, memory) = (self.target(), self.border, self.memory);
        format!(
            "direct write {target}..{border} from a mapping of {memory}, direct read into a mapping of {}",
            self.read_to
        )
    }
}

fn main() {
    run(Args::parse("own-mapping", ABOUT), body);
}

fn body(setup: &Setup) -> Result<(), Stop> {
    setup.direct_unit()?;
    let board = &*setup.board;
    let mut random = Random::new(setup.args.seed);
    let mut referee = Referee::new(setup, SIZE)?;
    // Direct, so that the source is clean: a direct read would first wait for it to be written back.
    let source = setup.open_direct()?;
    let mut buffer = Buffer::new(SOURCE_LEN)?;
    let job = |worker| {
        if worker == WRITER {
            write_parts(setup)
        } else {
            read_parts(setup)
        }
    };
    let mut team = Team::start(board, &setup.args, 2, &job)?;
    while !setup.over() {
        let plan = Plan::draw(&mut random);
        plan.publish(board);
        let round = board.round() + 1;
        fill(buffer.bytes(), SOURCE, round + SOURCE_TAG);
        source.pwrite(buffer.bytes(), SOURCE)?;
        referee.model.write(SOURCE, SOURCE_LEN, round + SOURCE_TAG);
        let cut = team.round(2)?;
        let allow = plan.outcome(&mut referee.model, round, &cut);
        let cut = cut.contains(&true);
        let folio = (plan.border - PAGE) / (2 * MIB) * 2 * MIB;
        let (offset, len) = if cut || round.is_multiple_of(16) {
            (0, SIZE)
        } else {
            (folio, plan.border + MIB - folio)
        };
        referee.count(&plan.describe(), offset, len, cut, &allow)?;
        board.done(2);
    }
    team.finish()?;
    referee.last_look()
}

fn map(file: &Fd, offset: u64, len: u64, advice: i32) -> Res<Map> {
    let map = Map::file(
        file,
        offset,
        len,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED,
    )?;
    map.advise(advice);
    Ok(map)
}

/// Brings the memory into the page cache page by page: it makes many small requests of the direct write, so
/// that its end is long in coming.
fn small_pages(buffered: &Fd, page: &mut Buffer, plan: &Plan, round: u64) -> Res<()> {
    for at in (plan.memory..plan.memory + plan.len).step_by(PAGE as usize) {
        fill(page.bytes(), at, round);
        buffered.pwrite(page.bytes(), at)?;
    }
    Ok(())
}

fn write_parts(setup: &Setup) -> Res<()> {
    let (board, turns, file) = (&*setup.board, setup.turns()?, setup.open_direct()?);
    let (buffered, mut page) = (setup.open_buffered()?, Buffer::new(PAGE)?);
    while let Some(round) = board.next_round(WRITER) {
        board.slots[WRITER].operation(round, || {
            let plan = Plan::read(board);
            if plan.memory == MEMORY {
                small_pages(&buffered, &mut page, &plan, round)?;
            }
            let memory = map(&file, plan.memory, plan.len, libc::MADV_HUGEPAGE)?;
            for at in (0..plan.len).step_by(8) {
                memory.store(at, word(plan.memory + at, round));
            }
            board.await_mark(READY, round, READER);
            board.mark(BEGAN, round);
            let _turn = turns.take()?;
            file.pwrite_from(memory.pointer(), plan.len as usize, plan.target())
        })?;
    }
    Ok(())
}

fn read_parts(setup: &Setup) -> Res<()> {
    let (board, turns, file) = (&*setup.board, setup.turns()?, setup.open_direct()?);
    while let Some(round) = board.next_round(READER) {
        board.slots[READER].operation(round, || read_part(board, &turns, &file, round))?;
    }
    Ok(())
}

fn read_part(board: &Board, turns: &Turns, file: &Fd, round: u64) -> Res<()> {
    let plan = Plan::read(board);
    let memory = map(file, plan.read_to, plan.read_len, libc::MADV_HUGEPAGE)?;
    board.mark(READY, round);
    board.await_mark(BEGAN, round, WRITER);
    spin(Duration::from_micros(plan.delay_us));
    let _turn = turns.take()?;
    // Loaded before the read, as a program does that has used this memory.
    memory.load(0);
    match file.pread_to(memory.pointer(), plan.read_len as usize, SOURCE)? {
        n if n as u64 == plan.read_len => Ok(()),
        n => Err(format!(
            "direct read into a mapping gave {n} of {}",
            plan.read_len
        )),
    }
}
