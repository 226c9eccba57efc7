//! Waiting for a range: the bakery, the futex, the deadline and the poll.

use core::sync::atomic::Ordering::{AcqRel, Relaxed, SeqCst};

use crate::Table;
use crate::hints::Near;
use crate::matrix::{Claim, conflict};
use crate::memory::SlotCell;
use crate::primitive::{CHECKED, Slept, fence, now_ns, spin_loop};
use crate::slots::{Blocker, Found, Mine, Own, Position, Reading, Scan, Slot, word};

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
    dead: u32,
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
    fn new(own: Own<'a>, deadline: Option<u64>) -> Wait<'a> {
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
    fn begin(&mut self, blocker: Blocker) {
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
    fn not_held(&self, stop: Stop) -> NotHeld {
        match (stop, self.blocker) {
            (Stop::TimedOut, Some(by)) => NotHeld::TimedOut(by),
            (Stop::Deadlock, Some(by)) => NotHeld::Deadlock(by),
            (Stop::Nested, Some(by)) => NotHeld::Nested(by),
            (Stop::Poisoned, _) => NotHeld::Poisoned,
            (Stop::NotOurs, _) => NotHeld::NotOurs,
            _ => NotHeld::GaveUp,
        }
    }

    fn held(&self) -> Held {
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
    /// Takes the range, waiting its turn, first come, first served.
    ///
    /// A conflict with one of `mine` is `Nested` at once, and who waits for one of those that are held is passed by,
    /// as is who waits behind one of them.
    /// `deadline_ns` is on CLOCK_MONOTONIC. `poll` is asked at growing intervals (50 ms to 0.8 s) while waiting;
    /// the slot is withdrawn then, so it may do what it likes, even not return; `true` gives up. Being asked costs
    /// the place in the queue, which is why it is not asked at every wake. Signals don't end the wait.
    #[inline]
    pub fn hold(
        &self,
        s: Slot,
        c: &Claim,
        mine: &Mine,
        deadline_ns: Option<u64>,
        poll: &mut dyn FnMut() -> bool,
    ) -> Result<Held, NotHeld> {
        match self.hold_now(s, c) {
            Ok(()) => Ok(Held {
                waited_ns: 0,
                first_blocker: None,
            }),
            Err(NotHeld::TimedOut(_)) => {
                self.hold_all(&[s], core::slice::from_ref(c), mine, deadline_ns, poll)
            }
            Err(why) => Err(why),
        }
    }

    /// Takes several ranges for one call, all or none. They queue with one ticket, so calls that take several keep
    /// clear of deadlocks among themselves, whatever the order of their ranges. The call's own ranges don't exclude
    /// each other.
    #[cold]
    pub fn hold_all(
        &self,
        slots: &[Slot],
        claims: &[Claim],
        mine: &Mine,
        deadline_ns: Option<u64>,
        poll: &mut dyn FnMut() -> bool,
    ) -> Result<Held, NotHeld> {
        let Some(slots) = slots.get(..claims.len()) else {
            return Err(NotHeld::GaveUp);
        };
        let mut wait = Wait::new(Own::of(slots, mine), deadline_ns);
        loop {
            let Err(stop) = self.hold_round(claims, &mut wait) else {
                return Ok(wait.held());
            };
            for s in slots {
                self.release(*s);
            }
            if stop != Stop::Poll || poll() {
                return Err(wait.not_held(stop));
            }
        }
    }

    /// Tries, and queues until all is held or the wait must stop. On `Err` the slots are the caller's to release.
    #[inline(always)]
    fn hold_round(&self, claims: &[Claim], wait: &mut Wait) -> Result<(), Stop> {
        if self.free_at_once(claims, wait)? {
            return Ok(());
        }
        let slots = wait.own.call;
        let ticket = self.queue(slots);
        for (s, c) in slots.iter().zip(claims) {
            while let Err(stop) = self.wait_turn(*s, c, ticket, wait) {
                if stop != Stop::Dead {
                    return Err(stop);
                }
                self.reap_one(wait.dead);
            }
        }
        for s in slots {
            self.enter(*s)?;
        }
        Ok(())
    }

    /// Whether nobody is in the way; if somebody is, who, and that waiting for him makes sense.
    #[inline(never)]
    fn free_at_once(&self, claims: &[Claim], wait: &mut Wait) -> Result<bool, Stop> {
        let mut scan = Scan::Clear;
        self.try_all(claims, &wait.own, &mut scan);
        match &scan {
            Scan::Clear => return Ok(true),
            Scan::Absurd => return Err(Stop::Poisoned),
            Scan::NotOurs => return Err(Stop::NotOurs),
            Scan::Blocked(found) => self.begin(wait, found),
        }
        match claims.iter().any(|c| self.is_own(wait, c)) {
            true => Err(Stop::Nested),
            false => Ok(false),
        }
    }

    #[inline(never)]
    fn begin(&self, wait: &mut Wait, found: &Found) {
        wait.begin(self.named(found));
    }

    #[inline(never)]
    fn is_own(&self, wait: &mut Wait, c: &Claim) -> bool {
        let own = self.conflict_among(wait.own.mine.slots, c);
        if let Some(own) = &own {
            self.stopped_by(wait, own);
        }
        own.is_some()
    }

    #[inline(never)]
    fn stopped_by(&self, wait: &mut Wait, found: &Found) {
        wait.blocker = Some(self.named(found));
    }

    /// In the queue: until nobody before us is in this claim's way.
    #[inline(never)]
    fn wait_turn(&self, s: Slot, c: &Claim, ticket: u64, wait: &mut Wait) -> Result<(), Stop> {
        let slot = self.own(s).ok_or(Stop::NotOurs)?;
        let (mut from, near) = (Position::default(), Near::of(c));
        loop {
            // I6: what a slot before `from` was found to be it stays, for us: whoever announces later sees us.
            let mut scan = Scan::Clear;
            self.scan(from, &near, s, c, ticket, &wait.own, &mut scan);
            let found = match &scan {
                Scan::Clear => return Ok(()),
                Scan::Absurd | Scan::NotOurs => return Err(Stop::Poisoned),
                Scan::Blocked(found) => found,
            };
            from = found.at;
            slot.waiting_on
                .store(found.at.slot.saturating_add(1), Relaxed);
            let paused = self.pause(s, ticket, found, wait);
            slot.waiting_on.store(0, Relaxed);
            paused?;
        }
    }

    /// Announces all claims as held, then scans for each.
    #[inline(never)]
    fn try_all(&self, claims: &[Claim], own: &Own, scan: &mut Scan) {
        if self.is_poisoned() {
            *scan = Scan::Absurd;
            return;
        }
        if !self.write_all(own.call, claims) {
            *scan = Scan::NotOurs;
            return;
        }
        // I1: all hints and announcements stand before any scan's loads.
        fence(SeqCst);
        for (s, c) in own.call.iter().zip(claims) {
            let (from, near) = (Position::default(), Near::of(c));
            self.scan(from, &near, *s, c, u64::MAX, own, scan);
            if !matches!(scan, Scan::Clear) {
                break;
            }
        }
    }

    #[inline(never)]
    fn write_all(&self, slots: &[Slot], claims: &[Claim]) -> bool {
        for (s, c) in slots.iter().zip(claims) {
            let Some(slot) = self.writable(*s) else {
                return false;
            };
            self.write(*s, slot, c);
        }
        true
    }

    /// Turns a failed try into a place in the queue: Lamport's bakery, one ticket for the whole call.
    #[inline(never)]
    pub(crate) fn queue(&self, slots: &[Slot]) -> u64 {
        self.choose(slots);
        let ticket = self.draw();
        self.line_up(slots, ticket);
        ticket
    }

    /// Announces that a ticket is about to be drawn.
    fn choose(&self, slots: &[Slot]) {
        for slot in slots.iter().filter_map(|s| self.own(*s)) {
            let now = slot.state.load(Relaxed);
            // The claim stands already, but this is a new announcement and so a new generation (I5).
            if slot.state.swap(word::next(now, word::CHOOSING), AcqRel) & word::WAITERS != 0 {
                slot.state.wake();
            }
        }
        // I1, I6: choosing is seen before the ticket is drawn: whoever scans and does not find us has drawn a lower
        // ticket than ours.
        fence(SeqCst);
    }

    fn draw(&self) -> u64 {
        self.mem.header().ticket.fetch_add(1, Relaxed)
    }

    /// Announces the place in the queue.
    fn line_up(&self, slots: &[Slot], ticket: u64) {
        for slot in slots.iter().filter_map(|s| self.own(*s)) {
            slot.ticket.store(ticket, Relaxed);
            let now = slot.state.load(Relaxed);
            // I4: AcqRel: a reader that finds WAITING finds the ticket. Those who slept on our choosing may pass now.
            if slot.state.swap(word::with(now, word::WAITING), AcqRel) & word::WAITERS != 0 {
                slot.state.wake();
            }
        }
        // I1: the place in the queue stands before the scan's loads of the others' state words.
        fence(SeqCst);
    }

    /// From waiting to held. Those who wait for us go on waiting, so the waiters' flag stays; and nobody treats HELD
    /// otherwise than a lower ticket, so no fence either. But who sleeps on a request has not rung for it yet (I13).
    pub(crate) fn enter(&self, s: Slot) -> Result<(), Stop> {
        let entered = self.own(s).is_some_and(|slot| {
            let mut now = slot.state.load(Relaxed);
            while now & word::STATE == word::WAITING {
                let held = now ^ word::WAITING ^ word::HELD;
                match slot.state.compare_exchange(now, held, Relaxed, Relaxed) {
                    Ok(_) => {
                        if now & word::WAITERS != 0 && slot.thread.load(Relaxed) == 0 {
                            slot.state.wake();
                        }
                        return true;
                    }
                    Err(moved) => now = moved, // the waiters' flag
                }
            }
            false
        });
        entered.then_some(()).ok_or(Stop::NotOurs)
    }

    fn conflict_among(&self, mine: &[Slot], c: &Claim) -> Option<Found> {
        mine.iter()
            .find_map(|m| match self.read_slot(m.0, self.mem.slot(m.0)?) {
                Reading::Claim { found, .. } if conflict(c, &found.claim) => Some(found),
                _ => None,
            })
    }

    /// Waits until the blocker's word moves, or a while. `Err`: stop waiting.
    #[inline(never)]
    fn pause(&self, s: Slot, ticket: u64, found: &Found, wait: &mut Wait) -> Result<(), Stop> {
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
}

pub(crate) fn later(now: u64, by: u32) -> u64 {
    now.saturating_add(by.into())
}

/// Is the state word another one now, or within a short spin?
fn moves_soon(cell: &SlotCell, seen: u32) -> bool {
    (0..SPINS).any(|_| {
        let moved = cell.state.load(Relaxed) & !word::WAITERS != seen;
        if !moved {
            spin_loop();
        }
        moved
    })
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
