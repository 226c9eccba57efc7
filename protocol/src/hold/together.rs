//! Two ranges for one call: what a copy reads and what it writes, taken with one ticket, both or none. Two copies that
//! cross never wait for each other, whatever files they read and write.

use lock_table::{Claim, Mode, Slot, Table};

use crate::hold::cancellation::act_on_cancellation;
use crate::hold::ranges::{Got, cuts_off, ended, no_slot, outer, take};
use crate::hold::slots::{Wait, give_slot_back, slot_of};
use crate::hold::terms::Terms;
use crate::what::file::File;
use crate::who::process;
use crate::who::thread::{Frame, Holds, LEVELS, Thread};

/// One of the two: whose frame it stands in, and what is asked for. Small: below who asks for two a wait goes deep.
pub struct Part<'a> {
    pub frame: &'a Frame,
    pub file: &'a File,
    pub fd: i32,
    pub mode: Mode,
    /// First and last byte.
    pub range: (u64, u64),
}

impl Part<'_> {
    fn terms(&self) -> Terms {
        Terms::of(self.file, self.fd)
    }

    fn claim(&self) -> Claim {
        self.terms().claim(self.mode, self.range.0, self.range.1)
    }

    /// Takes it alone.
    #[inline(never)]
    pub fn take(&self, thread: &Thread) -> Got {
        take(thread, self.frame, &self.terms(), &self.claim(), false)
    }
}

/// Takes both (P1).
pub fn take_both(thread: &Thread, parts: [&Part; 2]) -> Got {
    // An observed file is announced, and nobody is waited for: last, so that nobody waits for it meanwhile either.
    let observed = |part: &&&Part| part.file.settings().observe();
    if parts.iter().any(|part| observed(&part)) {
        let enforced = parts.iter().filter(|part| !observed(part));
        return enforced
            .chain(parts.iter().filter(observed))
            .map(|part| part.take(thread))
            .find(|got| *got != Got::Go)
            .unwrap_or(Got::Go);
    }
    let Some(table) = process::table() else {
        return Got::Go;
    };
    const TRIES: u32 = 8;
    for _ in 0..TRIES {
        let [Some(one), Some(other)] = parts.map(|part| slot_of(table, thread, part.frame)) else {
            break;
        };
        if let Some(got) = in_slots(table, [one, other], thread, parts) {
            return got;
        }
        // A handler forked in the middle of it, or jumped out of an earlier call: these slots are of no use to us.
        for part in parts {
            give_slot_back(part.frame.slot.replace(0));
        }
    }
    no_slot(&parts[0].terms(), &parts[0].claim())
}

/// None: a slot can't be used.
fn in_slots(table: &Table, slots: [Slot; 2], thread: &Thread, parts: [&Part; 2]) -> Option<Got> {
    let [one, other] = parts;
    let mut outer_slots = [slots[0]; LEVELS];
    let mine = outer(table, thread, one.frame, &mut outer_slots);
    for part in parts {
        part.frame.holds.set(Holds::Perhaps);
    }
    let patience = one.file.lock_timeout_ns().min(other.file.lock_timeout_ns());
    let wait = Wait::begin(one.frame, patience);
    let claims = [one.claim(), other.claim()];
    let held = table.hold_all(&slots, &claims, &mine, Some(wait.deadline), &mut || {
        act_on_cancellation(one.frame)
    });
    claims.iter().for_each(cuts_off);
    wait.end(one.frame);
    let holds = if held.is_ok() {
        Holds::Alone
    } else {
        Holds::Nothing
    };
    for part in parts {
        part.frame.holds.set(holds);
    }
    ended(table, &one.terms(), &claims[0], &held)
}
