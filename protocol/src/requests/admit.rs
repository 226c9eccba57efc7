//! What a request needs before the kernel gets it.
use kernel::aio::{self, Block};
use lock_table::page;

use crate::calls::recorded::Recording;
use crate::direct;
use crate::direct::second::InHand;
use crate::direct::write::Way;
use crate::hold::all_direct::{announce, is_within, whole_pages};
use crate::hold::attempt::{Attempt, Look, Stands, attempt_at};
use crate::hold::observed;
use crate::hold::slots::slot_of;
use crate::hold::terms::Terms;
use crate::hold::{call, give_back, way_back};
use crate::requests::pass::Pass;
use crate::requests::request::{After, Request, Written};
use crate::tell::counters::{self, Counter};
use crate::tell::trace as rings;
use crate::what::data::{Data, Position, Transfer};
use crate::what::descriptions::Pinned;
use crate::what::{changes, descriptors, places};
use crate::who::process;
use crate::who::thread::{Frame, Thread};

pub enum Admitted {
    /// It needs nothing.
    Passes,
    /// It has what it needs until the kernel is done.
    Holds,
    /// It is to be done at once.
    Alone,
    /// Somebody is in its way.
    Busy,
}

/// What a request moves. None: it moves nothing.
pub fn transfer_of(block: &Block) -> Option<Transfer> {
    let (address, bytes) = (block.buffer as usize, block.bytes as usize);
    let buffer = || Data::Buffer(address as *mut _, bytes);
    let vector = || Data::Vector(address as *const _, bytes);
    let (write, data) = match block.opcode {
        aio::READ => (false, buffer()),
        aio::WRITE => (true, buffer()),
        aio::READ_VECTOR => (false, vector()),
        aio::WRITE_VECTOR => (true, vector()),
        _ => return None,
    };
    Some(Transfer {
        fd: block.fd,
        write,
        data,
        at: Position::At(block.offset),
        flags: block.rw_flags,
    })
}

/// Signals are blocked, and nobody is waited for.
pub fn admit(request: &Request, block: &Block, pass: &mut Pass) -> Admitted {
    let Some(thread) = process::active() else {
        return Admitted::Passes;
    };
    let moves = transfer_of(block);
    let syncs = matches!(block.opcode, aio::SYNC | aio::DATA_SYNC);
    if moves.is_none() && !syncs {
        return Admitted::Passes;
    }
    let Some(pinned) = descriptors::pin(block.fd) else {
        return Admitted::Passes;
    };
    request.frame.pinned.set(pinned.index);
    let Some(call) = moves else {
        request.after.set(After::Owed);
        return Admitted::Passes;
    };
    let admitted = needs_a_range(&call, &pinned).map_or(Admitted::Passes, |len| {
        in_flight(request, &call, len, (thread, pass), &pinned)
    });
    if matches!(admitted, Admitted::Holds) && pinned.file.settings().records_calls() {
        let begun = Recording::begin_request(pinned.file, &call);
        request.begun.set(begun);
    }
    // One that goes as it came is told by nobody.
    let is_missed =
        matches!(admitted, Admitted::Passes) && pinned.file.settings().records_contents();
    if is_missed && needs_a_range(&call, &pinned).is_some() {
        rings::lose();
    }
    if !matches!(admitted, Admitted::Holds) {
        give_back::all_of(&request.frame);
    }
    admitted
}

/// How much it moves. None: nothing, or the kernel will refuse it.
fn needs_a_range(call: &Transfer, pinned: &Pinned) -> Option<u64> {
    let allowed = pinned.description.allows(call.write);
    let forwards = matches!(call.at, Position::At(0..));
    call.data
        .bytes()
        .filter(|len| *len != 0 && allowed && forwards)
}

/// Whether it can be in flight, holding what it needs.
#[inline(never)]
fn in_flight(
    request: &Request,
    call: &Transfer,
    len: u64,
    (thread, pass): (&Thread, &mut Pass),
    pinned: &Pinned,
) -> Admitted {
    if pinned.file.settings().observe() {
        return looked_on(request, call, len, thread, pinned);
    }
    if !pinned.description.has(libc::O_DIRECT) || !request.has_slot() {
        return Admitted::Alone;
    }
    if let Some(admitted) = announced(request, call, len, thread, pinned) {
        return admitted;
    }
    let frame = &request.frame;
    let terms = Terms::of(pinned.file, call.fd);
    let who = (thread, frame, &terms);
    for _ in 0..4 {
        let mut stands = Stands::default();
        let reaches = pass.reaches(call.fd, pinned.seen);
        // The repair comes when the number may be closed: what stands behind it is to be known now.
        let look = Look::Beyond(reaches);
        match attempt_at(call, len, who, pinned, &mut stands, true, look) {
            Err(Attempt::Again) => {}
            Err(Attempt::Refused(libc::EAGAIN)) => return Admitted::Busy,
            Err(Attempt::Refused(_)) => return Admitted::Alone,
            Err(Attempt::Replaced) => {
                changes::forget_seen(call.fd, pinned.seen);
                return Admitted::Alone;
            }
            Ok(()) if !stands.view.direct || stands.view.append => return Admitted::Alone,
            Ok(()) => {
                let admitted = directly(request, &stands, call, who, pinned);
                if let Some(size) = stands.under.size.filter(|size| *size != reaches)
                    && matches!(admitted, Admitted::Holds)
                {
                    pass.looked(call.fd, pinned.seen, stands.under.holds.1, size);
                }
                return admitted;
            }
        }
    }
    Admitted::Alone
}

/// Of a file that is observed: it is announced until it is complete, and goes as it came, also where there is no slot.
#[inline(never)]
fn looked_on(
    request: &Request,
    call: &Transfer,
    len: u64,
    thread: &Thread,
    pinned: &Pinned,
) -> Admitted {
    if !request.has_slot() {
        return Admitted::Passes;
    }
    let terms = Terms::of(pinned.file, call.fd);
    observed::announce(call, len, (thread, &request.frame, &terms), pinned);
    Admitted::Holds
}

/// The same where all use of the file is direct (see `all_direct`). None: it needs its range.
#[inline(never)]
fn announced(
    request: &Request,
    call: &Transfer,
    len: u64,
    thread: &Thread,
    pinned: &Pinned,
) -> Option<Admitted> {
    let file = pinned.file;
    if way_back::is_due(file)
        && !file.is_direct_alone()
        && let Some(frame) = call::begin(thread, false)
    {
        way_back::settle_now(thread, frame, pinned);
        call::end(thread, frame);
    }
    if !file.is_direct_alone() {
        return None;
    }
    let frame = &request.frame;
    let table = process::table()?;
    let slot = slot_of(table, thread, frame)?;
    // Others only announce themselves, and give way to nobody: who needs more waits for a moment by itself.
    let alone = Some(Admitted::Alone);
    if call.appends(pinned.description.flags()) {
        return alone;
    }
    if !announce(table, slot, frame, call, pinned) {
        return None;
    }
    if !call.write {
        counters::count(Counter::DirectReadsDirect, 1);
        places::pin_buffers(frame, &call.data);
        return Some(Admitted::Holds);
    }
    if whole_pages(call).is_none() || !stays_within(call, len, pinned) {
        return alone;
    }
    counters::count(Counter::DirectWritesDirect, 1);
    Some(Admitted::Holds)
}

/// Whether an announced write begins at a page and ends within the file.
fn stays_within(call: &Transfer, len: u64, pinned: &Pinned) -> bool {
    let Position::At(start) = call.at else {
        return false;
    };
    u64::try_from(start).is_ok_and(|start| {
        start.is_multiple_of(page()) && is_within(call.fd, pinned, start.saturating_add(len))
    })
}

/// The range is held: whether it goes past the cache, and what is to be done afterwards.
#[inline(never)]
fn directly(
    request: &Request,
    Stands { view, under }: &Stands,
    call: &Transfer,
    who: (&Thread, &Frame, &Terms),
    pinned: &Pinned,
) -> Admitted {
    let Some(about) = direct::Request::of(call, (view, under), who, pinned) else {
        return Admitted::Alone;
    };
    if !call.write {
        if about.is_mapped_writable() {
            return Admitted::Alone;
        }
        counters::count(Counter::DirectReadsDirect, 1);
        places::pin_buffers(&request.frame, &call.data);
        return Admitted::Holds;
    }
    match about.way_to_write() {
        Way::Refused(_) | Way::ThroughCache | Way::WithoutSecond => Admitted::Alone,
        Way::Directly => {
            counters::count(Counter::DirectWritesDirect, 1);
            Admitted::Holds
        }
        Way::Looked(second) => looked(request, &about, &second),
    }
}

#[inline(never)]
fn looked(request: &Request, about: &direct::Request, second: &InHand) -> Admitted {
    let call = about.call;
    let Some(epoch) = about.before(second).filter(|_| request.keeps(&call.data)) else {
        return Admitted::Alone;
    };
    let (buffer, bytes) = match call.data {
        Data::Buffer(at, len) => (at as usize, len),
        Data::Vector(_, count) => (0, count),
    };
    request.written.set(Written {
        epoch,
        flags: about.flags,
        request_flags: call.flags,
        fd: call.fd,
        seen: about.pinned.seen,
        position: about.position,
        len: about.under.len,
        touches_from: about.under.touches_from,
        size: about.under.size,
        holds: about.under.holds,
        buffer,
        bytes,
    });
    request.after.set(After::Look);
    Admitted::Holds
}
