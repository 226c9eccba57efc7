//! io_uring goes past every hook: refused as container runtimes do, or allowed and told. A ring that was made by calls
//! that can't be seen (a static liburing) is told where one shows.

use core::sync::atomic::{AtomicU32, Ordering::*};

use crate::tell::events::{self, Event};
use crate::who::process::{active, policy};

const NOTHING: u32 = 0;
const REFUSED: u32 = 1;
const PASSED: u32 = 2;
static TOLD: AtomicU32 = AtomicU32::new(NOTHING);

/// Whether a program that asks for a ring gets none. Told once, before there is one.
pub fn refused() -> bool {
    let Some(policy) = policy().filter(|_| active().is_some()) else {
        return false;
    };
    // A policy that only looks on changes nothing.
    let refuse = policy.enforces() && policy.defaults().io_uring == policy::IoUring::Refuse;
    tell(if refuse { REFUSED } else { PASSED });
    refuse
}

/// There is one, however it was made.
pub fn found() {
    if active().is_some() {
        tell(PASSED);
    }
}

fn tell(what: u32) {
    if TOLD.fetch_max(what, AcqRel) < what {
        let done = if what == REFUSED {
            "refused with ENOSYS"
        } else {
            "passed through"
        };
        events::emit(&Event {
            done,
            ..Event::uncovered(None, "io_uring")
        });
    }
}
