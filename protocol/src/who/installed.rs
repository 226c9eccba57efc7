//! A handler of a signal is about to be installed: who relies on it that there is none ends before (see `handlers`).

use crate::who::{handlers, process, registry};

/// Before it is. Returns when nobody relies on it any more that there is none.
pub fn may_come() {
    if !handlers::are_about_to_come() {
        return;
    }
    // A forked child that doesn't know yet that it is one: whom its parent counted is not there.
    let _ = process::active();
    // What this thread holds for a fork is in nobody's middle: a handler that finds it goes on within.
    let own = u32::from(registry::is_forking_here());
    loop {
        let (now, counted) = handlers::relied_on();
        // A child that has this memory, or a copy that we know nothing of: its handlers come to none that is counted.
        if now <= own || kernel::getpid() != process::pid() {
            return;
        }
        kernel::futex_wait_private(counted, now);
    }
}
