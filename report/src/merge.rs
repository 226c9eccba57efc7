//! What several rings tell, in one order.
//!
//! Records have CLOCK_MONOTONIC, which is the same for all processes of one boot and never goes back; each ring says what
//! time of day that was when it was made. Rings whose clocks differ by little are of one boot, and share the first one's time
//! of day: so that a clock which is set meanwhile turns nothing round.

use std::sync::Arc;

use trace::{Reader, Told};

use crate::event::Event;

/// Boots are further apart, and a clock that is kept right is set by less.
const ONE_BOOT: u64 = 1_000_000_000;

/// How a ring's time goes, and whose it is.
pub struct Clock {
    /// When CLOCK_MONOTONIC was zero, by CLOCK_REALTIME.
    pub began: u64,
    /// When the ring was made, by CLOCK_MONOTONIC.
    pub made: u64,
    pub process: u32,
    pub program: Arc<[u8]>,
}

impl Clock {
    pub fn of(reader: &Reader) -> Clock {
        Clock {
            began: reader.realtime.wrapping_sub(reader.monotonic),
            made: reader.monotonic,
            process: reader.process,
            program: reader.program.clone(),
        }
    }
}

/// Rings of one boot get the same time of day.
pub fn by_boot<T>(rings: &mut [(Clock, T)]) {
    rings.sort_by_key(|(clock, _)| clock.began);
    let mut boot = None;
    for (clock, _) in rings {
        match boot {
            Some(boot) if clock.began.abs_diff(boot) < ONE_BOOT => clock.began = boot,
            _ => boot = Some(clock.began),
        }
    }
}

/// By the clock of the ring that tells it.
pub fn event(clock: &Clock, told: Told) -> Event {
    Event {
        time: clock.began.wrapping_add(told.record.time),
        program: clock.program.clone(),
        told,
    }
}

pub fn in_order(mut rings: Vec<(Clock, Vec<Told>)>) -> Vec<Event> {
    by_boot(&mut rings);
    let mut all = Vec::new();
    for (clock, told) in rings {
        all.extend(told.into_iter().map(|told| event(&clock, told)));
    }
    // Stable: what one ring tells at one moment stays in its order.
    all.sort_by_key(|event| event.time);
    all
}
