//! All contexts of the program, and the calls that use one.

use core::sync::atomic::Ordering::*;

use kernel::Quiet;

use crate::requests::context::DESTROYED;
pub use crate::requests::context::{Context, Locked};
use crate::requests::ring::Ring;
use crate::requests::state::state;
use crate::who::registry::{self, Registry};
use crate::who::thread::Frame;

/// In a frame, beside the context: the call has a place there for one request.
const PLACE: u32 = 1 << 31;

/// A context that this call uses.
#[derive(Clone, Copy)]
pub struct Used {
    pub context: &'static Context,
    pub index: u32,
}

/// The program's context of this name, used by the frame until it ends; None: it is none of ours.
#[inline(never)]
pub fn find(id: usize, frame: &Frame) -> Option<Used> {
    if id == 0 {
        return None;
    }
    let is = |used: &Used| used.context.ring.load(Acquire) == id;
    all().find(|used| is(used) && begin(*used, frame, id))
}

pub fn all() -> impl Iterator<Item = Used> {
    (1..state().contexts.end()).filter_map(|index| {
        let context = state().contexts.get(index)?;
        Some(Used { context, index })
    })
}

/// Whether there is, or was, any.
pub fn any() -> bool {
    state().contexts.end() != 0
}

/// Every context, one after the other, used by the frame meanwhile.
pub fn each(frame: &Frame, mut act: impl FnMut(Used)) {
    for used in all() {
        let id = used.context.ring.load(Acquire);
        if id != 0 && id & DESTROYED == 0 && begin(used, frame, id) {
            act(used);
            let_go(frame);
        }
    }
}

fn begin(used: Used, frame: &Frame, id: usize) -> bool {
    let Used { context, index } = used;
    let more = |users| (users != 0).then_some(users + 1);
    if context.users.fetch_update(AcqRel, Acquire, more).is_err() {
        return false;
    }
    frame.context.set(index);
    let still = context.ring.load(Acquire) == id;
    if !still {
        let_go(frame);
    }
    still
}

/// A request is about to be done by itself: it has a place, and the real context stays. Err: no place is free, or it is
/// being destroyed. Until [`end_alone`], or until the frame is jumped out of.
#[inline(never)]
pub fn begin_alone(used: Used, frame: &Frame) -> Result<(), i32> {
    let quiet = Quiet::begin();
    let locked = used.context.lock(&quiet);
    if used.context.is_dead() {
        return Err(libc::EINVAL);
    }
    if used.context.reserve(1, &locked) == 0 {
        return Err(libc::EAGAIN);
    }
    used.context.busy.fetch_add(1, Relaxed);
    frame.context.set(used.index | PLACE);
    Ok(())
}

/// `act` uses the place up.
pub fn end_alone(used: Used, frame: &Frame, act: impl FnOnce(&Quiet)) {
    let quiet = Quiet::begin();
    act(&quiet);
    used.context.end_giving();
    frame.context.set(used.index);
    drop(quiet);
}

#[cold]
#[inline(never)]
pub fn let_go(frame: &Frame) {
    let stored = frame.context.replace(0);
    let index = stored & !PLACE;
    let Some(context) = state().contexts.get(index) else {
        return;
    };
    if stored & PLACE != 0 {
        context.unreserve(1);
        context.end_giving();
    }
    // It was jumped out of while it slept.
    if context.led() {
        context.filled();
    }
    end(context, index);
}

/// One user less.
pub fn end(context: &Context, index: u32) {
    if context.users.fetch_sub(1, AcqRel) == 1 {
        recycle(context, index, &registry::lock());
    }
}

/// Nobody uses it any more, and nobody will find it.
fn recycle(context: &Context, index: u32, _: &Registry) {
    context.ring().unmap();
    context.ring.store(0, Release);
    context
        .next_free
        .store(state().free_context.load(Acquire), Release);
    state().free_context.store(index, Release);
}

/// A new one, around a real one. None: no memory.
pub fn make(real: usize, ring: &Ring) -> Option<()> {
    let _registry = registry::lock();
    let index = match state().free_context.load(Acquire) {
        0 => state().contexts.fresh()?,
        free => {
            state()
                .free_context
                .store(state().contexts.get(free)?.next_free.load(Acquire), Release);
            free
        }
    };
    state().contexts.get(index)?.start(real, ring);
    Some(())
}

/// See `requests`. They are not given to others: a handler may have forked that interrupted a call which uses one.
pub fn forget_in_child() {
    for used in all().filter(|used| used.context.users.load(Relaxed) != 0) {
        used.context.is_the_parents();
    }
}
