//! One direct write and one store, in two processes, at nearly the same time: through a shared mapping, or by a buffered
//! write or a punched hole of some bytes.
//!
//! The store may go to the last page of the write or to the page behind it. In rounds: the referee draws a
//! plan, the writer writes, the mapper loads the page some time after the write began (so that it still
//! gets the old content) and stores. A stale page that is dirty can't be dropped when the write is done:
//! it hides the new data, and when it is written back it undoes them.

use crate::board::Board;
use crate::content::{Model, fill, word};
use crate::harness::{Setup, Stop, Turns};
use crate::random::Random;
use crate::referee::Referee;
use crate::sys::{Buffer, Fd, Map, PAGE, Res, spin};
use crate::team::Team;
use std::time::Duration;

pub const MIB: u64 = 1 << 20;
/// The longest write; long enough that a page can be loaded before its end is written.
pub const WRITE: u64 = 4 * MIB;
pub const SIZE: u64 = 8 * MIB;
/// Stores are told from writes of the same round by this.
pub const STORE_TAG: u64 = 1 << 38;

pub const WRITER: usize = 0;
pub const MAPPER: usize = 1;

/// Marks on the board.
pub const READY: usize = 0;
pub const BEGAN: usize = 1;
pub const RETURNED: usize = 2;
/// The write had returned before the store was made, so the store comes after it.
pub const AFTER: usize = 3;

/// When the mapper maps and unmaps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    /// Mapped before the write begins, kept beyond its end.
    Kept = 0,
    /// Mapped after the write began, kept beyond its end.
    Late = 1,
    /// Mapped after the write began, and unmapped as soon as the store is made.
    Brief = 2,
}

/// How the storing process stores.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    Mapping = 0,
    Write = 1,
    Punch = 2,
}

#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub write_at: u64,
    pub write_len: u64,
    pub store_at: u64,
    pub stores: u64,
    pub delay_us: u64,
    pub life: Life,
    /// MADV_HUGEPAGE on the mapping: the page cache takes in a large folio.
    pub huge: bool,
    pub by: By,
}

impl Plan {
    /// The store goes into the last page of the write, often beside its last byte.
    pub fn last_page(random: &mut Random, unit: u64) -> Plan {
        let page = random.between(WRITE / PAGE - 1, SIZE / PAGE - 1) * PAGE;
        let write_at = page + PAGE - WRITE;
        // A write that ends inside the page leaves bytes to store to that belong to nobody else.
        let rest = if unit < PAGE && random.one_in(2) {
            random.between(1, 7) * unit
        } else {
            0
        };
        let free = if rest > 0 { rest } else { PAGE };
        let stores = random.between(1, 4);
        let store_at = page + PAGE - free + random.between(0, free / 8 - stores) * 8;
        Plan {
            write_at,
            write_len: WRITE - rest,
            store_at,
            stores,
            huge: random.one_in(4),
            ..Plan::drawn(random)
        }
    }

    /// The store goes into the page behind the write, which shares a large folio with its end.
    pub fn next_page(random: &mut Random, _unit: u64) -> Plan {
        let mut page = WRITE;
        while page.is_multiple_of(2 * MIB) {
            page = random.between(WRITE / PAGE, SIZE / PAGE - 2) * PAGE;
        }
        let stores = random.between(1, 4);
        let store_at = page + random.between(0, PAGE / 8 - stores) * 8;
        Plan {
            write_at: page - WRITE,
            write_len: WRITE,
            store_at,
            stores,
            huge: true,
            ..Plan::drawn(random)
        }
    }

    fn drawn(random: &mut Random) -> Plan {
        let life = [Life::Kept, Life::Late, Life::Brief][random.between(0, 2) as usize];
        // From 1 to 2,048 µs, short ones as often as long ones: how long 4 MiB take is the device's affair.
        let longest = 1 << random.between(3, 11);
        Plan {
            write_at: 0,
            write_len: 0,
            store_at: 0,
            stores: 0,
            delay_us: random.between(1, longest),
            life,
            huge: false,
            by: By::Mapping,
        }
    }

    pub fn publish(&self, board: &Board) {
        let values = [
            self.write_at,
            self.write_len,
            self.store_at,
            self.stores,
            self.delay_us,
            self.life as u64,
            u64::from(self.huge),
            self.by as u64,
        ];
        for (at, value) in values.into_iter().enumerate() {
            board.set_plan(at, value);
        }
    }

    pub fn read(board: &Board) -> Plan {
        let life = match board.plan(5) {
            0 => Life::Kept,
            1 => Life::Late,
            _ => Life::Brief,
        };
        Plan {
            write_at: board.plan(0),
            write_len: board.plan(1),
            store_at: board.plan(2),
            stores: board.plan(3),
            delay_us: board.plan(4),
            life,
            huge: board.plan(6) != 0,
            by: match board.plan(7) {
                0 => By::Mapping,
                1 => By::Write,
                _ => By::Punch,
            },
        }
    }

    pub fn page(&self) -> u64 {
        self.store_at / PAGE * PAGE
    }

    pub fn writes(&self, offset: u64) -> bool {
        (self.write_at..self.write_at + self.write_len).contains(&offset)
    }

    pub fn stored(&self) -> impl Iterator<Item = u64> {
        (self.store_at..self.store_at + self.stores * 8).step_by(8)
    }

    /// What is stored there.
    pub fn value(&self, at: u64, round: u64) -> u64 {
        match self.by {
            By::Punch => 0,
            _ => word(at, round + STORE_TAG),
        }
    }

    pub fn is_stored(&self, offset: u64) -> bool {
        (self.store_at..self.store_at + self.stores * 8).contains(&offset)
    }

    /// Enters in the model what must be there after the round; what may be there besides is the answer.
    pub fn outcome<'p>(
        &'p self,
        model: &mut Model,
        round: u64,
        after: bool,
        cut: &[bool],
    ) -> impl Fn(u64, u64) -> bool + use<'p> {
        let (cut_write, cut_store) = (cut[WRITER], cut[MAPPER]);
        if !cut_write {
            model.write(self.write_at, self.write_len, round);
        }
        if !cut_store {
            // Written too, and the order isn't known: both are right, the model keeps the write's.
            for at in self
                .stored()
                .filter(|at| after || cut_write || !self.writes(*at))
            {
                model.set(at, self.value(at, round));
            }
        }
        let free_order = !after || cut_write || cut_store;
        move |at, seen| {
            (free_order
                && self.is_stored(at)
                && (cut_store || self.writes(at))
                && seen == self.value(at, round))
                || ((cut_write || (free_order && self.is_stored(at)))
                    && self.writes(at)
                    && seen == word(at, round))
        }
    }

    /// What to look at after a round: the folio that may be stale; now and then all that was written.
    pub fn window(&self, round: u64) -> (u64, u64) {
        let end = SIZE.min(self.write_at + WRITE + 64 * 1024);
        let start = match (round % 16, self.huge) {
            (0, _) => self.write_at,
            (_, true) => (self.page() - PAGE) / (2 * MIB) * 2 * MIB,
            (_, false) => self.page() - 128 * 1024,
        };
        (start, end - start)
    }

    pub fn describe(&self) -> String {
        let end = self.write_at + self.write_len;
        let page = if self.huge { "large folio" } else { "page" };
        format!(
            "direct write {}..{end}, store at {} after {} us ({page}, {:?}, {:?})",
            self.write_at, self.store_at, self.delay_us, self.by, self.life
        )
    }
}

/// How the direct write is made: all of these bytes, at this offset.
pub trait Write: Fn(&Fd, &[u8], u64) -> Res<()> {}
impl<W: Fn(&Fd, &[u8], u64) -> Res<()>> Write for W {}

/// The direct writer's process.
pub fn write_parts(setup: &Setup, write: impl Write) -> Res<()> {
    let (board, turns, file) = (&*setup.board, setup.turns()?, setup.open_direct()?);
    let mut buffer = Buffer::new(WRITE)?;
    while let Some(round) = board.next_round(WRITER) {
        board.slots[WRITER].operation(round, || {
            let plan = Plan::read(board);
            let bytes = buffer.part(plan.write_len);
            fill(bytes, plan.write_at, round);
            if plan.life == Life::Kept {
                board.await_mark(READY, round, MAPPER);
            }
            board.mark(BEGAN, round);
            let _turn = turns.take()?;
            write(&file, bytes, plan.write_at)?;
            board.mark(RETURNED, round);
            Ok(())
        })?;
    }
    Ok(())
}

/// The storing process.
pub fn store_parts(setup: &Setup) -> Res<()> {
    let (board, turns, file) = (&*setup.board, setup.turns()?, setup.open_buffered()?);
    let mut kept = None;
    while let Some(round) = board.next_round(MAPPER) {
        board.slots[MAPPER].operation(round, || {
            kept = None;
            kept = store(board, &turns, &file, round)?;
            Ok(())
        })?;
    }
    drop(kept);
    Ok(())
}

fn store(board: &Board, turns: &Turns, file: &Fd, round: u64) -> Res<Option<Map>> {
    let plan = Plan::read(board);
    let mut map = None;
    if plan.life == Life::Kept {
        map = Some(map_page(file, &plan)?);
        board.mark(READY, round);
    }
    board.await_mark(BEGAN, round, WRITER);
    spin(Duration::from_micros(plan.delay_us));
    let _turn = turns.take()?;
    let map = match map {
        Some(map) => map,
        None => map_page(file, &plan)?,
    };
    if board.marked(RETURNED, round) {
        board.mark(AFTER, round);
    }
    map.load(plan.store_at - plan.page());
    match plan.by {
        By::Mapping => plan
            .stored()
            .for_each(|at| map.store(at - plan.page(), plan.value(at, round))),
        By::Write => {
            let words: Vec<_> = plan.stored().map(|at| plan.value(at, round)).collect();
            // SAFETY: words are made of bytes.
            let (_, bytes, _) = unsafe { words.align_to() };
            file.pwrite(bytes, plan.store_at)?;
        }
        By::Punch => {
            let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
            file.fallocate(mode, plan.store_at, 8 * plan.stores)?;
        }
    }
    Ok((plan.life != Life::Brief).then_some(map))
}

fn map_page(file: &Fd, plan: &Plan) -> Res<Map> {
    let writable = match plan.by {
        By::Mapping => libc::PROT_WRITE,
        By::Write | By::Punch => 0,
    };
    let protection = libc::PROT_READ | writable;
    let map = Map::file(file, plan.page(), PAGE, protection, libc::MAP_SHARED)?;
    if plan.huge {
        map.advise(libc::MADV_HUGEPAGE);
    }
    Ok(map)
}

/// The whole of a program that looks for lost updates after such collisions.
pub fn look_for_lost_updates(
    setup: &Setup,
    draw: impl Fn(&mut Random, u64) -> Plan,
    write: impl Write,
) -> Result<(), Stop> {
    let unit = setup.direct_unit()?;
    let board = &*setup.board;
    let mut random = Random::new(setup.args.seed);
    let mut referee = Referee::new(setup, SIZE)?;
    let job = |worker| {
        if worker == WRITER {
            write_parts(setup, &write)
        } else {
            store_parts(setup)
        }
    };
    let mut team = Team::start(board, &setup.args, 2, &job)?;
    while !setup.over() {
        let plan = draw(&mut random, unit);
        plan.publish(board);
        let cut = team.round(2)?;
        let round = board.round();
        let allow = plan.outcome(&mut referee.model, round, board.marked(AFTER, round), &cut);
        let (offset, len) = plan.window(round);
        let cut = cut.contains(&true);
        let (offset, len) = if cut { (0, SIZE) } else { (offset, len) };
        referee.count(&plan.describe(), offset, len, cut, &allow)?;
        board.done(2);
    }
    team.finish()?;
    referee.last_look()
}
