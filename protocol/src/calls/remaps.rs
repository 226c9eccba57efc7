//! What changes mappings that are there: mprotect, mremap, remap_file_pages. What they register is registered before (P5),
//! and is so still when they act.

use core::ffi::c_void;

use crate::calls::mappings::{failed, is_followed};
use crate::calls::registering::Registering;
use crate::what::entries::{release, retain};
use crate::what::files;
use crate::what::places::{add, any, cut, last_of, page_up, take_out, with};
use crate::what::state::Place;
use crate::who::registry;
use crate::who::registry::Registry;

pub fn protect(at: *mut c_void, len: usize, prot: i32, real: impl Fn() -> i32) -> i32 {
    if !is_followed() || !any() {
        return real();
    }
    let (start, len) = (at as usize, page_up(len));
    if prot & libc::PROT_WRITE != 0 {
        return make_writable(start, len, &real);
    }
    let registry = registry::lock();
    let result = real();
    let errno = kernel::errno();
    // Half of a call that failed may have been done: then the register says too much, never too little.
    if result == 0 {
        for mut place in take_out(&registry, start, len) {
            release(core::mem::take(&mut place.entry), &registry);
            add(&registry, place);
        }
    }
    kernel::set_errno(errno);
    result
}

fn make_writable(start: usize, len: usize, real: &dyn Fn() -> i32) -> i32 {
    let Some(call) = Registering::begin() else {
        return real();
    };
    let result = match register_places(&call, start, len) {
        Ok(registry) => {
            let result = real();
            drop(registry);
            result
        }
        Err(error) => kernel::libc_result(-error as isize) as i32,
    };
    call.end();
    result
}

/// Registers the places in a range of addresses that have no entry yet. Who makes them read-only meanwhile takes their
/// entries away again, so they are writable with this very lock held, under which all have one.
pub fn register_places(call: &Registering, start: usize, len: usize) -> Result<Registry, i32> {
    let end = start.saturating_add(len);
    let bare = |p: &Place| p.entry == 0 && p.overlaps(start, end);
    let mut registry = registry::lock();
    let mut patience = with(&registry, |places| places.len()).saturating_add(64);
    while let Some(place) = with(&registry, |places| places.iter().copied().find(bare)) {
        let (mut first, mut last) = (place.offset, place.last());
        // Somebody is as fast as we are: all places of the file at once.
        if patience == 0 {
            with(&registry, |places| {
                for p in places.iter().filter(|p| bare(p) && p.file == place.file) {
                    (first, last) = (first.min(p.offset), last.max(p.last()));
                }
            });
        }
        drop(registry);
        let entry = call.register(place.file, -1, first, last)?;
        registry = registry::lock();
        if entry == 0 {
            break; // the register is full, and that has been told
        }
        let covered = |p: &&mut Place| {
            bare(p) && p.file == place.file && first <= p.offset && p.last() <= last
        };
        with(&registry, |places| {
            for p in places.iter_mut().filter(covered) {
                retain(entry);
                p.entry = entry;
            }
        });
        call.let_go(entry, &registry);
        patience = patience.saturating_sub(1);
    }
    Ok(registry)
}

/// What one mremap asks for.
pub struct Remap {
    pub at: usize,
    pub old_len: usize,
    pub new_len: usize,
    pub flags: i32,
}

pub fn remap(ask: &Remap, real: impl Fn() -> *mut c_void) -> *mut c_void {
    if !is_followed() || !any() {
        return real();
    }
    let Some(call) = Registering::begin() else {
        return real();
    };
    let to = match grow(&call, ask) {
        Ok((registry, grown)) => {
            let to = real();
            let errno = kernel::errno();
            if !failed(to) {
                moved(&registry, ask, to as usize, &grown);
            }
            call.let_go(grown.entry, &registry);
            kernel::set_errno(errno);
            to
        }
        Err(error) => {
            kernel::set_errno(error);
            libc::MAP_FAILED
        }
    };
    call.end();
    to
}

impl Remap {
    fn lens(&self) -> (usize, usize) {
        (page_up(self.old_len), page_up(self.new_len))
    }
}

/// The place whose end a mremap moves, and an entry for all that it shows afterwards.
#[derive(Default)]
struct Grown {
    place: Option<Place>,
    /// What the entry covers.
    range: Option<(u32, u64, u64)>,
    entry: u32,
}

/// The place whose end moves shows more of the file afterwards: registered before. With the lock under which that is
/// still so: somebody may have made it writable, or put another in its place, meanwhile.
fn grow(call: &Registering, ask: &Remap) -> Result<(Registry, Grown), i32> {
    let (old_len, new_len) = ask.lens();
    let probe = ask.at.saturating_add(old_len.saturating_sub(1));
    let mut grown = Grown::default();
    loop {
        let registry = registry::lock();
        grown.place = with(&registry, |places| {
            places.iter().find(|p| p.is_at(probe)).copied()
        });
        let grows = |p: &Place| p.entry != 0 && (new_len > old_len || old_len == 0);
        let wanted = grown.place.filter(grows).map(|p| {
            let first = p
                .offset
                .saturating_add(ask.at.saturating_sub(p.start) as u64);
            (p.file, first.min(p.offset), last_of(first, new_len))
        });
        release_other(call, &mut grown, wanted, &registry);
        let Some((file, first, last)) = wanted.filter(|_| grown.range.is_none()) else {
            return Ok((registry, grown));
        };
        drop(registry);
        grown.entry = call.register(file, -1, first, last)?;
        grown.range = wanted;
    }
}

fn release_other(
    call: &Registering,
    grown: &mut Grown,
    wanted: Option<(u32, u64, u64)>,
    registry: &Registry,
) {
    if grown.range != wanted {
        call.let_go(core::mem::take(&mut grown.entry), registry);
        grown.range = None;
    }
}

fn moved(registry: &Registry, ask: &Remap, to: usize, grown: &Grown) {
    let (old_len, new_len) = ask.lens();
    if old_len == 0 {
        if let Some(place) = grown.place {
            seen_twice(registry, ask, to, place, grown.entry);
        }
        return;
    }
    let taken = take_out(registry, ask.at, old_len);
    if ask.flags & libc::MREMAP_FIXED != 0 {
        cut(registry, to, new_len);
    }
    for place in taken {
        if ask.flags & libc::MREMAP_DONTUNMAP != 0 {
            keep(&place);
            add(registry, place);
        }
        match moved_place(ask, to, &place) {
            Some(mut new) => {
                let grows = new.end - new.start > place.end - place.start;
                if grows && grown.entry != 0 {
                    release(new.entry, registry);
                    retain(grown.entry);
                    new.entry = grown.entry;
                }
                add(registry, new);
            }
            None => {
                release(place.entry, registry);
                files::release(place.file, registry);
            }
        }
    }
}

/// Where this part of what was moved lies now, as long as it is. None: nothing of it is left.
fn moved_place(ask: &Remap, to: usize, place: &Place) -> Option<Place> {
    let (old_len, new_len) = ask.lens();
    let below = place.start - ask.at;
    let start = to.saturating_add(place.start - ask.at);
    let left = new_len.saturating_sub(below);
    let is_last = place.end == ask.at.saturating_add(old_len);
    let len = match is_last && new_len > old_len {
        true => left,
        false => left.min(place.end - place.start),
    };
    (len != 0).then(|| Place {
        start,
        end: start.saturating_add(len),
        ..*place
    })
}

/// A second view of the same bytes.
fn seen_twice(registry: &Registry, ask: &Remap, to: usize, place: Place, entry: u32) {
    let (_, len) = ask.lens();
    let inside = ask.at.saturating_sub(place.start) as u64;
    let second = Place {
        start: to,
        end: to.saturating_add(len),
        offset: place.offset.saturating_add(inside),
        entry,
        ..place
    };
    keep(&second);
    cut(registry, to, len);
    add(registry, second);
}

/// One more place has its entry, and its file.
fn keep(place: &Place) {
    retain(place.entry);
    if let Some(file) = files::get(place.file) {
        files::retain(file);
    }
}

/// `remap_file_pages` shows the file from another of its pages on. The kernel rounds down what it is given.
pub fn remap_pages(at: *mut c_void, len: usize, first: usize, real: impl Fn() -> i32) -> i32 {
    if !is_followed() || !any() {
        return real();
    }
    let page = lock_table::page() as usize;
    let (start, len) = (at as usize & !(page - 1), len & !(page - 1));
    let offset = (first as u64).saturating_mul(page as u64);
    let shown = |registry: &Registry| {
        with(registry, |places| {
            places.iter().find(|p| p.is_at(start)).map(|p| p.file)
        })
    };
    let file = shown(&registry::lock());
    let Some(file) = file else { return real() };
    let Some(call) = Registering::begin() else {
        return real();
    };
    let entry = match call.register(file, -1, offset, last_of(offset, len)) {
        Ok(entry) => entry,
        Err(error) => {
            call.end();
            return kernel::libc_result(-error as isize) as i32;
        }
    };
    let registry = registry::lock();
    let result = real();
    let errno = kernel::errno();
    if result == 0 && shown(&registry) == Some(file) {
        for mut place in take_out(&registry, start, len) {
            release(core::mem::replace(&mut place.entry, entry), &registry);
            retain(entry);
            place.offset = offset.saturating_add((place.start - start) as u64);
            add(&registry, place);
        }
    }
    call.let_go(entry, &registry);
    drop(registry);
    call.end();
    kernel::set_errno(errno);
    result
}
