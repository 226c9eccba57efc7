//! Where in this process's memory a file is shown: the places that may be written or become so.

use core::sync::atomic::Ordering::*;

use crate::tell::events::{self, Event};
use crate::what::data::Data;
use crate::what::state::{Place, state};
use crate::what::{entries, files};
use crate::who::registry;
use crate::who::registry::Registry;
use crate::who::thread::Frame;

impl Place {
    /// The last byte that it shows.
    pub fn last(&self) -> u64 {
        last_of(self.offset, self.end - self.start)
    }

    /// What it shows, or would show, at that address.
    pub fn shows_at(&self, address: usize) -> u64 {
        self.offset
            .wrapping_add(address as u64)
            .wrapping_sub(self.start as u64)
    }

    pub fn is_at(&self, address: usize) -> bool {
        self.start <= address && address < self.end
    }

    pub fn overlaps(&self, start: usize, end: usize) -> bool {
        self.start < end && start < self.end
    }
}

pub fn with<R>(registry: &Registry, act: impl FnOnce(&mut Vec<Place>) -> R) -> R {
    let _ = registry;
    let list = state().places.get_or_init(Box::default);
    // SAFETY: the registry lock is held and not entered twice, so this is the only reference.
    let places = unsafe { &mut *list.0.get() };
    let result = act(places);
    state().place_count.store(places.len(), Release);
    result
}

pub fn any() -> bool {
    state().place_count.load(Acquire) != 0
}

pub fn page_up(len: usize) -> usize {
    up_to(len, lock_table::page() as usize)
}

/// To whole pages; at the end of the address space the last whole one.
fn up_to(len: usize, page: usize) -> usize {
    let within = page - 1;
    len.saturating_add(within) & !within
}

pub fn last_of(offset: u64, len: usize) -> u64 {
    let pages = page_up(len.max(1)); // of no length: the kernel will say so
    offset.saturating_add(pages as u64).saturating_sub(1)
}

pub fn add(registry: &Registry, place: Place) {
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
        entries::retain(upper.entry);
        if let Some(file) = files::get(upper.file) {
            files::retain(file);
        }
        places.push(upper);
    });
}

/// Take away and return the places within a range of addresses.
pub fn take_out(registry: &Registry, start: usize, len: usize) -> Vec<Place> {
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
pub fn cut(registry: &Registry, start: usize, len: usize) {
    if !any() {
        return;
    }
    for place in take_out(registry, start, len) {
        entries::release(place.entry, registry);
        files::release(place.file, registry);
    }
}

/// Mappings in which the buffers of a direct read lie: their entries stay until the frame ends (P5).
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
                full |= !entries::keep(frame, place.entry, &registry);
            }
        });
        full
    });
    if full {
        events::emit(&Event::uncovered(
            None,
            "a direct read into more than 8 mappings at once",
        ));
    }
}

/// In a forked child, under the registry lock.
pub fn recount_in_child(registry: &Registry) {
    entries::recount_in_child(registry, || {
        with(registry, |places| {
            places.iter().for_each(|p| entries::retain(p.entry))
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_pages() {
        for page in [4 << 10, 16 << 10, 64 << 10] {
            let wanted = [(0, 0), (1, page), (page, page), (page + 1, 2 * page)];
            for (len, whole) in wanted {
                assert_eq!(up_to(len, page), whole);
            }
            assert_eq!(up_to(usize::MAX, page), usize::MAX - (page - 1));
        }
    }
}
