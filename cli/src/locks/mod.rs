//! `pagefence locks`: who holds which ranges, and who waits for whom.

mod ages;
pub mod args;
pub mod render;

use std::path::Path;

use lock_table::{Mode, SlotInfo, SlotState, Snapshot, TableError, conflict};
use serde::Serialize;

pub use ages::Ages;
use args::LocksArgs;

use crate::failure::Failure;
use crate::say::{Shown, answer};
use crate::scan::owner::Users;
use crate::tables::files::{Named, Names};
use crate::tables::live::{self, Live, Member, Moment, thread_name};
use crate::tables::mapped::Mapped;

/// Somebody waits.
const WAITING: i32 = 1;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Holds,
    /// As calls on a file do that is used in one mode only: nothing is held.
    Announced,
    Waits,
}

#[derive(Serialize)]
pub struct Lock {
    pub slot: u32,
    #[serde(flatten)]
    pub who: Member,
    /// None: an asynchronous request, which no thread is in the middle of.
    pub thread: Option<u32>,
    /// If it has another one than its process.
    pub thread_name: Option<String>,
    pub file: Named,
    pub access: &'static str,
    pub atomic: bool,
    pub first: u64,
    /// None: to the end of the file, wherever that will be.
    pub last: Option<u64>,
    pub state: State,
    pub at_least_seconds: f64,
    /// Whom it waits for now comes first.
    pub blocked_by: Vec<Blocker>,
}

#[derive(Clone, Serialize)]
pub struct Blocker {
    pub slot: u32,
    pub pid: u32,
    pub program: String,
    pub thread: Option<u32>,
    #[serde(skip)]
    pub alive: bool,
    #[serde(skip)]
    pub stopped: bool,
}

#[derive(Serialize)]
struct Report {
    table: String,
    verdict: String,
    hint: String,
    complete: bool,
    locks: Vec<Lock>,
}

pub fn locks(arguments: &LocksArgs) -> Result<i32, Failure> {
    let (path, live) = live::open(arguments.table.as_deref())?;
    let report = match &live {
        Some(live) => report(live, arguments)?,
        None => Report {
            table: crate::say::plain(path.as_os_str().as_encoded_bytes()),
            verdict: format!("{}: no fenced program has made it yet", path.shown()),
            hint: String::new(),
            complete: true,
            locks: Vec::new(),
        },
    };
    match arguments.json {
        true => answer(serde_json::to_string(&report).unwrap_or_default())?,
        false => answer(render::page(&report))?,
    }
    let waits = |lock: &Lock| lock.state == State::Waits && lock.at_least_seconds > 0.0;
    Ok(if report.locks.iter().any(waits) {
        WAITING
    } else {
        0
    })
}

fn report(live: &Live, arguments: &LocksArgs) -> Result<Report, Failure> {
    let (users, mut ages) = (Users::read(), Ages::default());
    let refused = |error: Box<TableError>| live::refused(&error);
    let mapped = Mapped::look(std::slice::from_ref(&live.path));
    ages.look(&live.look(&users, &mapped).map_err(refused)?);
    std::thread::sleep(arguments.over);
    let moment = live.look(&users, &mapped).map_err(refused)?;
    ages.look(&moment);
    let mut names = Names::default();
    let locks = all(&moment, &ages, &mut names);
    Ok(Report {
        table: crate::say::plain(live.path.as_os_str().as_encoded_bytes()),
        verdict: verdict(&live.path, &locks),
        hint: hint(&live.path, &locks),
        complete: !mapped.incomplete,
        locks,
    })
}

/// Every claim of a moment, by file and range; names that aren't known yet are looked for.
pub fn all(moment: &Moment, ages: &Ages, names: &mut Names) -> Vec<Lock> {
    let slots = &moment.snapshot.slots;
    names.learn(
        slots.iter().map(|slot| slot.claim.file),
        &moment.processes(),
    );
    let mut locks: Vec<Lock> = slots
        .iter()
        .map(|slot| lock(slot, moment, ages, names))
        .collect();
    locks.sort_by(|a, b| (&a.file, a.first, a.slot).cmp(&(&b.file, b.first, b.slot)));
    locks
}

fn lock(slot: &SlotInfo, moment: &Moment, ages: &Ages, names: &Names) -> Lock {
    let who = moment.member(slot.process);
    let thread = (slot.thread != 0).then_some(slot.thread);
    let state = match slot.state {
        SlotState::Choosing | SlotState::Waiting => State::Waits,
        SlotState::Held if takes_range(slot, &moment.snapshot) => State::Holds,
        SlotState::Held => State::Announced,
    };
    Lock {
        slot: slot.index,
        thread_name: thread
            .filter(|_| who.is_found)
            .and_then(|thread| thread_name(who.pid, thread)),
        thread,
        who,
        file: names.of(slot.claim.file),
        access: slot.claim.mode.name(),
        atomic: slot.claim.atomic,
        first: slot.claim.first,
        last: Some(slot.claim.last).filter(|last| *last != u64::MAX),
        at_least_seconds: ages.at_least(slot.index, moment).as_secs_f64(),
        blocked_by: match state {
            State::Waits => blockers(slot, moment),
            State::Holds | State::Announced => Vec::new(),
        },
        state,
    }
}

/// Whether calls like this one take ranges on this file now. One that only announces itself looks the same, and which it is
/// its owner alone knows; but a claim that somebody waits for is as good as a range.
fn takes_range(slot: &SlotInfo, snapshot: &Snapshot) -> bool {
    let mut waiting = snapshot.slots.iter();
    if waiting.any(|other| other.waiting_on == Some(slot.index)) {
        return true;
    }
    let mut uses = snapshot.uses.iter();
    let of_it = uses.find(|one| one.process == slot.process && one.file == slot.claim.file);
    of_it.is_some_and(|one| {
        let observes = one.bits & lock_table::USE_OBSERVE != 0;
        let goes_without = match slot.claim.mode {
            Mode::DirectRead | Mode::DirectWrite => one.direct_alone,
            Mode::BufferedRead | Mode::BufferedWrite | Mode::Layout => false,
        };
        one.locks && !observes && !goes_without
    })
}

/// Those in the way of one who waits: who holds, and who waits before him.
fn blockers(slot: &SlotInfo, moment: &Moment) -> Vec<Blocker> {
    let is_before = |other: &SlotInfo| match other.state {
        SlotState::Held => true,
        SlotState::Waiting => slot.state == SlotState::Waiting && other.ticket < slot.ticket,
        SlotState::Choosing => false,
    };
    let others = moment.snapshot.slots.iter();
    let mut all: Vec<&SlotInfo> = others
        .filter(|other| other.index != slot.index && conflict(&other.claim, &slot.claim))
        .filter(|other| is_before(other))
        .collect();
    all.sort_by_key(|other| {
        let now = slot.waiting_on == Some(other.index);
        (!now, other.state != SlotState::Held, other.ticket)
    });
    let blocker = |other: &SlotInfo| {
        let who = moment.member(other.process);
        Blocker {
            slot: other.index,
            pid: who.pid,
            program: who.program,
            thread: (other.thread != 0).then_some(other.thread),
            alive: who.alive,
            stopped: who.stopped,
        }
    };
    all.into_iter().map(blocker).collect()
}

fn verdict(path: &Path, locks: &[Lock]) -> String {
    let count = |state| locks.iter().filter(|lock| lock.state == state).count();
    let (held, waiting) = (count(State::Holds), count(State::Waits));
    let announced = match count(State::Announced) {
        0 => String::new(),
        more => format!(", {more} announced"),
    };
    let files: std::collections::BTreeSet<_> = locks.iter().map(|lock| &lock.file).collect();
    let files = match files.len() {
        0 => String::new(),
        1 => " in 1 file".to_owned(),
        more => format!(" in {more} files"),
    };
    format!(
        "{}: {held} held, {waiting} waiting{announced}{files}",
        path.shown()
    )
}

/// Who keeps others waiting and won't go on by himself.
fn hint(path: &Path, locks: &[Lock]) -> String {
    let mut blockers = locks.iter().flat_map(|lock| &lock.blocked_by);
    if let Some(stopped) = blockers.clone().find(|one| one.stopped) {
        return format!(
            "{} (pid {}) is stopped by a signal in the middle of a call, and others wait for it: kill -CONT {}",
            stopped.program, stopped.pid, stopped.pid
        );
    }
    let dead = locks.iter().any(|lock| !lock.who.alive) || blockers.any(|one| !one.alive);
    match dead {
        true => format!(
            "what the dead have left goes with the next who meets it; at once: pagefence table repair {}",
            path.shown()
        ),
        false => String::new(),
    }
}
