//! io_uring goes past every hook: refused as container runtimes do, or allowed and told. A ring that was made by calls
//! that can't be seen is told where one shows.

use core::sync::atomic::Ordering::AcqRel;

use kernel::errors;
use kernel::text::Text;
use policy::Escaped;

use crate::tell::events::{self, Event};
use crate::what::state::state;
use crate::who::process::{active, policy, program_in};

const REFUSED: u32 = 1;
const PASSED: u32 = 2;

/// Whether a program that asks for a ring gets none, where that can be. Told once, before there is one.
pub fn refused(can_be: bool) -> bool {
    let Some(policy) = policy().filter(|_| active().is_some()) else {
        return false;
    };
    // A policy that only looks on changes nothing.
    let refuse = policy.enforces() && policy.defaults().io_uring.refuses();
    tell(if refuse && can_be { REFUSED } else { PASSED });
    refuse && can_be
}

/// Whether anything is to be said of rings, or done about them.
pub fn matter() -> bool {
    active().is_some()
}

/// What is there in a file that is loaded (no name: the program itself) makes one in a way that can't be refused.
pub fn cannot_be_refused(file: &[u8]) {
    let mut room = [0; kernel::NAME];
    let file = match file.is_empty() {
        true => program_in(&mut room),
        false => file,
    };
    let reason = Text::<200>::of(format_args!(
        "io_uring, if {} makes a ring: its code can't be changed",
        Escaped(file)
    ));
    events::emit_uncovered(None, -1, reason.as_str());
}

/// There is one, however it was made.
pub fn found() {
    if active().is_some() {
        tell(PASSED);
    }
}

fn tell(what: u32) {
    if state().rings.fetch_max(what, AcqRel) < what {
        let done = if what == REFUSED {
            "refused with ENOSYS"
        } else {
            "passed through"
        };
        events::emit(&Event {
            done,
            ..Event::of(None, &errors::IO_URING)
        });
    }
}
