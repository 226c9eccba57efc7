//! The search for deadlocks: who waits for whom, and does it come back to us?

use core::sync::atomic::Ordering::Relaxed;

use crate::Table;
use crate::matrix::{Claim, conflict};
use crate::patience::{AGAIN, Wait, later};
use crate::primitive::now_ns;
use crate::reading::{Found, Reading};
use crate::slots::{Slot, word};

/// How many who wait for each other are followed.
const CHAIN: u32 = 64;

impl Table {
    /// Does what we wait for wait for us? The edges are read one by one while they may change, so a cycle counts only
    /// when two searches in a row find the very same one; and of those in it the last to queue gives way, the others
    /// only when it does not.
    #[inline(never)]
    pub(crate) fn is_deadlocked(
        &self,
        s: Slot,
        ticket: u64,
        found: &Found,
        wait: &mut Wait,
    ) -> bool {
        let Some((print, youngest)) = self.closed_chain(s, wait.own.mine.slots, found) else {
            (wait.cycle, wait.cycle_seen) = (0, 0);
            return false;
        };
        let seen = if wait.cycle == print {
            wait.cycle_seen.saturating_add(1)
        } else {
            1
        };
        (wait.cycle, wait.cycle_seen) = (print, seen);
        wait.next_search = later(now_ns(), AGAIN);
        seen >= if ticket >= youngest { 2 } else { 20 }
    }

    /// Follows who waits for whom. If it comes back to the calling thread: a fingerprint of the way, and the highest
    /// ticket on it.
    fn closed_chain(&self, s: Slot, mine: &[Slot], found: &Found) -> Option<(u64, u64)> {
        let (mut at, mut print, mut youngest) = (found.at.slot, 0u64, 0u64);
        let mut waiter: Option<(Claim, u64)> = None;
        for _ in 0..CHAIN {
            let Reading::Claim { found, ticket } = self.read_slot(at, self.mem.slot(at)?) else {
                return None;
            };
            // One who hasn't run since (he may be stopped) still names the slot that was in his way then. Nobody waits for
            // a claim that doesn't exclude his, nor for one behind him in the queue.
            if waiter.is_some_and(|(claim, turn)| {
                let behind = found.word & word::STATE == word::WAITING && ticket > turn;
                behind || !conflict(&claim, &found.claim)
            }) {
                return None;
            }
            let step = u64::from(found.at.slot) << 32 | u64::from(found.word);
            print = print.rotate_left(7).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ step;
            if self.is_ours(s, at, &found) || mine.iter().any(|m| self.is_ours(*m, at, &found)) {
                return Some((print, youngest));
            }
            let waits = match self.waits_on(at, found.word) {
                Some(on) => Some((on, ticket, found.claim)),
                None => self.where_thread_waits(found.owner, found.thread),
            };
            let (next, ticket, claim) = waits?;
            waiter = Some((claim, ticket));
            youngest = youngest.max(ticket);
            at = next;
        }
        None
    }

    /// Is what is in the way this slot of the calling thread, or another that has to be let go by the thread that it was
    /// taken for? A request isn't, though of the same process: it ends whatever the thread waits for that made it.
    fn is_ours(&self, own: Slot, at: u32, found: &Found) -> bool {
        let thread = || self.mem.slot(own.0).map(|cell| cell.thread.load(Relaxed));
        let named = found.thread != 0 && Some(found.owner) == self.me();
        at == own.0 || (named && thread() == Some(found.thread))
    }

    /// The slot that this one waits on right now.
    fn waits_on(&self, at: u32, seen: u32) -> Option<u32> {
        if seen & word::STATE != word::WAITING {
            return None;
        }
        self.mem.slot(at)?.waiting_on.load(Relaxed).checked_sub(1)
    }

    /// What a thread that is in the way waits on in another of its slots, with which ticket (the last it queued with)
    /// and for which claim.
    fn where_thread_waits(&self, owner: u32, thread: u32) -> Option<(u32, u64, Claim)> {
        if thread == 0 {
            return None; // an asynchronous request waits for nothing
        }
        let mut last = None;
        for (base, cells) in self.mem.used_slots() {
            for (i, cell) in (base..).zip(cells) {
                if (cell.owner.load(Relaxed), cell.thread.load(Relaxed)) != (owner, thread) {
                    continue;
                }
                if let Reading::Claim { found, ticket } = self.read_slot(i, cell)
                    && let Some(on) = self.waits_on(i, found.word)
                    && last.is_none_or(|(_, t, _)| ticket > t)
                {
                    last = Some((on, ticket, found.claim));
                }
            }
        }
        last
    }
}
