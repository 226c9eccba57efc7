//! From a completion of the kernel's to one that the program sees.
use core::cell::Cell;
use core::sync::atomic::Ordering::*;

use kernel as raw;
use kernel::Quiet;
use kernel::aio::{self, Block, Event};

use crate::direct;
use crate::direct::{second, writeback};
use crate::hold::ranges::Terms;
use crate::hold::{call, give_back};
use crate::requests::contexts::{self, Context, Used};
use crate::requests::frames;
use crate::requests::ledger::{self, After, Request};
use crate::requests::ring::BATCH;
use crate::what::data::{Position, Transfer};
use crate::what::descriptors::{self, Pinned};
use crate::what::words;
use crate::who::thread::{self, Thread};
use crate::who::{process, scratch};

/// What the request of no bytes carries that wakes a leader.
const NUDGE: u64 = u64::MAX;

/// Takes what is complete off the kernel's ring and shows it. Not while another thread sleeps there for the next one.
/// Whether there was something.
pub fn reap(used: Used, quiet: &Quiet) -> bool {
    let any = reap_for_it(used, quiet);
    if any {
        used.context.calls();
    }
    any
}

/// The same by the helper, for a program that doesn't call.
pub fn reap_for_it(used: Used, quiet: &Quiet) -> bool {
    let thread = thread::current();
    // Not from a repair within, which waits for a range.
    if thread.settles.get() || !used.context.has_complete(quiet) {
        return false;
    }
    scratch::roomy_within(quiet, || all_complete(used, thread, quiet))
}

fn all_complete(used: Used, thread: &Thread, quiet: &Quiet) -> bool {
    let errno = raw::errno();
    thread.settles.set(true);
    let mut any = false;
    let mut batch = [Event::default(); BATCH];
    while let Some(events) = taken(used, &mut batch, quiet) {
        settle_and_show(used, thread, events, quiet);
        any = true;
    }
    thread.settles.set(false);
    raw::set_errno(errno);
    any
}

/// What a leader was given, and then what is on the ring.
fn taken<'a>(used: Used, batch: &'a mut [Event], quiet: &Quiet) -> Option<&'a mut [Event]> {
    let context = used.context;
    let _locked = context.lock(quiet);
    if context.is_gone() || context.is_led_by_another() {
        return None;
    }
    let mut count = context.take_led(batch);
    if count == 0 {
        let ring = context.kernel_ring();
        let (events, behind) = ring.look(batch);
        count = events.len();
        if count != 0 {
            ring.take_to(behind);
        }
    }
    context.settling.fetch_add(count as u32, Relaxed);
    batch.get_mut(..count).filter(|_| count != 0)
}

/// One after the other, and then shown together.
fn settle_and_show(used: Used, thread: &Thread, events: &mut [Event], quiet: &Quiet) {
    let context = used.context;
    for event in events.iter_mut() {
        if event.data == NUDGE {
            context.nudged.store(0, Release);
        }
        match ledger::completed(used, event) {
            Some((_, request)) => event.result = settle(request, thread, event.result),
            None => event.data = 0,
        }
    }
    let locked = context.lock(quiet);
    for event in events.iter().filter(|e| e.data != 0) {
        let index = event.data as u32;
        let Some(request) = ledger::get(index) else {
            continue;
        };
        context.ring().add(&Event {
            data: request.data.get(),
            request: request.program.get(),
            ..*event
        });
        if request.holds.get() {
            context.held.fetch_sub(1, Relaxed);
        }
        context.unreserve();
        ledger::rest(used, index, &locked);
    }
    context.settling.fetch_sub(events.len() as u32, Release);
    drop(locked);
    context.filled();
}

/// The kernel is done with it, and said this. What it holds is given back; what the program is to hear.
fn settle(request: &Request, thread: &Thread, result: i64) -> i64 {
    let result = match request.after.get() {
        After::Nothing => Some(result),
        After::Owed => owed(request, thread, result),
        After::Look => looked_at(request, thread, result),
    }
    .unwrap_or(result);
    give_back::all_of(&request.frame);
    result
}

/// As libc says it, and back.
fn through_errno(result: i64, act: impl FnOnce(isize) -> isize) -> i64 {
    let n = match result {
        0.. => result as isize,
        _ => {
            raw::set_errno(-result as i32);
            -1
        }
    };
    match act(n) {
        n @ 0.. => n as i64,
        _ => -i64::from(raw::errno()),
    }
}

fn owed(request: &Request, thread: &Thread, result: i64) -> Option<i64> {
    let pinned = descriptors::pinned_at(request.frame.pinned.get(), 0)?;
    request.has_slot();
    Some(through_errno(result, |n| {
        writeback::after_sync(thread, &request.frame, pinned.file, n)
    }))
}

fn looked_at(request: &Request, thread: &Thread, result: i64) -> Option<i64> {
    let written = request.written.get();
    let pinned: Pinned = descriptors::pinned_at(request.frame.pinned.get(), written.seen)?;
    let second = second::in_hand(&request.frame, pinned.file)?;
    let fd = match words::still(written.fd, written.seen) {
        true => written.fd,
        false => -1,
    };
    let call = Transfer {
        fd,
        write: true,
        data: request.written_data(),
        at: Position::At(written.position as i64),
        flags: written.request_flags,
    };
    let terms = Terms::of(pinned.file, fd);
    let about = direct::Request {
        call: &call,
        pinned: &pinned,
        position: written.position,
        flags: written.flags,
        moves_offset: false,
        append: false,
        landed: Cell::new(None),
        under: &written.under(),
        thread,
        frame: &request.frame,
        terms: &terms,
    };
    Some(through_errno(result, |n| {
        match about.after(second, written.epoch, n) {
            Ok(n) => n,
            Err(again) => about.written_again(&again),
        }
    }))
}

/// A request that was done at once is shown like any other. Its place is the caller's, and is given up.
pub fn show(used: Used, event: &Event, fd: i32, quiet: &Quiet) {
    let locked = used.context.lock(quiet);
    used.context.ring().add(event);
    used.context.unreserve();
    drop(locked);
    used.context.filled();
    nudge(used.context, fd, quiet);
}

/// Wakes the leader, which sleeps in the kernel and sees nothing of what others show: by a request of no bytes.
fn nudge(context: &Context, fd: i32, quiet: &Quiet) {
    let locked = context.lock(quiet);
    let needed = context.is_led_by_another() && !context.is_gone();
    if !needed || context.nudged.swap(1, AcqRel) != 0 {
        return;
    }
    drop(locked);
    let own = process::table().map_or(-1, |t| t.probe_fd());
    let mut block = Block {
        data: NUDGE,
        ..Block::default()
    };
    for (fd, opcode) in [(fd, aio::READ), (fd, aio::WRITE), (own, aio::READ)] {
        block = Block {
            fd,
            opcode,
            ..block
        };
        if aio::submit(context.real(), &[&raw mut block]) == 1 {
            return;
        }
    }
    context.nudged.store(0, Release);
}

/// The program is about to read an eventfd that tells of completions: what it tells of is there then.
pub fn before_reading() {
    let Some((thread, frame)) = frames::frame() else {
        return;
    };
    let quiet = Quiet::begin();
    contexts::each(frame, |used| {
        used.context.called();
        if used.context.under_way.load(Acquire) != 0 {
            all_shown(used, &quiet);
        }
    });
    drop(quiet);
    call::end(thread, frame);
}

/// Shows what is complete, and waits for what another thread is about to show.
fn all_shown(used: Used, quiet: &Quiet) {
    loop {
        let fills = used.context.fills.load(Acquire);
        reap(used, quiet);
        if used.context.settling.load(Acquire) == 0 {
            break;
        }
        used.context.sleep(fills, frames::SHORT);
    }
}
