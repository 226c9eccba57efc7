//! One call's wait, over all its ranges: how long each sleep is, what is asked after it, and why the wait stops.

use core::sync::atomic::Ordering::{AcqRel, Relaxed};

use crate::Table;
use crate::cells::SlotCell;
use crate::primitive::{CHECKED, Slept, now_ns, spin_loop};
use crate::reading::{Blocker, Found};
use crate::scan::Own;
use crate::slots::{Slot, word};

const MS: u32 = 1_000_000;
/// Before sleeping, look this often: most ranges are held for less than a sleep and a wake cost.
const SPINS: u32 = if CHECKED { 0 } else { 200 };
/// The first sleep and the longest. Each end of one asks whether the blocker lives.
const SLEEP: (u32, u32) = (10 * MS, 50 * MS);
/// A circle that was found is looked for again after so long.
pub(crate) const AGAIN: u32 = SLEEP.0;
/// The first poll and the longest pause between two. Each costs the place in the queue, so they grow apart.
const POLL: (u32, u32) = (50 * MS, 800 * MS);
/// When deadlocks are first looked for, and how often after.
const DEADLOCK: (u32, u32) = (1000 * MS, 500 * MS);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// 0 if nobody was in the way.
    pub waited_ns: u64,
    pub first_blocker: Option<Blocker>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotHeld {
    TimedOut(Blocker),
    /// The blocker waits, perhaps by way of others, for something that the calling thread holds.
    Deadlock(Blocker),
    /// The blocker is one of `mine`: nobody waits for himself.
    Nested(Blocker),
    /// `poll` said so, or `hold_all` was given fewer slots than claims.
    GaveUp,
    /// The table is damaged and excludes nobody any more: pass through.
    Poisoned,
    /// The slot isn't this process's (a signal handler may have forked meanwhile), or isn't free: take another one.
    NotOurs,
}

impl NotHeld {
    /// Who is in the way, if somebody is.
    pub fn blocker(&self) -> Option<&Blocker> {
        match self {
            NotHeld::TimedOut(b) | NotHeld::Deadlock(b) | NotHeld::Nested(b) => Some(b),
            NotHeld::GaveUp | NotHeld::Poisoned | NotHeld::NotOurs => None,
        }
    }
}

/// Why a wait stops. Who is in the way stands in `Wait`: this is handed up through frames on small stacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    Poll,
    TimedOut,
    Deadlock,
    Nested,
    Poisoned,
    NotOurs,
    /// Who is in the way is dead (`Wait::dead`). Not a reason to stop, but the cleaning takes more of a small stack
    /// than is left so deep in a wait.
    Dead,
}

/// One call's wait, over all its ranges.
pub(crate) struct Wait<'a> {
    pub own: Own<'a>,
    deadline: u64,
    started: u64,
    /// Who was in the way first; once the wait has stopped, who was when it did.
    blocker: Option<Blocker>,
    /// The process to clean up after.
    pub dead: u32,
    sleep: u32,
    poll_pause: u32,
    next_ask: u64,
    next_poll: u64,
    pub next_search: u64,
    /// The chain that the last search found closed, and how often in a row.
    pub cycle: u64,
    pub cycle_seen: u32,
}

impl<'a> Wait<'a> {
    pub fn new(own: Own<'a>, deadline: Option<u64>) -> Wait<'a> {
        Wait {
            own,
            deadline: deadline.unwrap_or(u64::MAX),
            started: 0,
            blocker: None,
            dead: 0,
            sleep: SLEEP.0,
            poll_pause: POLL.0,
            next_ask: 0,
            next_poll: 0,
            next_search: 0,
            cycle: 0,
            cycle_seen: 0,
        }
    }

    /// The first time that somebody is in the way.
    pub fn begin(&mut self, blocker: Blocker) {
        if self.blocker.is_none() {
            self.blocker = Some(blocker);
            self.started = now_ns();
            self.next_ask = later(self.started, self.sleep);
            self.next_poll = later(self.started, self.poll_pause);
            // One that already holds something is in a deadlock at once, if it is in one.
            let suspicious = !self.own.mine.slots.is_empty();
            let patience = if suspicious { SLEEP.0 } else { DEADLOCK.0 };
            self.next_search = later(self.started, patience);
        }
    }

    /// What it means for the caller.
    pub fn not_held(&self, stop: Stop) -> NotHeld {
        match (stop, self.blocker) {
            (Stop::TimedOut, Some(by)) => NotHeld::TimedOut(by),
            (Stop::Deadlock, Some(by)) => NotHeld::Deadlock(by),
            (Stop::Nested, Some(by)) => NotHeld::Nested(by),
            (Stop::Poisoned, _) => NotHeld::Poisoned,
            (Stop::NotOurs, _) => NotHeld::NotOurs,
            _ => NotHeld::GaveUp,
        }
    }

    pub fn held(&self) -> Held {
        let waited_ns = match self.blocker {
            Some(_) => now_ns().saturating_sub(self.started).max(1),
            None => 0,
        };
        Held {
            waited_ns,
            first_blocker: self.blocker,
        }
    }
}

impl Table {
    /// Waits until the blocker's word moves, or a while. `Err`: stop waiting.
    #[inline(never)]
    pub(crate) fn pause(
        &self,
        s: Slot,
        ticket: u64,
        found: &Found,
        wait: &mut Wait,
    ) -> Result<(), Stop> {
        let Some(cell) = self.mem.slot(found.at.slot) else {
            return Err(Stop::Poisoned);
        };
        let moved = moves_soon(cell, found.word);
        if self.is_poisoned() {
            return Err(Stop::Poisoned);
        }
        let now = now_ns();
        if now >= wait.deadline {
            self.stopped_by(wait, found);
            return Err(Stop::TimedOut);
        }
        if now >= wait.next_poll {
            wait.poll_pause = wait.poll_pause.saturating_mul(2).min(POLL.1);
            wait.next_poll = later(now, wait.poll_pause);
            return Err(Stop::Poll);
        }
        if moved {
            return Ok(());
        }
        let until = wait.next_ask.min(wait.deadline);
        let slept_out = self.sleep(cell, found, until.saturating_sub(now).max(1));
        let now = now_ns();
        // By the clock as well: a signal ends a sleep, and signals may come faster than any sleep is long.
        if slept_out || now >= wait.next_ask {
            wait.sleep = wait.sleep.saturating_mul(2).min(SLEEP.1);
            wait.next_ask = later(now, wait.sleep);
            if !self.lives(found.owner) {
                wait.dead = found.owner;
                return Err(Stop::Dead);
            }
        }
        if now >= wait.next_search {
            wait.next_search = later(now, DEADLOCK.1);
            if self.is_deadlocked(s, ticket, found, wait) {
                self.stopped_by(wait, found);
                return Err(Stop::Deadlock);
            }
        }
        Ok(())
    }

    /// Sleeps on the blocker's state word. True if the time ran out.
    fn sleep(&self, cell: &SlotCell, by: &Found, ns: u64) -> bool {
        let (seen, flagged) = (by.word, by.word | word::WAITERS);
        // The flag says that the next change of this word must wake; only for the very word that we saw.
        match cell.state.compare_exchange(seen, flagged, AcqRel, Relaxed) {
            Ok(_) => {}
            Err(now) if now == flagged => {}
            Err(_) => return false,
        }
        self.ring(by);
        cell.state.sleep(flagged, ns) == Slept::TimedOut
    }

    #[inline(never)]
    pub(crate) fn stopped_by(&self, wait: &mut Wait, found: &Found) {
        wait.blocker = Some(self.named(found));
    }
}

pub(crate) fn later(now: u64, by: u32) -> u64 {
    now.saturating_add(by.into())
}

/// Is the state word another one now, or within a short spin?
pub(crate) fn moves_soon(cell: &SlotCell, seen: u32) -> bool {
    (0..SPINS).any(|_| {
        let moved = cell.state.load(Relaxed) & !word::WAITERS != seen;
        if !moved {
            spin_loop();
        }
        moved
    })
}
