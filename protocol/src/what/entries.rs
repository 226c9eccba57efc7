//! Entries in the lock table's register of mappings: the routes by which a part of a file may be dirtied
//! through memory, which direct I/O of every process must know (P5).

use core::sync::atomic::{AtomicU32, Ordering::*};

use lock_table::FileId;

use crate::what::state::{Entry, state};
use crate::who::process;
use crate::who::registry::{self, Registry};
use crate::who::thread::Frame;

fn new_entry(_: &Registry) -> Option<u32> {
    match state().changing.free_entry.load(Acquire) {
        0 => state().entries.fresh(),
        free => {
            state()
                .changing
                .free_entry
                .store(state().entries.get(free)?.next_free.load(Acquire), Release);
            Some(free)
        }
    }
}

/// An entry with one reference. None: the register is full, or this process's list of its entries.
pub fn make(file: u32, id: FileId, (first, last): (u64, u64), registry: &Registry) -> Option<u32> {
    let table = process::table()?;
    let registered = table.map_register(id, first, last, true)?;
    let Some(index) = new_entry(registry) else {
        table.map_forget(registered);
        return None;
    };
    if let Some(e) = state().entries.get(index) {
        e.registered.store(registered.index() + 1, Release);
        e.file.store(file, Relaxed);
        e.first.store(first, Relaxed);
        e.last.store(last, Relaxed);
        e.refs.store(1, Release);
    }
    Some(index)
}

/// Those in use.
pub fn all() -> impl Iterator<Item = &'static Entry> {
    (1..state().entries.end())
        .filter_map(|i| state().entries.get(i))
        .filter(|e| e.refs.load(Acquire) != 0)
}

pub fn release(index: u32, _: &Registry) {
    let Some(e) = state().entries.get(index).filter(|_| index != 0) else {
        return;
    };
    if e.refs.fetch_sub(1, AcqRel) != 1 {
        return;
    }
    if let Some(table) = process::table()
        && let Some(entry) = e
            .registered
            .load(Acquire)
            .checked_sub(1)
            .and_then(|i| table.map_at(i))
    {
        table.map_forget(entry);
    }
    e.next_free
        .store(state().changing.free_entry.load(Acquire), Release);
    state().changing.free_entry.store(index, Release);
}

pub fn retain(index: u32) {
    if let Some(e) = state().entries.get(index).filter(|_| index != 0) {
        e.refs.fetch_add(1, AcqRel);
    }
}

/// One reference more, the frame's. False: it has no room for it.
pub fn keep(frame: &Frame, entry: u32, _: &Registry) -> bool {
    if frame.buffers.get() == 0 {
        let free = state().changing.free_kept.load(Acquire);
        let Some(index) = (if free == 0 {
            state().kept_entries.fresh()
        } else {
            Some(free)
        }) else {
            return false;
        };
        if let Some(kept) = state().kept_entries.get(index).filter(|_| free != 0) {
            state()
                .changing
                .free_kept
                .store(kept.next_free.load(Acquire), Release);
        }
        frame.buffers.set(index);
    }
    let kept = state().kept_entries.get(frame.buffers.get());
    let room = kept.and_then(|k| k.entries.iter().find(|e| e.load(Relaxed) == 0));
    if let Some(cell) = room {
        retain(entry);
        cell.store(entry, Release);
    }
    room.is_some()
}

/// The frame keeps it no longer.
pub fn keep_no_longer(frame: &Frame, entry: u32) {
    let same = |e: &&AtomicU32| e.load(Relaxed) == entry && entry != 0;
    let kept = state().kept_entries.get(frame.buffers.get());
    if let Some(cell) = kept.and_then(|k| k.entries.iter().find(same)) {
        cell.store(0, Release);
    }
}

/// It is in its place now, and the reference is that one's.
pub fn hand_over(frame: &Frame, entry: u32, registry: &Registry) {
    keep_no_longer(frame, entry);
    let index = frame.buffers.get();
    let kept = state().kept_entries.get(index).filter(|_| index != 0);
    if kept.is_some_and(|k| k.entries.iter().all(|e| e.load(Relaxed) == 0)) {
        let_all_go(frame, registry);
    }
}

/// What the frame keeps goes.
#[inline]
pub fn let_go(frame: &Frame) {
    if frame.buffers.get() != 0 {
        let_all_go(frame, &registry::lock());
    }
}

#[cold]
fn let_all_go(frame: &Frame, registry: &Registry) {
    let index = frame.buffers.replace(0);
    let Some(kept) = state().kept_entries.get(index) else {
        return;
    };
    for cell in &kept.entries {
        release(cell.swap(0, AcqRel), registry);
    }
    kept.next_free
        .store(state().changing.free_kept.load(Acquire), Release);
    state().changing.free_kept.store(index, Release);
}

/// In a forked child, under the registry lock: requests of the parent's other threads are not ours, and `places` counts
/// what is.
pub fn recount_in_child(registry: &Registry, places: impl FnOnce()) {
    for kept in (1..state().kept_entries.end()).filter_map(|i| state().kept_entries.get(i)) {
        kept.entries.iter().for_each(|e| e.store(0, Relaxed));
    }
    let used = |index: &u32| {
        state()
            .entries
            .get(*index)
            .is_some_and(|e| e.refs.load(Acquire) != 0)
    };
    for e in all() {
        e.refs.store(1, Release);
        e.registered.store(0, Release);
    }
    places();
    for index in (1..state().entries.end()).filter(used) {
        release(index, registry);
    }
}
