//! mmap and its family: which parts of a file somebody may dirty through memory.
//!
//! Only mappings count that are shared and may be written (now or after an mprotect): what the kernel
//! keeps of the others is clean, and it drops that by itself. Each has an address range here, in this
//! process, and while it is writable an entry in the lock table's register, for all processes.
//! The register may say too much for a while (a mapping was cut in two), never too little.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::*};
use lock_table::{FileId, Mode};

use crate::arena::{Arena, Zeroed};
use crate::descriptors::{self, Pinned};
use crate::events::{self, Event};
use crate::files;
use crate::ranges::{self, END_OF_TIME, Got, Terms};
use crate::registry::{self, Registry};
use crate::transfer::Data;
use crate::{process, raw};

/// A place in this process's memory that shows part of a file and may be written or become so.
#[derive(Clone, Copy)]
struct Place {
    start: usize,
    end: usize,
    file: u32,
    /// What the first byte shows.
    offset: u64,
    /// The register entry that covers it; 0: not writable now.
    entry: u32,
}

struct Places(UnsafeCell<Vec<Place>>);
// SAFETY: only reached through `with`, which asks for the registry lock.
unsafe impl Sync for Places {}
static PLACES: Places = Places(UnsafeCell::new(Vec::new()));
static COUNT: AtomicUsize = AtomicUsize::new(0);

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

fn with<R>(registry: &Registry, act: impl FnOnce(&mut Vec<Place>) -> R) -> R {
    let _ = registry;
    // SAFETY: the registry lock is held and not entered twice, so this is the only reference.
    let places = unsafe { &mut *PLACES.0.get() };
    let result = act(places);
    COUNT.store(places.len(), Release);
    result
}

fn any() -> bool {
    COUNT.load(Acquire) != 0
}

fn page_up(len: usize) -> usize {
    len.checked_add(4095)
        .map_or(usize::MAX & !4095, |l| l & !4095)
}

fn failed(result: *mut c_void) -> bool {
    result as isize == -1
}

/// What one mmap asks for.
pub struct Map {
    pub len: usize,
    pub prot: i32,
    pub flags: i32,
    pub fd: i32,
    pub offset: i64,
}

impl Map {
    fn is_fixed(&self) -> bool {
        self.flags & libc::MAP_FIXED != 0
    }
    fn is_shared(&self) -> bool {
        self.flags & libc::MAP_SHARED != 0
    }
    fn is_writable(&self) -> bool {
        self.prot & libc::PROT_WRITE != 0
    }
}

/// `real` takes the flags.
pub fn map(map: &Map, real: impl Fn(i32) -> *mut c_void) -> *mut c_void {
    let plain = || {
        if map.is_fixed() && any() {
            replacing(map.len, &|| real(map.flags))
        } else {
            real(map.flags)
        }
    };
    if map.flags & libc::MAP_ANONYMOUS != 0 || process::active().is_none() {
        return plain();
    }
    let Some(pinned) = descriptors::pin(map.fd) else {
        return plain();
    };
    let access = pinned.description.flags() as i32 & libc::O_ACCMODE;
    let may_write = map.is_shared() && access == libc::O_RDWR;
    pinned
        .file
        .add_use(pinned.file_index, lock_table::USE_BUFFERED, map.fd);
    let noted = if may_write {
        events::NOTE_MAPPED_WRITABLE
    } else {
        0
    };
    events::note_use(pinned.file_index, map.fd, events::NOTE_MAPPED | noted);
    let result = if may_write {
        map_shared(map, &pinned, &real)
    } else {
        plain()
    };
    pinned.unpin();
    result
}

/// A mapping that replaces what was there.
fn replacing(len: usize, real: &impl Fn() -> *mut c_void) -> *mut c_void {
    let registry = registry::lock();
    let at = real();
    if !failed(at) {
        cut(&registry, at as usize, page_up(len));
    }
    at
}

fn map_shared(map: &Map, pinned: &Pinned, real: &impl Fn(i32) -> *mut c_void) -> *mut c_void {
    let offset = map.offset as u64;
    let entry = match map.is_writable() {
        true => match register(pinned.file_index, map.fd, offset, last_of(offset, map.len)) {
            Ok(entry) => entry,
            Err(error) => {
                raw::set_errno(error);
                return libc::MAP_FAILED;
            }
        },
        false => 0,
    };
    let registry = registry::lock();
    // Reading the pages in may take another process's help, which may be waiting for the registry.
    let at = real(map.flags & !libc::MAP_POPULATE);
    if failed(at) {
        let errno = raw::errno();
        release(entry, &registry);
        raw::set_errno(errno);
        return at;
    }
    let start = at as usize;
    if map.is_fixed() {
        cut(&registry, start, page_up(map.len));
    }
    files::retain(pinned.file);
    add(
        &registry,
        Place {
            start,
            end: start.saturating_add(page_up(map.len)),
            file: pinned.file_index,
            offset,
            entry,
        },
    );
    drop(registry);
    if map.flags & libc::MAP_POPULATE != 0 {
        raw::populate(start, map.len, map.is_writable());
    }
    at
}

fn last_of(offset: u64, len: usize) -> u64 {
    offset.saturating_add(page_up(len) as u64).saturating_sub(1)
}

/// Enter a range of a file as writable, under a lock that keeps direct I/O in flight out of it.
fn register(file_index: u32, fd: i32, first: u64, last: u64) -> Result<u32, i32> {
    let (Some(file), Some(thread)) = (files::get(file_index), process::active()) else {
        return Ok(0);
    };
    let terms = coherent(Terms::of(file_index, file, fd));
    let Some(frame) = ranges::begin(thread, false) else {
        return Ok(enter(file_index, file.id(), fd, first, last));
    };
    let claim = terms.claim(Mode::BufferedWrite, first, last);
    let result = match ranges::take(thread, frame, &terms, &claim, false) {
        Got::Go => Ok(enter(file_index, file.id(), fd, first, last)),
        Got::Refused(error) => Err(error),
    };
    ranges::end(thread, frame);
    result
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

fn release(index: u32, _: &Registry) {
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

fn retain_entry(index: u32) {
    if let Some(e) = ENTRIES.get(index).filter(|_| index != 0) {
        e.refs.fetch_add(1, AcqRel);
    }
}

fn add(registry: &Registry, place: Place) {
    with(registry, |places| places.push(place));
}

/// Split places so that none crosses `at`.
fn split(registry: &Registry, at: usize) {
    with(registry, |places| {
        let Some(place) = places.iter_mut().find(|p| p.start < at && at < p.end) else {
            return;
        };
        let upper = Place {
            start: at,
            offset: place.offset.saturating_add((at - place.start) as u64),
            ..*place
        };
        place.end = at;
        retain_entry(upper.entry);
        if let Some(file) = files::get(upper.file) {
            files::retain(file);
        }
        places.push(upper);
    });
}

/// Take away and return the places within a range of addresses.
fn take_out(registry: &Registry, start: usize, len: usize) -> Vec<Place> {
    let end = start.saturating_add(len);
    split(registry, start);
    split(registry, end);
    with(registry, |places| {
        places
            .extract_if(.., |p| p.start >= start && p.end <= end)
            .collect()
    })
}

/// Nothing of a file is shown there any more.
fn cut(registry: &Registry, start: usize, len: usize) {
    for place in take_out(registry, start, len) {
        release(place.entry, registry);
        files::release(place.file, registry);
    }
}

pub fn unmap(at: *mut c_void, len: usize, real: impl Fn() -> i32) -> i32 {
    if !any() || process::active().is_none() {
        return real();
    }
    let registry = registry::lock();
    let result = real();
    if result == 0 {
        cut(&registry, at as usize, page_up(len));
    }
    result
}

pub fn protect(at: *mut c_void, len: usize, prot: i32, real: impl Fn() -> i32) -> i32 {
    if !any() || process::active().is_none() {
        return real();
    }
    let (start, len) = (at as usize, page_up(len));
    let writable = prot & libc::PROT_WRITE != 0;
    if writable && let Err(error) = register_places(start, len) {
        raw::set_errno(error);
        return -1;
    }
    let registry = registry::lock();
    let result = real();
    let errno = raw::errno();
    // Half of a call that failed may have been done: then the register says too much, never too little.
    if result == 0 && !writable {
        for mut place in take_out(&registry, start, len) {
            release(core::mem::take(&mut place.entry), &registry);
            add(&registry, place);
        }
    }
    raw::set_errno(errno);
    result
}

/// Registers the places in a range of addresses that have no entry yet, before they become writable.
fn register_places(start: usize, len: usize) -> Result<(), i32> {
    let end = start.saturating_add(len);
    let bare = |p: &Place| p.entry == 0 && p.start < end && start < p.end;
    loop {
        let found = {
            let registry = registry::lock();
            with(&registry, |places| places.iter().copied().find(bare))
        };
        let Some(place) = found else { return Ok(()) };
        let last = last_of(place.offset, place.end - place.start);
        let entry = register(place.file, -1, place.offset, last)?;
        if entry == 0 {
            // The register is full, and that has been told.
            return Ok(());
        }
        let registry = registry::lock();
        let same = |p: &&mut Place| {
            bare(p) && (p.start, p.file, p.offset) == (place.start, place.file, place.offset)
        };
        let given = with(&registry, |places| {
            places
                .iter_mut()
                .find(same)
                .map(|p| p.entry = entry)
                .is_some()
        });
        if !given {
            release(entry, &registry);
        }
    }
}

/// What one mremap asks for.
pub struct Remap {
    pub at: usize,
    pub old_len: usize,
    pub new_len: usize,
    pub flags: i32,
}

pub fn remap(ask: &Remap, real: impl Fn() -> *mut c_void) -> *mut c_void {
    if !any() || process::active().is_none() {
        return real();
    }
    let (old_len, new_len) = (page_up(ask.old_len), page_up(ask.new_len));
    // The place whose end moves shows more of the file afterwards: registered before.
    let growing = {
        let registry = registry::lock();
        let probe = ask.at.saturating_add(old_len.saturating_sub(1));
        with(&registry, |places| {
            places
                .iter()
                .find(|p| p.start <= probe && probe < p.end)
                .copied()
        })
    };
    let grown = match growing.filter(|p| p.entry != 0 && (new_len > old_len || old_len == 0)) {
        Some(p) => {
            let first = p
                .offset
                .saturating_add(ask.at.saturating_sub(p.start) as u64);
            match register(p.file, -1, first.min(p.offset), last_of(first, new_len)) {
                Ok(entry) => entry,
                Err(error) => {
                    raw::set_errno(error);
                    return libc::MAP_FAILED;
                }
            }
        }
        None => 0,
    };
    let registry = registry::lock();
    let to = real();
    let errno = raw::errno();
    if !failed(to) {
        moved(
            &registry,
            ask,
            (old_len, new_len),
            to as usize,
            growing,
            grown,
        );
    }
    release(grown, &registry);
    raw::set_errno(errno);
    to
}

fn moved(
    registry: &Registry,
    ask: &Remap,
    lens: (usize, usize),
    to: usize,
    growing: Option<Place>,
    grown: u32,
) {
    let (old_len, new_len) = lens;
    if old_len == 0 {
        // A second view of the same bytes.
        if let Some(p) = growing {
            let offset = p
                .offset
                .saturating_add(ask.at.saturating_sub(p.start) as u64);
            retain_entry(grown);
            if let Some(file) = files::get(p.file) {
                files::retain(file);
            }
            cut(registry, to, new_len);
            add(
                registry,
                Place {
                    start: to,
                    end: to.saturating_add(new_len),
                    offset,
                    entry: grown,
                    ..p
                },
            );
        }
        return;
    }
    let taken = take_out(registry, ask.at, old_len);
    if ask.flags & libc::MREMAP_FIXED != 0 {
        cut(registry, to, new_len);
    }
    let stays = ask.flags & libc::MREMAP_DONTUNMAP != 0;
    let old_end = ask.at.saturating_add(old_len);
    for place in taken {
        if stays {
            retain_entry(place.entry);
            if let Some(file) = files::get(place.file) {
                files::retain(file);
            }
            add(registry, place);
        }
        let start = to.saturating_add(place.start - ask.at);
        let keeps = new_len
            .saturating_sub(place.start - ask.at)
            .min(place.end - place.start);
        let grows = place.end == old_end && new_len > old_len;
        let len = if grows {
            new_len - (place.start - ask.at)
        } else {
            keeps
        };
        if len == 0 {
            release(place.entry, registry);
            files::release(place.file, registry);
            continue;
        }
        let mut new = Place {
            start,
            end: start.saturating_add(len),
            ..place
        };
        if grows && grown != 0 {
            release(new.entry, registry);
            retain_entry(grown);
            new.entry = grown;
        }
        add(registry, new);
    }
}

/// `remap_file_pages` may show any part of the file anywhere in the mapping: all of it counts.
pub fn remap_pages(at: *mut c_void, len: usize, real: impl Fn() -> i32) -> i32 {
    if !any() || process::active().is_none() {
        return real();
    }
    let (start, len) = (at as usize, page_up(len));
    let file = {
        let registry = registry::lock();
        with(&registry, |places| {
            places
                .iter()
                .find(|p| p.start <= start && start < p.end)
                .map(|p| p.file)
        })
    };
    let Some(file) = file else { return real() };
    let entry = match register(file, -1, 0, END_OF_TIME) {
        Ok(entry) => entry,
        Err(error) => {
            raw::set_errno(error);
            return -1;
        }
    };
    let registry = registry::lock();
    let result = real();
    let errno = raw::errno();
    if result == 0 {
        for mut place in take_out(&registry, start, len) {
            release(core::mem::replace(&mut place.entry, entry), &registry);
            retain_entry(entry);
            add(&registry, place);
        }
    }
    release(entry, &registry);
    raw::set_errno(errno);
    result
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
                .filter(|p| p.entry != 0 && p.start < end && start < p.end)
            {
                match room.next() {
                    Some(cell) => {
                        retain_entry(place.entry);
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
        places.iter().for_each(|p| retain_entry(p.entry))
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
    let Some(thread) = process::active() else {
        return;
    };
    for e in (1..ENTRIES.end()).filter_map(|i| ENTRIES.get(i)) {
        let index = e.file.load(Relaxed);
        let Some(file) = files::get(index).filter(|_| e.refs.load(Acquire) != 0) else {
            continue;
        };
        let (first, last) = (e.first.load(Relaxed), e.last.load(Relaxed));
        let terms = coherent(Terms::of(index, file, -1));
        let Some(frame) = ranges::begin(thread, false) else {
            continue;
        };
        let claim = terms.claim(Mode::BufferedWrite, first, last);
        // Without the lock the entry still counts: direct I/O that begins from now on falls back.
        let _ = ranges::take(thread, frame, &terms, &claim, false);
        let entry = process::table().and_then(|t| t.map_register(file.id(), first, last, true));
        e.registered
            .store(entry.map_or(0, |m| m.index() + 1), Release);
        ranges::end(thread, frame);
        if entry.is_none() {
            events::emit(&Event::uncovered(
                index,
                "a forked child's mapping is not registered",
            ));
        }
    }
}
