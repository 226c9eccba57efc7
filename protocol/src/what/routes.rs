//! Entries in the lock table's register of mappings: the routes by which a part of a file may be dirtied
//! through memory, which direct I/O of every process must know.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use lock_table::{FileId, Mode};

use crate::arena::{Arena, Zeroed};
use crate::hold::ranges::{self, Got, Terms};
use crate::tell::events::{self, Event};
use crate::what::data::Data;
use crate::what::files;
use crate::what::places::{any, with};
use crate::who::process;
use crate::who::registry::{self, Registry};
use crate::who::thread::{Frame, Thread};

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
/// The frame keeps what was registered until it is [let go](Registering::let_go), or the call ends: whoever puts it in
/// its place retains it.
pub struct Registering<'a> {
    thread: &'a Thread,
    frame: Option<&'a Frame>,
    /// What it registers is there already, and counts in any case.
    exists: bool,
}

impl<'a> Registering<'a> {
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

    /// In the frame of a call that has begun: ended with that one.
    pub fn within(thread: &'a Thread, frame: &'a Frame) -> Registering<'a> {
        Registering {
            thread,
            frame: Some(frame),
            exists: false,
        }
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
        let enter = || enter(self.frame, file_index, file.id(), fd, (first, last));
        // Calls nest too deep: without the lock the entry still counts for direct I/O that begins from now on.
        let Some(frame) = self.frame else {
            return Ok(enter());
        };
        let terms = coherent(Terms::of(file_index, file, fd));
        let claim = terms.claim(Mode::BufferedWrite, first, last);
        let result = match ranges::take(self.thread, frame, &terms, &claim, false) {
            Got::Go => Ok(enter()),
            Got::Refused(_) if self.exists => Ok(enter()),
            Got::Refused(error) => Err(error),
        };
        ranges::release(frame);
        result
    }

    /// It is in its place, or not needed.
    pub fn let_go(&self, entry: u32, registry: &Registry) {
        let kept = self.frame.and_then(|f| KEPT.get(f.buffers.get()));
        let same = |e: &&AtomicU32| e.load(Relaxed) == entry && entry != 0;
        if let Some(cell) = kept.and_then(|k| k.entries.iter().find(same)) {
            cell.store(0, Release);
        }
        release(entry, registry);
    }
}

/// A mapping is a route, not a call: isolation is not its business.
fn coherent(terms: Terms) -> Terms {
    Terms {
        atomic: false,
        ..terms
    }
}

/// An entry with one reference: the frame's, or else the caller's.
fn enter(
    frame: Option<&Frame>,
    file_index: u32,
    id: FileId,
    fd: i32,
    (first, last): (u64, u64),
) -> u32 {
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
            // A frame that has no room leaves it to the caller.
            if frame.is_some_and(|frame| keep(frame, index, &registry)) {
                release(index, &registry);
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

/// Entries that may not go before a call ends: those of mappings in which its buffers lie, and one that it has made
/// and not yet put in its place. In its frame, so that they go also when it is jumped out of.
#[derive(Default)]
struct Kept {
    entries: [AtomicU32; 8],
    next_free: AtomicU32,
}
// SAFETY: atomics only.
unsafe impl Zeroed for Kept {}
static KEPT: Arena<Kept> = Arena::new();
static FREE_KEPT: AtomicU32 = AtomicU32::new(0);

/// One reference more, the frame's. False: it has no room for it.
fn keep(frame: &Frame, entry: u32, _: &Registry) -> bool {
    if frame.buffers.get() == 0 {
        let free = FREE_KEPT.load(Acquire);
        let Some(index) = (if free == 0 { KEPT.fresh() } else { Some(free) }) else {
            return false;
        };
        if let Some(kept) = KEPT.get(index).filter(|_| free != 0) {
            FREE_KEPT.store(kept.next_free.load(Acquire), Release);
        }
        frame.buffers.set(index);
    }
    let kept = KEPT.get(frame.buffers.get());
    let room = kept.and_then(|k| k.entries.iter().find(|e| e.load(Relaxed) == 0));
    if let Some(cell) = room {
        retain(entry);
        cell.store(entry, Release);
    }
    room.is_some()
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
    let Some(kept) = KEPT.get(index) else { return };
    for cell in &kept.entries {
        release(cell.swap(0, AcqRel), registry);
    }
    kept.next_free.store(FREE_KEPT.load(Acquire), Release);
    FREE_KEPT.store(index, Release);
}

/// Mappings in which the buffers of a direct read lie: their entries stay until the frame ends.
pub fn pin_buffers(frame: &Frame, data: &Data) {
    if !any() {
        return;
    }
    let mut full = false;
    data.any_element(|base, len| {
        let (start, end) = (base as usize, (base as usize).saturating_add(len));
        let registry = registry::lock();
        with(&registry, |places| {
            for place in places
                .iter()
                .filter(|p| p.entry != 0 && p.overlaps(start, end))
            {
                full |= !keep(frame, place.entry, &registry);
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
}

/// In a forked child, under the registry lock: requests of the parent's other threads are not ours.
pub fn recount_in_child(registry: &Registry) {
    for kept in (1..KEPT.end()).filter_map(|i| KEPT.get(i)) {
        kept.entries.iter().for_each(|e| e.store(0, Relaxed));
    }
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
