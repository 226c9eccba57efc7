//! A place in the queue: Lamport's bakery, one ticket for all ranges of a call.

use core::sync::atomic::Ordering::{AcqRel, Relaxed, SeqCst};

use crate::Table;
use crate::patience::Stop;
use crate::primitive::fence;
use crate::slots::{Slot, word};

impl Table {
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
        // I14: on all of them, before one waits: who finds that one finds the others, though they choose yet.
        for slot in slots.iter().filter_map(|s| self.own(*s)) {
            slot.ticket.store(ticket, Relaxed);
        }
        for slot in slots.iter().filter_map(|s| self.own(*s)) {
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
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
