//! Second descriptors (see `second`): their numbers, and the hands that they are in.
//!
//! A number may have to be given up (`surrender`, [`shed`]) while calls act through it. A call that
//! does has it *in hand*: a word of its own, by its lock slot, in which the number stands. Whoever takes the
//! number away changes the file's cell first and looks at the hands then; a call fills its hand first and
//! looks at the cell then. A word is filled and emptied by one store, so that a call which a signal handler
//! jumps out of leaves nothing half done: its frame knows that a hand is to be emptied.

use core::sync::atomic::{AtomicU64, Ordering::*};

use lock_table::Table;

use crate::what::file::POSIX_LOCKED;
use crate::what::seconds::{cells, close, close_all};
use crate::what::state::state;
use crate::what::{files, own};
use crate::who::thread::{Frame, Thread};
use crate::who::{process, registry};

/// No number is that.
const NOTHING_YET: u64 = u64::MAX;
/// Where a frame has a hand: by its slot, or further on, the spare ones.
const BY_SLOT: u8 = 1;

fn all_hands() -> impl Iterator<Item = &'static AtomicU64> {
    (0..state().hands.end())
        .filter_map(|slot| state().hands.get(slot))
        .chain(&state().spare_hands)
}

/// The call is done, or was jumped out of.
pub fn let_go(frame: &Frame) {
    if let Some(hand) = of(frame) {
        frame.second.set(0);
        hand.store(0, SeqCst);
    }
}

/// The hand of this call, by its lock slot or, where it has none, a spare one.
pub fn take(frame: &Frame) -> Option<&'static AtomicU64> {
    match frame.slot.get().checked_sub(1) {
        Some(slot) => {
            let hand = state().hands.ensure(slot)?;
            frame.second.set(BY_SLOT);
            Some(hand)
        }
        None => spare(frame),
    }
}

/// A hand for a call that has no slot: there are too few.
#[cold]
fn spare(frame: &Frame) -> Option<&'static AtomicU64> {
    let free = |hand: &AtomicU64| {
        hand.compare_exchange(0, NOTHING_YET, SeqCst, Relaxed)
            .is_ok()
    };
    let (place, hand) = (1u8..)
        .zip(&state().spare_hands)
        .find(|(_, hand)| free(hand))?;
    frame.second.set(BY_SLOT + place);
    Some(hand)
}

pub fn of(frame: &Frame) -> Option<&'static AtomicU64> {
    match frame.second.get() {
        0 => None,
        BY_SLOT => state().hands.get(frame.slot.get().checked_sub(1)?),
        place => state().spare_hands.get(usize::from(place - BY_SLOT - 1)),
    }
}

/// Whether a call has this number in hand.
pub fn is_in_hand(fd: i32) -> bool {
    all_hands().any(|hand| hand.load(SeqCst) == fd as u64 + 1)
}

/// The number has moved: this thread's own calls, which a signal handler interrupted, go on with the new one.
/// Whether there are any; to -1: looks only.
pub fn move_own(thread: &Thread, from: i32, to: i32) -> bool {
    let hands = thread.frames.iter().filter_map(of);
    let mut any = false;
    for hand in hands.filter(|hand| hand.load(SeqCst) == from as u64 + 1) {
        any = true;
        if to >= 0 {
            hand.store(to as u64 + 1, SeqCst);
        }
    }
    any
}

/// In a forked child, which has no POSIX locks yet, and will not be fenced: the program could write to the file by a
/// number that it has not opened.
pub fn close_all_in_child() {
    files::all().for_each(|(_, file)| close_all(file));
}

/// The program has no number left: gives up the table's probe, and those second descriptors that can be made again.
/// Whether that freed any. Under the registry lock, as is whoever else empties or fills a cell.
pub fn shed() -> bool {
    let _registry = registry::lock();
    let mut any = false;
    for (_, file) in files::all().filter(|(_, f)| !f.has(POSIX_LOCKED)) {
        for cell in cells(file) {
            let stored = cell.swap(0, SeqCst);
            if stored != 0 && !is_in_hand(stored - 1) {
                close(stored);
                any = true;
            } else if stored != 0 {
                cell.store(stored, SeqCst);
            }
        }
    }
    if let Some(probe) = process::table().and_then(Table::give_up_probe) {
        kernel::close(probe);
        own::disown(probe);
        any = true;
    }
    any
}

/// In a forked child: nobody here has anything in hand.
pub fn forget_hands_in_child() {
    let filled = all_hands().filter(|hand| hand.load(Relaxed) != 0);
    filled.for_each(|hand| hand.store(0, Relaxed));
}
