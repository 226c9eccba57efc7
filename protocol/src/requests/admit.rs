//! What a request needs before the kernel gets it.
use kernel::aio::{self, Block};
use lock_table::summary::Counter;

use crate::calls::transfer::{Attempt, View, attempt_at, is_allowed};
use crate::direct::second::InHand;
use crate::direct::{self, Held, Under, Way};
use crate::hold::give_back;
use crate::hold::ranges::Terms;
use crate::requests::ledger::{After, Request, Written};
use crate::tell::counters;
use crate::what::data::{Data, Position, Transfer};
use crate::what::descriptors::{self, Pinned};
use crate::what::places;
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
pub fn admit(request: &Request, block: &Block) -> Admitted {
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
        in_flight(request, &call, len, thread, &pinned)
    });
    if !matches!(admitted, Admitted::Holds) {
        give_back::all_of(&request.frame);
    }
    admitted
}

/// How much it moves. None: nothing, or the kernel will refuse it.
fn needs_a_range(call: &Transfer, pinned: &Pinned) -> Option<u64> {
    let allowed = is_allowed(call, pinned);
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
    thread: &Thread,
    pinned: &Pinned,
) -> Admitted {
    if !pinned.description.has(libc::O_DIRECT) || !request.has_slot() {
        return Admitted::Alone;
    }
    let frame = &request.frame;
    let terms = Terms::of(pinned.file, call.fd);
    let who = (thread, frame, &terms);
    for _ in 0..4 {
        let mut held = Held::Pages;
        match attempt_at(call, len, who, pinned, &mut held, true) {
            Err(Attempt::Again) => {}
            Err(Attempt::Refused(libc::EAGAIN)) => return Admitted::Busy,
            Err(Attempt::Refused(_)) => return Admitted::Alone,
            Err(Attempt::Replaced) => {
                descriptors::forget_seen(call.fd, pinned.seen);
                return Admitted::Alone;
            }
            Ok(_) if terms.observe => return Admitted::Holds,
            Ok((view, _)) if !view.direct || view.append => return Admitted::Alone,
            Ok((view, under)) => {
                return directly(request, (&view, &under), call, who, pinned);
            }
        }
    }
    Admitted::Alone
}

/// The range is held: whether it goes past the cache, and what is to be done afterwards.
fn directly(
    request: &Request,
    (view, under): (&View, &Under),
    call: &Transfer,
    who: (&Thread, &Frame, &Terms),
    pinned: &Pinned,
) -> Admitted {
    let Some(about) = under.request(call, view, who, pinned) else {
        return Admitted::Alone;
    };
    if !call.write {
        // At the end there is nothing to read.
        if about.position < under.size {
            if about.is_mapped_writable() {
                return Admitted::Alone;
            }
            counters::count(Counter::DirectReadsDirect, 1);
            places::pin_buffers(&request.frame, &call.data);
        }
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
