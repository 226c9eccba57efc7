//! From a completion of the kernel's to one that the program sees.
use core::cell::Cell;
use core::sync::atomic::Ordering::*;

use kernel::Quiet;
use kernel::aio::{self, Block, Event};

use crate::calls::recorded::Recording;
use crate::direct;
use crate::direct::{second, writeback};
use crate::hold::terms::Terms;
use crate::hold::{call, give_back};
use crate::requests::admit::transfer_of;
use crate::requests::contexts::{self, Context, Used};
use crate::requests::frames;
use crate::requests::ledger;
use crate::requests::request::{After, Request};
use crate::requests::ring::BATCH;
use crate::tell::events;
use crate::what::data::{Position, Transfer};
use crate::what::descriptions::{self, Pinned};
use crate::what::words;
use crate::who::thread::{self, Thread};
use crate::who::{process, scratch};

/// What the request of no bytes carries that wakes a leader.
const NUDGE: u64 = u64::MAX;

/// Takes what is complete off the kernel's ring and shows it. Not while another thread sleeps there for the next one.
/// Whether there was something.
pub fn reap(used: Used, quiet: &Quiet) -> bool {
    let any = reap_and(used, quiet, false);
    if any {
        used.context.calls();
    }
    any
}

/// The same by the helper, for a program that doesn't call. The kernel has told its eventfds before there was something
/// on our ring: a program that looked there at once, and isn't told again, would sleep on.
pub fn reap_for_it(used: Used, quiet: &Quiet) -> bool {
    reap_and(used, quiet, true)
}

fn reap_and(used: Used, quiet: &Quiet, tells_again: bool) -> bool {
    let thread = thread::current();
    // Not from a repair within, which waits for a range.
    if thread.settles.get() || !used.context.has_complete(quiet) {
        return false;
    }
    scratch::roomy_within(quiet, || all_complete(used, thread, quiet, tells_again))
}

fn all_complete(used: Used, thread: &Thread, quiet: &Quiet, tells_again: bool) -> bool {
    let errno = kernel::errno();
    thread.settles.set(true);
    let mut any = false;
    let mut batch = [Event::default(); BATCH];
    while let Some(events) = taken(used, &mut batch, quiet) {
        let all = events.len() < BATCH;
        let told = settle_and_show(used, thread, events, quiet);
        if tells_again {
            told.into_iter().for_each(tell_again);
        }
        any = true;
        if all {
            break;
        }
    }
    thread.settles.set(false);
    events::tell_what_is_due(thread);
    kernel::set_errno(errno);
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
    let ring = context.kernel_ring();
    let (events, behind) = ring.look(batch.get_mut(count..)?);
    if !events.is_empty() {
        count += events.len();
        ring.take_to(behind);
    }
    context.settling.fetch_add(count as u32, Relaxed);
    batch.get_mut(..count).filter(|_| count != 0)
}

/// One after the other, and then shown together. The eventfds that are told of them; -1: none.
fn settle_and_show(
    used: Used,
    thread: &Thread,
    events: &mut [Event],
    quiet: &Quiet,
) -> [i32; BATCH] {
    let mut told = [-1; BATCH];
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
    let (mut over, mut held) = (0, 0);
    for (event, told) in events.iter().zip(&mut told).filter(|(e, _)| e.data != 0) {
        let index = event.data as u32;
        let Some(request) = ledger::get(index) else {
            continue;
        };
        context.ring().add(&Event {
            data: request.data.get(),
            request: request.program.get(),
            ..*event
        });
        (over, held) = (over + 1, held + u32::from(request.holds.get()));
        *told = request.tells().unwrap_or(-1);
        ledger::rest(used, index, &locked);
    }
    context.held.fetch_sub(held, Relaxed);
    context.unreserve(over);
    context.settling.fetch_sub(events.len() as u32, Release);
    // Under the lock: who is about to lead, and has looked before this was shown, sees that it was.
    context.filled();
    drop(locked);
    told
}

/// Wakes who waits for an eventfd that tells of something already, and adds nothing to it. By a copy of the number, so that
/// nothing else is written to that the program puts there in this moment.
fn tell_again(fd: i32) {
    if fd < 0 {
        return;
    }
    let Ok(copy) = kernel::high::raise_copy(fd, 0, &mut |_| true) else {
        return;
    };
    if is_eventfd(copy).is_ok() {
        kernel::write_politely(copy, &0u64.to_ne_bytes());
    }
    kernel::close(copy);
}

/// As the kernel sees it, which will not be asked: it must never be written to if it is a file.
pub fn is_eventfd(fd: i32) -> Result<(), i32> {
    let stat = kernel::fstat(fd)?;
    match stat.mode & libc::S_IFMT {
        0 => Ok(()),
        _ => Err(libc::EINVAL),
    }
}

/// The kernel is done with it, and said this. What it holds is given back; what the program is to hear.
fn settle(request: &Request, thread: &Thread, result: i64) -> i64 {
    let result = match request.after.get() {
        After::Nothing => Some(result),
        After::Owed => owed(request, thread, result),
        After::Look => looked_at(request, thread, result),
    }
    .unwrap_or(result);
    let recording = recorded_of(request);
    give_back::all_of(&request.frame);
    if let Some((recording, call)) = recording {
        recording.tell_request(&call, result);
    }
    result
}

/// A request on a file whose calls are recorded.
#[inline(never)]
fn recorded_of(request: &Request) -> Option<(Recording, Transfer)> {
    let begun = request.begun.replace(0);
    if begun == 0 {
        return None;
    }
    let pinned = descriptions::pinned_at(request.frame.pinned.get(), 0)?;
    let recording = Recording::begun_at(pinned.file, begun);
    Some((recording, transfer_of(&request.asked())?))
}

/// As libc says it, and back.
fn through_errno(result: i64, act: impl FnOnce(isize) -> isize) -> i64 {
    let n = match result {
        0.. => result as isize,
        _ => {
            kernel::set_errno(-result as i32);
            -1
        }
    };
    match act(n) {
        n @ 0.. => n as i64,
        _ => -i64::from(kernel::errno()),
    }
}

fn owed(request: &Request, thread: &Thread, result: i64) -> Option<i64> {
    let pinned = descriptions::pinned_at(request.frame.pinned.get(), 0)?;
    request.has_slot();
    Some(through_errno(result, |n| {
        writeback::after_sync(thread, &request.frame, pinned.file, n)
    }))
}

fn looked_at(request: &Request, thread: &Thread, result: i64) -> Option<i64> {
    let written = request.written.get();
    let pinned: Pinned = descriptions::pinned_at(request.frame.pinned.get(), written.seen)?;
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
        size: Cell::new(written.size),
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
    used.context.unreserve(1);
    drop(locked);
    used.context.filled();
    nudge(used.context, fd, quiet);
}

/// Wakes the leader, which sleeps in the kernel and sees nothing of what others show: by a request of no bytes.
pub fn nudge(context: &Context, fd: i32, quiet: &Quiet) {
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

/// The program is about to read an eventfd that tells of completions, or has read it: what it tells of is there then.
pub fn show_complete() {
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
