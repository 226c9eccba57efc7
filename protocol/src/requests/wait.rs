//! Sleeping until there is a completion: `io_getevents`.
use core::sync::atomic::Ordering::*;

use kernel::aio::{self, Event};
use kernel::{Pages, Quiet, Raw};

use crate::hold::{call, cancellation};
use crate::requests::contexts::{self, Used};
use crate::requests::frames::{LONG, SHORT, in_frame};
use crate::requests::helper;
use crate::requests::reap::reap;
use crate::requests::ring::BATCH;
use crate::who::thread::{self, Frame, Thread};

/// What a program that calls `io_getevents` or `io_pgetevents` wants.
pub struct Wanted {
    pub least: isize,
    pub most: isize,
    /// Its pointers: where completions go, and how long it waits.
    pub into: *mut Event,
    pub limit: *const libc::timespec,
    /// The signal mask, 8 bytes, for the time that it sleeps.
    pub mask: Option<usize>,
}

/// `io_getevents` and `io_pgetevents`. None: it is no context of ours.
pub fn get_events(id: usize, wanted: &Wanted) -> Option<Raw> {
    in_frame(|frame| {
        let used = contexts::find(id, frame)?;
        Some(
            wanted
                .get(used, frame)
                .unwrap_or_else(|error| -(error as Raw)),
        )
    })
}

impl Wanted {
    fn get(&self, used: Used, frame: &Frame) -> Result<Raw, i32> {
        let deadline = self.deadline()?;
        let mask = self.given_mask()?;
        if self.least < 0 || self.least > self.most {
            return Err(libc::EINVAL);
        }
        let quiet = Quiet::begin();
        let (mut got, mut slept) = (0, false);
        loop {
            let context = used.context;
            let fills = context.fills.load(Acquire);
            context.called();
            reap(used, &quiet);
            match self.hand_over(used, got, &quiet) {
                Ok(more) => got += more,
                Err(_) if got != 0 => return Ok(got),
                Err(error) => return Err(error),
            }
            let coming = got == 0 && context.settling.load(Acquire) != 0;
            if got >= self.least && !coming {
                return Ok(got);
            }
            if context.is_dead() {
                return if got != 0 { Ok(got) } else { Err(libc::EINVAL) };
            }
            let left = deadline.map(|d| d.saturating_sub(kernel::now_ns()));
            // With a signal mask: signals that are pending under it are to be heard once.
            let heard = self.mask.is_none() || slept || got != 0;
            let slept_for = match left {
                Some(0) if !coming && heard => return Ok(got),
                Some(0) if coming => Some(SHORT),
                left => left,
            };
            slept = true;
            match sleep(used, frame, fills, slept_for, mask.as_ref(), &quiet) {
                interrupted if interrupted == -(libc::EINTR as Raw) => {
                    return if got != 0 { Ok(got) } else { Err(libc::EINTR) };
                }
                error if error == -(libc::EINVAL as Raw) && !context.is_dead() => {
                    return Err(libc::EINVAL);
                }
                _ => {}
            }
        }
    }

    fn deadline(&self) -> Result<Option<u64>, i32> {
        if self.limit.is_null() {
            return Ok(None);
        }
        let time = kernel::look_at_program(self.limit)?;
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
        let limit = seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Ok(Some(match limit {
            0 => 0,
            _ => kernel::now_ns().saturating_add(limit),
        }))
    }

    fn given_mask(&self) -> Result<Option<u64>, i32> {
        let Some(mask) = self.mask else {
            return Ok(None);
        };
        kernel::look_at_program(mask as *const u64).map(Some)
    }

    /// What our ring has, as far as it is wanted. Apart from its caller, below which calls go deep.
    #[inline(never)]
    fn hand_over(&self, used: Used, got: isize, quiet: &Quiet) -> Result<isize, i32> {
        let context = used.context;
        let _locked = context.lock(quiet);
        if context.is_gone() {
            return Ok(0);
        }
        let ring = context.ring();
        let mut given = 0;
        let mut batch = [Event::default(); BATCH];
        let mut pages = Pages::beside(&batch);
        while got + given < self.most {
            let room = (self.most - got - given).min(BATCH as isize) as usize;
            let Some(part) = batch.get_mut(..room) else {
                break;
            };
            let (events, behind) = ring.look(part);
            if events.is_empty() {
                break;
            }
            let to = self.into.wrapping_offset(got + given);
            match pages.put(events, to) {
                Err(error) if given == 0 => return Err(error),
                Err(_) => break,
                Ok(()) => {}
            }
            given += events.len() as isize;
            ring.take_to(behind);
            context.taken_to.store(behind, Relaxed);
        }
        Ok(given)
    }
}

/// Sleeps until something may have been shown since `fills`, as the leader or behind it; with the signals that the
/// program wants to hear, and cancelled as it wants to be. What is heard ends it: EINTR.
pub fn sleep(
    used: Used,
    frame: &Frame,
    fills: u32,
    limit: Option<u64>,
    mask: Option<&u64>,
    quiet: &Quiet,
) -> Raw {
    let context = used.context;
    let own = quiet.mask();
    match begin_to_lead(used, fills, quiet) {
        Next::Look => 0,
        Next::Follow => follow(used, frame, fills, limit.unwrap_or(LONG), mask, quiet),
        Next::Lead => {
            cancellation::open(frame);
            let masked = mask.or(own.as_ref()).filter(|_| aio::waits_with_mask());
            let slept = masked.map(|mask| context.lead(limit, Some(mask)));
            // An old kernel, or one that lets us only the other way: a signal may come before the sleep.
            let slept = match slept.filter(|n| !kernel::is_refused(*n)) {
                Some(slept) => slept,
                None => quiet.pause(|| context.lead(limit, None)),
            };
            cancellation::close(frame);
            end_to_lead(used, quiet);
            slept
        }
    }
}

/// The same, while no signal is heard.
pub fn deaf(used: Used, fills: u32, limit: Option<u64>, quiet: &Quiet) {
    let context = used.context;
    match begin_to_lead(used, fills, quiet) {
        Next::Look => {}
        Next::Follow => {
            context.sleep(fills, limit.unwrap_or(LONG));
        }
        Next::Lead => {
            context.lead(limit, None);
            end_to_lead(used, quiet);
        }
    }
}

/// Nothing sleeps on a word and lets signals in at once, and one that came between two sleeps would be heard without
/// ending the call. So they are let in now and then.
fn follow(
    used: Used,
    frame: &Frame,
    fills: u32,
    limit: u64,
    mask: Option<&u64>,
    quiet: &Quiet,
) -> Raw {
    const NOW_AND_THEN: u64 = 20_000_000;
    let own = quiet.mask();
    let Some(mask) = mask.or(own.as_ref()) else {
        return used.context.sleep(fills, limit);
    };
    cancellation::open(frame);
    let heard = aio::sleep_masked(0, mask);
    cancellation::close(frame);
    if heard == -(libc::EINTR as Raw) {
        return heard;
    }
    used.context.sleep(fills, limit.min(NOW_AND_THEN))
}

fn end_to_lead(used: Used, quiet: &Quiet) {
    used.context.led();
    reap(used, quiet);
    used.context.filled();
}

enum Next {
    /// There is something.
    Look,
    Lead,
    Follow,
}

fn begin_to_lead(used: Used, fills: u32, quiet: &Quiet) -> Next {
    let context = used.context;
    let _locked = context.lock(quiet);
    if context.fills.load(Acquire) != fills {
        return Next::Look;
    }
    if context.is_gone() || context.is_led_by_another() || context.settling.load(Acquire) != 0 {
        return Next::Follow;
    }
    if !context.kernel_ring().is_empty() || context.has_led() {
        return Next::Look;
    }
    let thread = thread::current();
    thread.want_destructor();
    context.leader.store(thread.tid.get(), Release);
    context.leads.fetch_add(1, Relaxed);
    Next::Lead
}

/// Nobody else would: waits until nothing that is in flight is in anybody's way. Not for ever. Whether there was something.
fn over(used: Used, quiet: &Quiet) -> bool {
    const SLEEPS: u32 = 100;
    let mut any = false;
    for _ in 0..SLEEPS {
        let fills = used.context.fills.load(Acquire);
        if used.context.held.load(Acquire) == 0 {
            break;
        }
        any = true;
        deaf(used, fills, Some(SHORT), quiet);
    }
    any
}

/// A call is about to wait for a range: perhaps for that of a request of ours which is complete. Whether there was one.
#[cold]
#[inline(never)]
pub fn settle_complete(thread: &Thread) -> bool {
    if thread.settles.get() || !contexts::any() {
        return false;
    }
    let Some(frame) = call::begin_within(thread) else {
        return false;
    };
    let quiet = Quiet::begin();
    let mut any = false;
    contexts::each(frame, |used| {
        any |= used.context.held.load(Acquire) != 0 && reap(used, &quiet);
        if !helper::is_there() {
            any |= over(used, &quiet);
        }
    });
    drop(quiet);
    call::end(thread, frame);
    any
}
