//! Taking ranges: at once where nobody is in the way, else each in its turn.

use core::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::Table;
use crate::hints::Near;
use crate::matrix::{Claim, conflict};
use crate::patience::{Held, NotHeld, Stop, Wait};
use crate::primitive::fence;
use crate::reading::{Found, Position, Reading};
use crate::scan::{Mine, Own, Scan};
use crate::slots::Slot;

impl Table {
    /// Takes the range if nobody is in the way: with a deadline that is over already, a conflict is `TimedOut`. Two that
    /// try at the same instant may both fail. The calling thread's other slots conflict like any other.
    #[inline(always)]
    pub fn hold_now(&self, s: Slot, c: &Claim) -> Result<(), NotHeld> {
        let why = match self.try_claim(s, c) {
            Scan::Clear => return Ok(()),
            Scan::Blocked(found) => NotHeld::TimedOut(self.named(&found)),
            Scan::Absurd => NotHeld::Poisoned,
            Scan::NotOurs => return Err(NotHeld::NotOurs),
        };
        self.release(s);
        Err(why)
    }

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

    fn conflict_among(&self, mine: &[Slot], c: &Claim) -> Option<Found> {
        mine.iter()
            .find_map(|m| match self.read_slot(m.0, self.mem.slot(m.0)?) {
                Reading::Claim { found, .. } if conflict(c, &found.claim) => Some(found),
                _ => None,
            })
    }
}
