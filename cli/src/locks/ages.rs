//! How long claims have been there at least: since they were first seen, as a table has no times.

use std::collections::BTreeMap;
use std::time::Duration;

use lock_table::{Claim, SlotInfo, SlotState};

use crate::tables::live::Moment;

/// What makes a slot's claim the same one at two looks. One who waits looks after his signals now and then, and then stands in
/// the queue anew: of him the generation says nothing.
#[derive(Clone, Copy, PartialEq)]
struct Same {
    process: u32,
    thread: u32,
    claim: Claim,
    held: Option<u32>,
}

impl Same {
    fn of(slot: &SlotInfo) -> Same {
        Same {
            process: slot.process,
            thread: slot.thread,
            claim: slot.claim,
            held: (slot.state == SlotState::Held).then_some(slot.generation),
        }
    }
}

/// By slot: the claim, and when it was first seen.
#[derive(Default)]
pub struct Ages(BTreeMap<u32, (Same, u64)>);

impl Ages {
    /// One more look.
    pub fn look(&mut self, moment: &Moment) {
        let slots = moment.snapshot.slots.iter();
        let now = slots.map(|slot| {
            let same = Same::of(slot);
            let first = match self.0.get(&slot.index) {
                Some((was, first)) if *was == same => *first,
                _ => moment.at_ns,
            };
            (slot.index, (same, first))
        });
        self.0 = now.collect();
    }

    pub fn at_least(&self, slot: u32, moment: &Moment) -> Duration {
        let first = self.0.get(&slot).map_or(moment.at_ns, |(_, first)| *first);
        Duration::from_nanos(moment.at_ns.saturating_sub(first))
    }
}
