//! Making contexts and destroying them.

use core::sync::atomic::{AtomicU32, Ordering::*};

use kernel::{Quiet, Raw, aio};

use crate::requests::contexts::{self, Used};
use crate::requests::reap::{nudge, reap};
use crate::requests::ring::Ring;
use crate::requests::{frames, helper, ledger, wait};
use crate::tell::events;
use crate::who::{outlived, process};

/// `io_setup`. `into` is the program's pointer.
pub fn setup(count: u32, into: *mut usize) -> Raw {
    let mut given = [0usize];
    if kernel::copy_from_program(into, &mut given).is_err() {
        return -libc::EFAULT as Raw;
    }
    if given != [0] {
        return -libc::EINVAL as Raw;
    }
    let mut real = 0;
    let made = aio::setup(count, &mut real);
    if made < 0 {
        return made;
    }
    let own = process::active().and_then(|_| adopt(real));
    let id = own.unwrap_or(real);
    if kernel::copy_to_program(&[id], into).is_ok() {
        return made;
    }
    if own.is_none() || destroy(id) < 0 {
        aio::destroy(real);
    }
    -libc::EFAULT as Raw
}

/// A context of ours around a real one. None: there is no memory, or the kernel's rings have changed, and that is told.
fn adopt(real: usize) -> Option<usize> {
    // SAFETY: it was just made.
    let theirs = unsafe { Ring::of_kernel(real) };
    let ring = theirs.as_ref().and_then(Ring::like);
    let Some(ring) = ring.filter(|ring| contexts::make(real, ring).is_some()) else {
        let what = "a context of io_setup: no memory, or an unknown kernel";
        events::emit(&events::Event::uncovered(None, what));
        return None;
    };
    outlived::who_answers(&super::ANSWERS);
    helper::start();
    Some(ring.address())
}

/// `io_destroy`: what holds ranges is waited for and looked at; the rest the kernel cancels or waits for. Those who
/// sleep in it wake.
pub fn destroy(id: usize) -> Raw {
    frames::in_frame(|frame| match contexts::find(id, frame) {
        None => aio::destroy(id),
        Some(used) if used.context.begins_to_die() => end_of(used),
        Some(_) => -libc::EINVAL as Raw,
    })
}

fn end_of(used: Used) -> Raw {
    let context = used.context;
    context.filled();
    let over = |word: &AtomicU32| word.load(Acquire) == 0;
    let quiet = Quiet::begin();
    loop {
        let fills = context.fills.load(Acquire);
        reap(used, &quiet);
        let done = over(&context.held) && over(&context.busy) && over(&context.settling);
        if done && context.goes(&quiet) {
            break;
        }
        nudge(context, -1, &quiet);
        wait::deaf(used, fills, Some(frames::SHORT), &quiet);
    }
    let result = aio::destroy(context.real());
    context.filled();
    ledger::forget_all_of(used);
    contexts::end(context, used.index);
    result
}
