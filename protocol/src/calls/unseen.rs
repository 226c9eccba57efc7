//! Mappings that exist and were not seen being made: a constructor's that ran before ours, a child's that shares our
//! memory (vfork), those of system calls made without libc. `/proc/thread-self/maps` knows them all.
//!
//! It is read when the process joins, when it first uses a file directly, when a child that shared our memory has
//! mapped something, and, as often as costs no more than a sixty-fourth of the time, when the process begins to use
//! another file directly.

use core::sync::atomic::Ordering::*;

use kernel::now_ns;
use kernel::text::Text;
use lock_table::USE_BUFFERED;
use policy::Escaped;
use policy::Mode;

use crate::calls::registering::Registering;
use crate::calls::remaps;
use crate::calls::state::state;
use crate::tell::events::{self, Event};
use crate::tell::told::{Once, first_time};
use crate::tell::{counters, once, trace};
use crate::what::files::{self, Obtained};
use crate::what::maps::{Line, Maps};
use crate::what::places;
use crate::what::state::Place;
use crate::what::{descriptors, identity, names, own, rings};
use crate::who::{due, process, registry, scratch};

const SHARE: u64 = 64;

#[cold]
pub fn look_if_cheap() {
    let due = due::how_much();
    let since = now_ns().saturating_sub(state().look_ended.load(Relaxed));
    if due == due::NOW || since / SHARE >= state().look_took.load(Relaxed) {
        let errno = kernel::errno();
        look();
        kernel::set_errno(errno);
    }
}

/// When the process joins. It costs the next look nothing: the first direct use is always worth one.
pub fn look_at_first() {
    look();
    state().look_took.store(0, Relaxed);
}

/// In a forked child: another thread of its parent's may have been looking.
pub fn reset_in_child() {
    state().looking.store(false, Release);
}

/// Takes all mappings into the registers that are not there yet.
pub fn look() {
    if process::active().is_none() || state().looking.swap(true, AcqRel) {
        return;
    }
    let begun = now_ns();
    let certain = due::take() == due::NOW;
    match scratch::roomy(|| Maps::open().map(take_in)) {
        Some(writable) => {
            register(&writable);
            // Memory of ours is given back under the lock that a fork takes too (see the allocator).
            let registry = (writable.capacity() != 0).then(registry::lock);
            drop(writable);
            drop(registry);
        }
        None if certain => once::uncovered_call("a child's mapping: there is no /proc/self/maps"),
        None => {}
    }
    let now = now_ns();
    state().look_took.store(now.saturating_sub(begun), Relaxed);
    state().look_ended.store(now, Relaxed);
    state().looking.store(false, Release);
}

fn register(ranges: &[(usize, usize)]) {
    for (start, end) in ranges {
        if let Some(call) = Registering::of_existing() {
            let _ = remaps::register_places(&call, *start, end - start); // what exists is not refused
            call.end();
        }
    }
}

/// Makes places of what is unknown. The ranges that may be written now and have a place without an entry.
fn take_in(mut maps: Maps) -> Vec<(usize, usize)> {
    let mut writable = Vec::new();
    let mut near = 0;
    while let Some(line) = maps.next_line() {
        if line.is_a_ring() {
            rings::found();
        }
        if !line.shows_a_file() || is_ours(&line) || is_known(&line, &mut near) {
            continue;
        }
        let mut from = line.start;
        while let Some((start, end)) = gap(&line, from) {
            add(&line, start, end);
            from = end;
        }
        let bare = |p: &Place| p.entry == 0 && p.overlaps(line.start, line.end);
        let registry = registry::lock();
        if line.writable && places::with(&registry, |places| places.iter().any(bare)) {
            writable.push((line.start, line.end));
        }
    }
    writable
}

fn is_ours(line: &Line) -> bool {
    process::table().is_some_and(|t| t.is_at(line.start))
        || counters::is_at(line.start)
        || trace::is_at(line.start)
}

fn shows_the_same(p: &Place, line: &Line) -> bool {
    p.shows_at(line.start) == line.offset
        && files::get(p.file).is_some_and(|f| f.id().ino == line.ino || f.is_block_device())
}

/// Whether one place knows all of the mapping. `near` is where the last one was found: the kernel lists mappings mostly
/// in the order in which they were made or in the reverse one, and there may be 60,000.
fn is_known(line: &Line, near: &mut usize) -> bool {
    let registry = registry::lock();
    places::with(&registry, |places| {
        let knows = |p: &Place| {
            p.start <= line.start
                && line.end <= p.end
                && shows_the_same(p, line)
                && (p.entry != 0 || !line.writable)
        };
        let mut beside = [*near, near.wrapping_add(1), near.wrapping_sub(1)].into_iter();
        let found = beside.find(|at| places.get(*at).is_some_and(knows));
        let found = found.or_else(|| places.iter().position(knows));
        *near = found.unwrap_or(*near);
        found.is_some()
    })
}

/// The first part of a mapping, from there on, that no place knows.
fn gap(line: &Line, from: usize) -> Option<(usize, usize)> {
    let known = |p: &&Place| p.overlaps(from, line.end) && shows_the_same(p, line);
    let registry = registry::lock();
    places::with(&registry, |places| {
        let known = || places.iter().filter(known);
        let mut from = from;
        while let Some(p) = known().find(|p| p.start <= from && from < p.end) {
            from = p.end;
        }
        let next = known().map(|p| p.start).filter(|s| *s > from).min();
        (from < line.end).then_some((from, next.unwrap_or(line.end).min(line.end)))
    })
}

/// A place for what wasn't known. The policy is asked without the registry, as everywhere.
fn add(line: &Line, start: usize, end: usize) {
    if !line.writable && line.is_for_reading() {
        return;
    }
    let fd = line.open().unwrap_or(-1);
    let stat = kernel::fstat(fd).ok();
    match stat.filter(|stat| is_it(line, fd, stat)) {
        Some(stat) => {
            let offset = line.offset.saturating_add((start - line.start) as u64);
            let (file, entry) = (0, 0); // for now
            let place = Place {
                start,
                end,
                file,
                offset,
                entry,
            };
            add_place(place, fd, &stat);
        }
        None => tell_nameless(line),
    }
    own::close_looked_at(fd);
}

fn add_place(place: Place, fd: i32, stat: &kernel::Stat) {
    let Some(id) = identity::identity(stat) else {
        return;
    };
    let said = names::ask(fd, stat);
    let registry = registry::lock();
    let found = files::Found {
        id,
        stat,
        fd,
        said: Some(said),
        registry: &registry,
    };
    let obtained = files::obtain(&found, USE_BUFFERED);
    let Some(Obtained::Record { index, new }) = obtained else {
        return;
    };
    if new {
        descriptors::found_fenced(id);
    }
    // Known after all, where inode numbers in /proc are not those of stat. Or gone by now.
    let same = |p: &Place| {
        (p.start, p.file, p.offset) == (place.start, index, place.offset) && p.end >= place.end
    };
    if places::with(&registry, |places| places.iter().any(same))
        || !kernel::is_mapped(place.start, place.end - place.start)
    {
        files::release(index, &registry);
        return;
    }
    let modes = USE_BUFFERED | counters::USED_MAPPED | counters::USED_MAPPED_WRITABLE;
    counters::note_use(id, fd, modes);
    let file = index;
    places::add(&registry, Place { file, ..place });
}

/// Whether that is the file: where it was opened by its path, another may have the name by now.
fn is_it(line: &Line, fd: i32, stat: &kernel::Stat) -> bool {
    // These number devices for stat differently.
    const OTHER_DEVICES: [i64; 2] = [libc::BTRFS_SUPER_MAGIC, libc::OVERLAYFS_SUPER_MAGIC];
    let other = || kernel::filesystem_magic(fd).is_some_and(|m| OTHER_DEVICES.contains(&m));
    stat.ino == line.ino && (stat.dev == line.dev || other())
}

#[cold]
fn tell_nameless(line: &Line) {
    let path = line.name();
    let program = process::program();
    let off =
        process::policy().is_some_and(|p| p.settings_for(path, program, "").mode == Mode::Off);
    if off || !first_time(Once::NamelessMapping) {
        return;
    }
    let reason = Text::<200>::of(format_args!(
        "a mapping was made where it wasn't seen, and its file can't be found: {}",
        Escaped(path)
    ));
    events::emit(&Event::uncovered(None, reason.as_str()));
}
