//! Entries in the lock table's register of mappings: the routes by which a part of a file may be dirtied
//! through memory, which direct I/O of every process must know.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use lock_table::{FileId, Mode};

use crate::arena::{Arena, Zeroed};
use crate::data::Data;
use crate::events::{self, Event};
use crate::places::{any, with};
use crate::ranges::{self, Got, Terms};
use crate::registry::{self, Registry};
use crate::thread::{Frame, Thread};
use crate::{files, process};

/// An entry in the table's register, shared by the pieces of a mapping and by requests whose buffers
/// lie in it: the kernel still writes those pages when the mapping is gone.
#[derive(Default)]
struct Entry {
    refs: AtomicU32,
    next_free: AtomicU32,
    registered: AtomicU32,
    file: AtomicU32,
    first: AtomicU64,
    last: AtomicU64,
}
// SAFETY: atomics only.
unsafe impl Zeroed for Entry {}
static ENTRIES: Arena<Entry> = Arena::new();
static FREE: AtomicU32 = AtomicU32::new(0);

/// A call that registers before it acts: in one frame, so that its waits share one limit, however much it registers.
pub struct Registering<'a> {
    thread: &'a Thread,
    frame: Option<&'a Frame>,
    /// What it registers is there already, and counts in any case.
    exists: bool,
}

impl Registering<'_> {
    /// None: this process isn't fenced.
    pub fn begin() -> Option<Registering<'static>> {
        let thread = process::active()?;
        Some(Registering {
            thread,
            frame: ranges::begin(thread, false),
            exists: false,
        })
    }

    /// For mappings that are there already.
    pub fn of_existing() -> Option<Registering<'static>> {
        let call = Registering::begin()?;
        Some(Registering {
            exists: true,
            ..call
        })
    }

    /// Not while the registry is held: a cancelled thread may end here.
    pub fn end(self) {
        if let Some(frame) = self.frame {
            ranges::end(self.thread, frame);
        }
    }

    /// Enter a range of a file as writable, under a lock that keeps direct I/O in flight out of it. 0: the register
    /// is full, and that has been told.
    pub fn register(&self, file_index: u32, fd: i32, first: u64, last: u64) -> Result<u32, i32> {
        let Some(file) = files::get(file_index) else {
            return Ok(0);
        };
        // Calls nest too deep: without the lock the entry still counts for direct I/O that begins from now on.
        let Some(frame) = self.frame else {
            return Ok(enter(file_index, file.id(), fd, first, last));
        };
        let terms = coherent(Terms::of(file_index, file, fd));
        let claim = terms.claim(Mode::BufferedWrite, first, last);
        let result = match ranges::take(self.thread, frame, &terms, &claim, false) {
            Got::Go => Ok(enter(file_index, file.id(), fd, first, last)),
            Got::Refused(_) if self.exists => Ok(enter(file_index, file.id(), fd, first, last)),
            Got::Refused(error) => Err(error),
        };
        ranges::release(frame);
        result
    }
}

/// A mapping is a route, not a call: isolation is not its business.
fn coherent(terms: Terms) -> Terms {
    Terms {
        atomic: false,
        ..terms
    }
}

fn enter(file_index: u32, id: FileId, fd: i32, first: u64, last: u64) -> u32 {
    let registry = registry::lock();
    let registered = process::table().and_then(|t| t.map_register(id, first, last, true));
    let entry = registered.and_then(|_| new_entry(&registry));
    match (registered, entry) {
        (Some(registered), Some(index)) => {
            if let Some(e) = ENTRIES.get(index) {
                e.registered.store(registered.index() + 1, Release);
                e.file.store(file_index, Relaxed);
                e.first.store(first, Relaxed);
                e.last.store(last, Relaxed);
                e.refs.store(1, Release);
            }
            index
        }
        _ => {
            // The register had room and this process's list of its entries had none.
            if let (Some(table), Some(registered)) = (process::table(), registered) {
                table.map_forget(registered);
            }
            drop(registry);
            let event = Event::uncovered(file_index, "the table's register of mappings is full");
            events::emit(&Event {
                fd,
                range: Some((first, last)),
                ..event
            });
            0
        }
    }
}

fn new_entry(_: &Registry) -> Option<u32> {
    match FREE.load(Acquire) {
        0 => ENTRIES.fresh(),
        free => {
            FREE.store(ENTRIES.get(free)?.next_free.load(Acquire), Release);
            Some(free)
        }
    }
}

pub fn release(index: u32, _: &Registry) {
    let Some(e) = ENTRIES.get(index).filter(|_| index != 0) else {
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
    e.next_free.store(FREE.load(Acquire), Release);
    FREE.store(index, Release);
}

pub fn retain(index: u32) {
    if let Some(e) = ENTRIES.get(index).filter(|_| index != 0) {
        e.refs.fetch_add(1, AcqRel);
    }
}

/// Entries that must outlive their mappings while a direct read fills a buffer inside them.
pub struct PinnedBuffers([u32; 8]);

pub fn pin_buffers(data: &Data) -> PinnedBuffers {
    let mut pinned = PinnedBuffers([0; 8]);
    if !any() {
        return pinned;
    }
    let mut room = pinned.0.iter_mut();
    let mut full = false;
    data.any_element(|base, len| {
        let (start, end) = (base as usize, (base as usize).saturating_add(len));
        let registry = registry::lock();
        with(&registry, |places| {
            for place in places
                .iter()
                .filter(|p| p.entry != 0 && p.overlaps(start, end))
            {
                match room.next() {
                    Some(cell) => {
                        retain(place.entry);
                        *cell = place.entry;
                    }
                    None => full = true,
                }
            }
        });
        full
    });
    if full {
        events::emit(&Event::uncovered(
            0,
            "a direct read into more than 8 mappings at once",
        ));
    }
    pinned
}

pub fn unpin_buffers(pinned: &PinnedBuffers) {
    for entry in pinned.0.iter().filter(|e| **e != 0) {
        let registry = registry::lock();
        release(*entry, &registry);
    }
}

/// In a forked child, under the registry lock: requests of the parent's other threads are not ours.
pub fn recount_in_child(registry: &Registry) {
    for index in 1..ENTRIES.end() {
        if let Some(e) = ENTRIES.get(index).filter(|e| e.refs.load(Acquire) != 0) {
            e.refs.store(1, Release);
            e.registered.store(0, Release);
        }
    }
    with(registry, |places| {
        places.iter().for_each(|p| retain(p.entry))
    });
    for index in 1..ENTRIES.end() {
        if ENTRIES
            .get(index)
            .is_some_and(|e| e.refs.load(Acquire) != 0)
        {
            release(index, registry);
        }
    }
}

/// In a forked child, before fork returns in it: its mappings are entries of its own.
pub fn reregister_in_child() {
    let Some(call) = Registering::begin() else {
        return;
    };
    for e in (1..ENTRIES.end()).filter_map(|i| ENTRIES.get(i)) {
        let index = e.file.load(Relaxed);
        if let Some(file) = files::get(index).filter(|_| e.refs.load(Acquire) != 0) {
            call.reregister(e, index, file);
        }
    }
    call.end();
}

impl Registering<'_> {
    fn reregister(&self, e: &Entry, index: u32, file: &files::File) {
        let (first, last) = (e.first.load(Relaxed), e.last.load(Relaxed));
        let terms = coherent(Terms::of(index, file, -1));
        let claim = terms.claim(Mode::BufferedWrite, first, last);
        // Without the lock the entry still counts: direct I/O that begins from now on falls back.
        if let Some(frame) = self.frame {
            let _ = ranges::take(self.thread, frame, &terms, &claim, false);
        }
        let entry = process::table().and_then(|t| t.map_register(file.id(), first, last, true));
        e.registered
            .store(entry.map_or(0, |m| m.index() + 1), Release);
        if let Some(frame) = self.frame {
            ranges::release(frame);
        }
        if entry.is_none() {
            events::emit(&Event::uncovered(
                index,
                "a forked child's mapping is not registered",
            ));
        }
    }
}
