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
    began: u64,
    program: Arc<[u8]>,
}

impl Clock {
    pub fn of(reader: &Reader) -> Clock {
        Clock {
            began: reader.realtime.wrapping_sub(reader.monotonic),
            program: reader.program.clone(),
        }
    }
}

pub fn in_order(mut rings: Vec<(Clock, Vec<Told>)>) -> Vec<Event> {
    rings.sort_by_key(|(clock, _)| clock.began);
    let mut all = Vec::new();
    let mut boot = None;
    for (clock, told) in rings {
        let began = match boot {
            Some(boot) if clock.began.abs_diff(boot) < ONE_BOOT => boot,
            _ => clock.began,
        };
        boot = Some(began);
        all.extend(told.into_iter().map(|told| Event {
            time: began.wrapping_add(told.record.time),
            program: clock.program.clone(),
            told,
        }));
    }
    // Stable: what one ring tells at one moment stays in its order.
    all.sort_by_key(|event| event.time);
    all
}
