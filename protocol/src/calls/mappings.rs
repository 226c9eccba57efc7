//! mmap and munmap: which parts of a file somebody may dirty through memory.
//!
//! Only mappings count that are shared and may be written (now or after an mprotect): what the kernel
//! keeps of the others is clean, and it drops that by itself. Each has an address range here, in this
//! process, and while it is writable an entry in the lock table's register, for all processes.
//! The register may say too much for a while (a mapping was cut in two), never too little.

use core::cell::Cell;
use core::ffi::c_void;

use lock_table::USE_BUFFERED;
use trace::{Mode, What};

use crate::calls::recorded::Recording;
use crate::calls::registering::Registering;
use crate::calls::{locked, recorded};
use crate::hold::call;
use crate::tell::counters;
use crate::what::descriptions::Pinned;
use crate::what::descriptors::{self, TURNS};
use crate::what::entries::hand_over;
use crate::what::places::{add, any, cut, last_of, page_up, with};
use crate::what::state::Place;
use crate::what::{early, files, words};
use crate::who::registry::Registry;
use crate::who::thread::{Frame, Thread};
use crate::who::{due, process, registry, scratch};

pub fn failed(result: *mut c_void) -> bool {
    result as isize == -1
}

/// What one mmap asks for.
pub struct Map {
    pub at: usize,
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

/// Whether what is mapped is known. A child that shares our memory maps in it, too: looked for later.
pub fn is_followed() -> bool {
    let active = process::active().is_some();
    if !active && process::standing() == process::Standing::VforkChild {
        due::guest_maps();
    }
    active
}

/// `real` takes the flags.
#[inline(never)]
pub fn map(map: &Map, real: impl Fn(i32) -> *mut c_void) -> *mut c_void {
    if map.flags & libc::MAP_ANONYMOUS != 0 {
        return followed(map, &real);
    }
    let mode = match map.is_shared() && map.is_writable() {
        true => Mode::MappedWritable,
        false => Mode::Mapped,
    };
    let range = || {
        let first = u64::try_from(map.offset).ok()?;
        Some((first, last_of(first, map.len)))
    };
    let result = |at| if failed(at) { -1 } else { 0 };
    let make = || followed(map, &real);
    recorded::around(map.fd, (What::Map, mode), range, result, make)
}

fn followed(map: &Map, real: &impl Fn(i32) -> *mut c_void) -> *mut c_void {
    let replaces = map.is_fixed() && any();
    let plain = |held: bool| match (replaces, held) {
        (false, _) => real(map.flags),
        (true, true) => map.held(real, &|_, _| {}),
        (true, false) => map.placed(real, &|_, _| {}),
    };
    if map.flags & libc::MAP_ANONYMOUS != 0 {
        return plain(true);
    }
    if !is_followed() {
        if map.is_shared() {
            early::mapped();
        }
        return plain(true);
    }
    let Some(thread) = process::active() else {
        return plain(true);
    };
    if words::is_ours(map.fd) {
        kernel::set_errno(libc::EBADF);
        return libc::MAP_FAILED;
    }
    scratch::look_for_handlers();
    for _ in 0..TURNS {
        let Some(frame) = call::begin(thread, false) else {
            return plain(true);
        };
        let result = match descriptors::pin(map.fd) {
            Some(pinned) => {
                frame.pinned.set(pinned.index);
                map_file(map, (thread, frame), &pinned, real, &plain)
            }
            None => Some(plain(true)),
        };
        call::end(thread, frame);
        if let Some(at) = result {
            return at;
        }
    }
    plain(true)
}

/// None: the number came to stand for something else.
fn map_file(
    map: &Map,
    call: (&Thread, &Frame),
    pinned: &Pinned,
    real: &impl Fn(i32) -> *mut c_void,
    plain: &impl Fn(bool) -> *mut c_void,
) -> Option<*mut c_void> {
    let access = pinned.description.flags() as i32 & libc::O_ACCMODE;
    let may_write = map.is_shared() && access == libc::O_RDWR;
    let file = pinned.file;
    let by_direct = pinned.description.has(libc::O_DIRECT);
    match may_write {
        true if by_direct => file.begins(pinned.file_index, USE_BUFFERED, map.fd),
        // Used so by the description itself.
        true => {}
        false => file.add_lasting_use(pinned.file_index, USE_BUFFERED, map.fd),
    }
    let noted = if may_write {
        counters::USED_MAPPED_WRITABLE
    } else {
        0
    };
    counters::note_use(pinned.file.id(), map.fd, counters::USED_MAPPED | noted);
    if !may_write {
        return Some(plain(false));
    }
    let mapped = map_shared(map, call, pinned, real);
    if by_direct {
        file.has_begun();
    }
    mapped
}

fn map_shared(
    map: &Map,
    (thread, frame): (&Thread, &Frame),
    pinned: &Pinned,
    real: &impl Fn(i32) -> *mut c_void,
) -> Option<*mut c_void> {
    let offset = map.offset as u64;
    let call = Registering::within(thread, frame);
    let entry = match map.is_writable() {
        true => match call.register(pinned.file_index, map.fd, offset, last_of(offset, map.len)) {
            Ok(entry) => entry,
            Err(error) => {
                kernel::set_errno(error);
                return Some(libc::MAP_FAILED);
            }
        },
        false => 0,
    };
    let replaced = Cell::new(false);
    let noted = |registry: &Registry, start: usize| {
        // Whoever replaces the number marks it under the registry lock, before: the kernel mapped what we saw.
        replaced.set(!words::still(map.fd, pinned.seen));
        files::retain(pinned.file);
        hand_over(frame, entry, registry);
        let end = start.saturating_add(page_up(map.len));
        let file = pinned.file_index;
        // Another thread may have turned the description meanwhile.
        pinned.file.add_use(file, USE_BUFFERED, map.fd);
        add(
            registry,
            Place {
                start,
                end,
                file,
                offset,
                entry,
            },
        );
    };
    let at = match map.is_fixed() {
        true => map.placed(real, &noted),
        false => map.anywhere(real, &noted),
    };
    if !replaced.get() {
        return Some(at);
    }
    // Once more; a fixed one replaces this one.
    if !map.is_fixed() {
        let registry = registry::lock();
        kernel::unmap(at.cast(), page_up(map.len));
        cut(&registry, at as usize, page_up(map.len));
    }
    None
}

/// The kernel may read the pages in within the call (`MAP_POPULATE`, `MAP_LOCKED`, after mlockall), which may take
/// another process's help, or this one's: the registry isn't held meanwhile. `noted` is called under it, with where the
/// mapping is.
impl Map {
    fn reads_in(&self) -> bool {
        self.flags & (libc::MAP_POPULATE | libc::MAP_LOCKED) != 0 || locked::are_new_mappings()
    }

    /// Nobody else knows the address before the call returns.
    fn anywhere(
        &self,
        real: &dyn Fn(i32) -> *mut c_void,
        noted: &dyn Fn(&Registry, usize),
    ) -> *mut c_void {
        let at = real(self.flags);
        if !failed(at) {
            let registry = registry::lock();
            // Who looks at the maps may have met it already.
            cut(&registry, at as usize, page_up(self.len));
            noted(&registry, at as usize);
        }
        at
    }

    /// What was there is no more, and what is there now is known, in one step.
    fn held(
        &self,
        real: &dyn Fn(i32) -> *mut c_void,
        noted: &dyn Fn(&Registry, usize),
    ) -> *mut c_void {
        let registry = registry::lock();
        let at = real(self.flags);
        if !failed(at) {
            cut(&registry, at as usize, page_up(self.len));
            noted(&registry, at as usize);
        }
        at
    }

    /// The same, and where pages are read in that happens elsewhere first.
    fn placed(
        &self,
        real: &dyn Fn(i32) -> *mut c_void,
        noted: &dyn Fn(&Registry, usize),
    ) -> *mut c_void {
        if !self.reads_in() || page_up(self.at) != self.at {
            return self.held(real, noted);
        }
        let made = real(self.flags & !libc::MAP_FIXED);
        if failed(made) {
            // Perhaps there is no room for both (a limit).
            return self.held(real, noted);
        }
        let len = page_up(self.len);
        let registry = registry::lock();
        if made as usize == self.at || kernel::move_mapping(made as usize, len, self.at) {
            cut(&registry, self.at, len);
            noted(&registry, self.at);
            return self.at as *mut c_void;
        }
        // It can't be moved (a limit, a place where nothing may be): as asked for, and as it is refused.
        kernel::unmap(made.cast(), len);
        drop(registry);
        self.held(real, noted)
    }
}

#[inline(never)]
pub fn unmap(at: *mut c_void, len: usize, real: impl Fn() -> i32) -> i32 {
    if !any() || process::active().is_none() {
        return real();
    }
    let registry = registry::lock();
    let recorded = process::may_record().then(|| recorded_at(&registry, at as usize, len));
    let result = real();
    if result == 0 {
        cut(&registry, at as usize, page_up(len));
    }
    drop(registry);
    if let Some((recording, range)) = recorded.flatten() {
        let ended = recording.ended();
        ended.tell(What::Unmap, Mode::MappedWritable, range, result as isize);
    }
    result
}

/// The first file whose mapping goes, if its calls are recorded, and what of it was shown.
fn recorded_at(
    registry: &Registry,
    at: usize,
    len: usize,
) -> Option<(Recording, Option<(u64, u64)>)> {
    let end = at.saturating_add(len);
    let (index, first) = with(registry, |places| {
        let place = places.iter().find(|place| place.overlaps(at, end))?;
        Some((place.file, place.shows_at(at.max(place.start))))
    })?;
    let file = files::get(index).filter(|file| file.settings().records_calls())?;
    let recording = Recording::of(file, -1, false);
    Some((recording, Some((first, last_of(first, len)))))
}
