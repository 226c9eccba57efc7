//! Whether this process's mappings are to be looked at (see `unseen`): asked where numbers are looked at, at the cost of
//! a load.

use core::sync::atomic::Ordering::*;

use crate::who::state::state;

pub const NOT_DUE: u32 = 0;
/// When it costs little.
pub const SOMETIME: u32 = 1;
pub const NOW: u32 = 2;

/// A child that shares our memory is about to map something, and its mappings are ours.
pub fn guest_maps() {
    state().changing.due.store(NOW, Release);
}

/// The process uses another file directly: what it has mapped begins to matter.
pub fn direct_use_begins() {
    state().changing.due.fetch_max(SOMETIME, AcqRel);
}

/// A look begins: how much it is due.
pub fn take() -> u32 {
    state().changing.due.swap(NOT_DUE, AcqRel)
}

pub fn how_much() -> u32 {
    state().changing.due.load(Acquire)
}

/// In the constructor.
pub fn who_looks(look: fn()) {
    state().looks.store(look as usize, Release);
}

/// Looks if there is a reason to. Not with the registry held, nor with a range.
#[inline]
pub fn look_if_due() {
    if state().changing.due.load(Relaxed) != NOT_DUE {
        look();
    }
}

#[cold]
fn look() {
    let look = state().looks.load(Acquire);
    if look != 0 {
        // SAFETY: not null, and only `who_looks` stores here: the address of such a function.
        unsafe { core::mem::transmute::<usize, fn()>(look)() };
    }
}
