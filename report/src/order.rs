//! Every event of a trace in the order of time, in room that doesn't grow with the trace.
//!
//! A ring is in order but for calls, which have the time at which they began and stand where they ended. So rings are read twice:
//! first to note when the earliest event of each part of a ring was, then part by part in the order of that. What a part tells waits
//! until no part to come has anything earlier. Calls that took long keep their part waiting, and nobody else's.
//!
//! A ring that means harm may have times in any order. What waits has so much room; then the earliest is told, and who comes
//! too late for that is counted.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::event::Event;
use crate::folder::{Folder, OneRing};

/// Events of a part: so many are read together.
const PART: u32 = 128;
/// Of all that waits, in bytes, as they are counted here.
const ROOM: usize = 64 << 20;

/// A part of a ring.
struct Part {
    /// Of its earliest event.
    time: u64,
    ring: u32,
    events: u32,
    /// The numbers of its first and last event.
    first: u64,
    last: u64,
}

/// What rings tell, noted ring by ring.
#[derive(Default)]
pub struct InOrder {
    parts: Vec<Part>,
    rings: u32,
}

/// What isn't as it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Disorder {
    /// Events that stand later than they should.
    pub late: u64,
    /// Events that were overwritten, by a process that goes on, since they were noted.
    pub gone: u64,
}

impl InOrder {
    /// The next one's events are added from now on.
    pub fn begin_ring(&mut self) {
        self.rings += 1;
    }

    pub fn add(&mut self, event: &Event) {
        let ring = self.rings.saturating_sub(1);
        let (time, number) = (event.time, event.told.number);
        match self.parts.last_mut() {
            Some(part) if part.ring == ring && part.events < PART => {
                part.time = part.time.min(time);
                part.events += 1;
                part.last = number;
            }
            _ => self.parts.push(Part {
                time,
                ring,
                events: 1,
                first: number,
                last: number,
            }),
        }
    }

    /// Each event of these rings, which were added in this order. Err: who is told wants no more.
    pub fn tell<E>(
        self,
        folder: &mut Folder,
        rings: &[OneRing],
        each: impl FnMut(&Event) -> Result<(), E>,
    ) -> Result<Disorder, E> {
        self.tell_within(ROOM, folder, rings, each)
    }

    pub(crate) fn tell_within<E>(
        mut self,
        room: usize,
        folder: &mut Folder,
        rings: &[OneRing],
        mut each: impl FnMut(&Event) -> Result<(), E>,
    ) -> Result<Disorder, E> {
        self.parts
            .sort_by_key(|part| (part.time, part.ring, part.first));
        let mut waiting = Waiting::default();
        let mut gone = 0;
        for part in &self.parts {
            let is_due = |waiting: &Waiting| waiting.earliest() < Some(part.time);
            while is_due(&waiting) && waiting.tell_one(&mut each)? {}
            let Some(ring) = usize::try_from(part.ring).ok().and_then(|r| rings.get(r)) else {
                continue;
            };
            let mut there = 0;
            folder.read_again(ring, (part.first, part.last), |event| {
                there += 1;
                waiting.add(part.ring, event);
            });
            gone += u64::from(part.events).saturating_sub(there);
            while waiting.bytes > room && waiting.tell_one(&mut each)? {}
        }
        while waiting.tell_one(&mut each)? {}
        let late = waiting.late;
        Ok(Disorder { late, gone })
    }
}

/// An event that waits. What one ring tells at one moment stays in its order.
struct OneWaiting {
    ring: u32,
    event: Event,
}

impl OneWaiting {
    fn key(&self) -> (u64, u32, u64) {
        (self.event.time, self.ring, self.event.told.number)
    }

    /// As many bytes as it takes, or more: texts are counted as its own.
    fn bytes(&self) -> usize {
        let told = &self.event.told;
        let texts = [
            &told.path,
            &told.mode,
            &told.other_mode,
            &told.reason,
            &told.done,
            &told.hint,
        ];
        let texts: usize = texts.iter().map(|text| text.len()).sum();
        size_of::<OneWaiting>() + texts
    }
}

impl PartialEq for OneWaiting {
    fn eq(&self, other: &OneWaiting) -> bool {
        self.key() == other.key()
    }
}

impl Eq for OneWaiting {}

impl PartialOrd for OneWaiting {
    fn partial_cmp(&self, other: &OneWaiting) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OneWaiting {
    fn cmp(&self, other: &OneWaiting) -> Ordering {
        self.key().cmp(&other.key())
    }
}

#[derive(Default)]
struct Waiting {
    events: BinaryHeap<Reverse<OneWaiting>>,
    bytes: usize,
    /// When the last one was that was told.
    told: u64,
    late: u64,
}

impl Waiting {
    fn add(&mut self, ring: u32, event: Event) {
        let one = OneWaiting { ring, event };
        self.bytes += one.bytes();
        self.events.push(Reverse(one));
    }

    /// None: nothing waits, which is earlier than any time.
    fn earliest(&self) -> Option<u64> {
        self.events.peek().map(|Reverse(one)| one.event.time)
    }

    /// Tells the earliest. False: nothing waits.
    fn tell_one<E>(&mut self, each: &mut impl FnMut(&Event) -> Result<(), E>) -> Result<bool, E> {
        let Some(Reverse(one)) = self.events.pop() else {
            return Ok(false);
        };
        self.bytes = self.bytes.saturating_sub(one.bytes());
        self.late += u64::from(one.event.time < self.told);
        self.told = self.told.max(one.event.time);
        each(&one.event).map(|()| true)
    }
}
