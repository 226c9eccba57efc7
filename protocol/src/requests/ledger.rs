//! The requests in flight, and which of their records are free.

use core::sync::atomic::Ordering::*;

use kernel::aio::{Block, Event};

use crate::hold::{give_back, slots};
use crate::requests::contexts::{Locked, Used};
use crate::requests::request::{After, DONE, HAS_OWNER, IN_FLIGHT, RESTS, Request, WAITED_FOR};
use crate::requests::state::state;
use crate::who::registry;

pub fn get(index: u32) -> Option<&'static Request> {
    state().requests.get(index)
}

/// An entry for a new request. None: no memory.
pub fn take(used: Used, _: &Locked) -> Option<(u32, &'static Request)> {
    let context = used.context;
    let index = match context.resting.load(Relaxed) {
        0 => {
            let _registry = registry::lock();
            match state().free_request.load(Acquire) {
                0 => state().requests.fresh()?,
                free => {
                    state().free_request.store(get(free)?.next.get(), Release);
                    free
                }
            }
        }
        resting => {
            context.resting.store(get(resting)?.next.get(), Relaxed);
            resting
        }
    };
    let request = get(index)?;
    request.context.set(used.index);
    request.after.set(After::Nothing);
    request.holds.set(false);
    request.state.store(HAS_OWNER, Release);
    Some((index, request))
}

/// It is over, and holds nothing.
pub fn rest(used: Used, index: u32, _: &Locked) {
    if let Some(request) = get(index) {
        request.next.set(used.context.resting.load(Relaxed));
        used.context.resting.store(index, Relaxed);
        request.state.store(RESTS, Release);
    }
}

/// The completion says which entry it is of. None: it is none of this context's that is in flight.
pub fn completed(used: Used, event: &Event) -> Option<(u32, &'static Request)> {
    let index = u32::try_from(event.data).ok()?;
    let request = get(index)?;
    if request.context.get() != used.index {
        return None;
    }
    let becomes = |from, to| {
        let changed = request.state.compare_exchange(from, to, AcqRel, Relaxed);
        changed.is_ok()
    };
    if request.state.load(Acquire) == WAITED_FOR {
        request.result.set((event.result, event.result2));
        becomes(WAITED_FOR, DONE);
        return None;
    }
    becomes(IN_FLIGHT, HAS_OWNER).then_some((index, request))
}

/// What the kernel has of the program's request at this address.
pub fn find(used: Used, program: u64) -> Option<*mut Block> {
    let all = (1..state().requests.end()).filter_map(get);
    let mut found = all.filter(|request| {
        request.state.load(Acquire) == IN_FLIGHT
            && request.context.get() == used.index
            && request.program.get() == program
    });
    found.next().map(Request::block)
}

/// The context's real one is destroyed: what was in flight was cancelled, and nobody is told.
pub fn forget_all_of(used: Used) {
    for index in 1..state().requests.end() {
        let Some(request) = get(index).filter(|r| r.context.get() == used.index) else {
            continue;
        };
        give_back::all_of(&request.frame);
        let slot = request.frame.slot.replace(0);
        if slot != 0 {
            slots::give_slot_back(slot);
        }
        let _registry = registry::lock();
        request.context.set(0);
        request.state.store(RESTS, Release);
        request.next.set(state().free_request.load(Acquire));
        state().free_request.store(index, Release);
    }
}

/// Whether there is, or was, any request.
pub fn any() -> bool {
    state().requests.end() != 0
}

/// See `requests`.
pub fn forget_in_child() {
    state().free_request.store(0, Relaxed);
    for index in 1..state().requests.end() {
        let Some(request) = get(index) else { continue };
        request.frame.forget();
        request.context.set(0);
        request.state.store(RESTS, Relaxed);
        request.next.set(state().free_request.load(Relaxed));
        state().free_request.store(index, Relaxed);
    }
}
