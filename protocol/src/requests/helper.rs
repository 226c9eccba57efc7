//! A thread of ours, for a program that doesn't call while it should: while somebody waits for a range that one of its
//! completed requests holds, and where it looks at the ring by itself.
//!
//! It sleeps on the process's bell. Rung, and as long as requests are in flight, it looks at the kernel's rings; more and
//! more seldom where the program takes its completions itself, often where it doesn't.
//!
//! It is no thread of libc's: one more of these, asleep, would keep a process alive whose own threads have all ended. It
//! has what libc expects of a thread's storage, as far as our own code comes by there. It goes before the program changes
//! its rights (they would not change for it), and comes back with the next request.

use core::sync::atomic::{AtomicU32, Ordering::*, fence};

use crate::hold::call;
use crate::requests::contexts::{self, Context, Used};
use crate::requests::reap::reap_for_it;
#[cfg(not(test))]
use crate::requests::spawn;
use crate::requests::state::state;
use crate::who::process;
use crate::who::thread::{self, Frame};
#[cfg(test)]
use crate::world as spawn;
use kernel::Quiet;
use lock_table::Table;

const MS: u64 = 1_000_000;
/// How long it sleeps between two looks: where nobody else takes completions, while there is one that somebody may be
/// about to take, and otherwise from the second to the third.
const OFTEN: u64 = MS / 20;
const SOON: u64 = MS / 2;
const SELDOM: (u64, u64) = (MS, 64 * MS);
/// Who waits rings again after 50 ms.
const RUNG: u64 = 60 * MS;
/// So often it took what the program hadn't for a while: then the program doesn't call.
const SILENT: u32 = 4;

/// This process's in the lock table, which others ring, too.
fn bell() -> &'static AtomicU32 {
    process::table()
        .and_then(Table::bell)
        .unwrap_or(&state().helper.own_bell)
}

/// There is a context: somebody looks after it.
pub fn start() {
    if state().helper.thread.load(Acquire) == 0 && process::active().is_some() {
        begin();
    }
}

/// A sandbox may not let it be made.
pub fn is_there() -> bool {
    state().helper.thread.load(Acquire) != 0
}

#[cold]
fn begin() {
    let quiet = Quiet::begin();
    // Taken by number: the kernel puts the thread's own there.
    if state()
        .helper
        .thread
        .compare_exchange(0, u32::MAX, AcqRel, Acquire)
        .is_ok()
    {
        state().helper.leaves.store(0, Release);
        if !spawn::thread(&state().helper.memory, &state().helper.thread, help) {
            state().helper.thread.store(0, Release);
        }
    }
    drop(quiet);
}

/// Requests were submitted.
#[inline]
pub fn submitted(context: &Context) {
    if context.under_way.load(Relaxed) == 0 {
        return;
    }
    start();
    state().helper.submitted.fetch_add(1, Relaxed);
    // It says that it sleeps, and then looks what is under way.
    fence(SeqCst);
    if state().helper.asleep.load(Relaxed) != 0 {
        wake();
    }
}

fn wake() {
    state().helper.calls.fetch_add(1, Relaxed);
    bell().fetch_add(1, Release);
    kernel::futex_wake_shared(bell());
}

/// The program is about to change its rights, or what the kernel lets it do.
pub fn goes() {
    let patience = kernel::now_ns().saturating_add(1000 * MS);
    while state().helper.thread.load(Acquire) != 0 && kernel::now_ns() < patience {
        state().helper.leaves.store(1, SeqCst);
        wake();
        let there = state().helper.thread.load(Acquire);
        if there != 0 {
            kernel::futex_wait_shared(&state().helper.thread, there, Some(MS));
        }
    }
}

/// See `requests`.
pub fn forget_in_child() {
    state().helper.thread.store(0, Relaxed);
    state().helper.asleep.store(0, Relaxed);
}

extern "C" fn help() {
    let thread = thread::current();
    thread.forget_parent();
    thread.is_ours();
    let (mut heard, mut submitted) = (0, 0);
    let (mut rung_until, mut pause) = (0, SELDOM.0);
    while state().helper.leaves.load(SeqCst) == 0 {
        let rings = bell().load(Acquire);
        let by_others = rings.wrapping_sub(state().helper.calls.load(Relaxed));
        let now = kernel::now_ns();
        if by_others != heard {
            (heard, rung_until) = (by_others, now.saturating_add(RUNG));
        }
        let rung = now < rung_until;
        let before = core::mem::replace(&mut submitted, state().helper.submitted.load(Relaxed));
        let seen = match call::begin(thread, false) {
            Some(frame) => {
                let seen = look(frame, rung);
                call::end(thread, frame);
                seen
            }
            None => Seen::Nothing,
        };
        let sleeps = match seen {
            Seen::Untaken => OFTEN,
            Seen::Complete => SOON,
            Seen::InFlight if rung => OFTEN,
            Seen::Nothing if submitted == before => {
                pause = SELDOM.0;
                sleep_until_called(rings);
                continue;
            }
            _ => {
                pause = pause.saturating_mul(2).min(SELDOM.1);
                pause
            }
        };
        kernel::futex_wait_shared(bell(), rings, Some(sleeps));
    }
}

fn sleep_until_called(rings: u32) {
    state().helper.asleep.store(1, Relaxed);
    fence(SeqCst);
    // Unless somebody submitted before he could see this.
    if !any_in_flight() && state().helper.leaves.load(SeqCst) == 0 {
        kernel::futex_wait_shared(bell(), rings, None);
    }
    state().helper.asleep.store(0, Relaxed);
}

fn any_in_flight() -> bool {
    contexts::all().any(|used| used.context.under_way.load(Relaxed) != 0)
}

/// What a look found, the most pressing last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    Nothing,
    InFlight,
    /// Completions that the program may be about to take.
    Complete,
    /// There is something in flight of a program that doesn't call.
    Untaken,
}

fn look(frame: &Frame, rung: bool) -> Seen {
    let quiet = Quiet::begin();
    let mut most = Seen::Nothing;
    contexts::each(frame, |used| most = most.max(look_at(used, rung, &quiet)));
    most
}

fn look_at(used: Used, rung: bool, quiet: &Quiet) -> Seen {
    let context = used.context;
    context.called();
    if context.under_way.load(Acquire) == 0 {
        return Seen::Nothing;
    }
    let silent = context.silent.load(Relaxed);
    let slept = context.has_slept();
    if rung || silent >= SILENT && !slept {
        reap_for_it(used, quiet);
        return if silent >= SILENT && !slept {
            Seen::Untaken
        } else {
            Seen::InFlight
        };
    }
    let first = context.first_untaken(quiet);
    let before = context.seen_first.swap(first, Relaxed);
    match first {
        0 => Seen::InFlight,
        _ if before == 0 => Seen::Complete,
        // It was there a while ago, and still is.
        _ if first == before => {
            if reap_for_it(used, quiet) {
                context.silent.store(silent.saturating_add(1), Relaxed);
            }
            Seen::Complete
        }
        // The program takes them.
        _ => {
            context.seen_first.store(0, Relaxed);
            Seen::InFlight
        }
    }
}
