//! One record per file that this process uses: identity, policy, who uses it how.
//!
//! Records live in an arena and are shared by all open file descriptions and mappings of the file in
//! this process. The map from identity to record is only entered when descriptors come and go.

use core::sync::atomic::Ordering::*;

use lock_table::{FileId, USE_OBSERVE, USE_RANGES};
use policy::{Policy, Settings};

use crate::tell::once;
use crate::what::file::{BLOCK_DEVICE, File, NAMES_TOLD, OTHER_NAMES, POSIX_LOCKED, UNREGISTERED};
use crate::what::names::{self, Said};
use crate::what::state::{ByIdentity, state};
use crate::what::{kept, routes, seconds, storage};
use crate::who::registry::{self, Registry};
use crate::who::{process, scratch};

/// So many files find room in the map from the start, which makes it large enough for most programs.
const AT_FIRST: usize = 256;

fn by_identity() -> &'static ByIdentity {
    let make =
        || ByIdentity::with_capacity_and_hasher_and_shard_amount(AT_FIRST, Default::default(), 4);
    state().by_identity.get_or_init(|| Box::new(make()))
}

pub fn get(index: u32) -> Option<&'static File> {
    state().files.get(index)
}

/// Where a file is known from: a descriptor, for its path and filesystem.
pub struct Found<'a> {
    pub id: FileId,
    pub stat: &'a kernel::Stat,
    pub fd: i32,
    /// What the policy says by this descriptor's name, if it was asked.
    pub said: Option<Said>,
    pub registry: &'a Registry,
}

/// What [`obtain`] makes of a file.
pub enum Obtained {
    /// One reference is the caller's; whether the record is new.
    Record {
        index: u32,
        new: bool,
    },
    NotFenced(Said),
    /// The policy is to be asked first (see `names`), without the registry.
    AskFirst,
}

/// The record of a file, made if need be. None: there is no room.
pub fn obtain(found: &Found, bits: u32) -> Option<Obtained> {
    if let Some(index) = by_identity().get(&found.id).map(|i| *i)
        && let Some(file) = get(index)
    {
        if found.said.is_none() && may_differ(file, found.stat) {
            return Some(Obtained::AskFirst);
        }
        if !process::joins(found.registry) {
            return None;
        }
        file.refs.fetch_add(1, AcqRel);
        // Whoever isn't fenced may have cut it off.
        if found.stat.size < file.reaches() && !file.is_block_device() {
            file.is_cut_off(found.stat.size);
        }
        file.add_use(index, routes::bits(file.settings(), bits), found.fd);
        return Some(Obtained::Record { index, new: false });
    }
    let Some(said) = found
        .said
        .or_else(|| names::ask_at_once(found.fd, found.stat))
    else {
        return Some(Obtained::AskFirst);
    };
    let Some(settings) = said.settings else {
        return Some(Obtained::NotFenced(said));
    };
    if !process::joins(found.registry) {
        return None;
    }
    if !room_for_another() {
        once::no_memory();
        return None;
    }
    let index = add(found, &said, &settings, bits)?;
    Some(Obtained::Record { index, new: true })
}

/// A new record, which is the file's from now on.
fn add(found: &Found, said: &Said, settings: &Settings, bits: u32) -> Option<u32> {
    let index = match state().changing.free_file.load(Acquire) {
        0 => state().files.fresh()?,
        free => {
            state()
                .changing
                .free_file
                .store(state().files.get(free)?.next_free.load(Acquire), Release);
            free
        }
    };
    let file = get(index)?;
    file.dev.store(found.id.dev, Relaxed);
    file.ino.store(found.id.ino, Relaxed);
    file.set_settings(settings);
    let known = file.settings();
    let asks = match (known.observe(), known.atomic()) {
        (true, _) => USE_OBSERVE,
        (false, true) => USE_RANGES,
        (false, false) => 0,
    };
    file.bits.store(routes::bits(known, bits) | asks, Relaxed);
    let kind = match found.stat.is_block_device() {
        true => 0, // its node lies anywhere
        false => storage::flags(said.filesystem),
    };
    file.flags.store(first_flags(found.stat) | kind, Relaxed);
    file.mount.store(found.stat.mount, Relaxed);
    file.told.store(0, Relaxed);
    file.called.store(0, Relaxed);
    file.birth.store(0, Relaxed);
    file.quiet.store(0, Relaxed);
    file.asked_until.store(0, Relaxed);
    for count in [&file.descriptions, &file.direct, &file.beginning] {
        count.store(0, Relaxed);
    }
    file.alignment.store(0, Relaxed);
    file.size_guess.store(found.stat.size, Relaxed);
    file.owed_error.store(0, Relaxed);
    file.settled.store(0, Relaxed);
    file.refs.store(1, Release);
    file.register_use(index, found.fd);
    for kept in kept::kept_for(found.id) {
        file.mark(POSIX_LOCKED);
        if kept >= 0 {
            seconds::adopt(file, kept);
        }
    }
    by_identity().insert(found.id, index);
    state().changing.mapped_files.fetch_add(1, Relaxed);
    once::watch_table();
    Some(index)
}

/// Whether the map of files can grow, which must not fail: asked of the allocator beforehand. One of its shards at a time
/// doubles; the bound is generous. The map itself is asked, shard by shard, only where that isn't known from before: it
/// never shrinks. Under the registry lock.
fn room_for_another() -> bool {
    let changing = &state().changing;
    let used = changing.mapped_files.load(Relaxed);
    if used < changing.roomy_below.load(Relaxed) {
        return true;
    }
    let below = by_identity().capacity().saturating_sub(64) / 2;
    changing.roomy_below.store(below, Relaxed);
    used < below || Vec::<u8>::new().try_reserve_exact(4096 + 64 * used).is_ok()
}

/// Flags of a new record.
fn first_flags(stat: &kernel::Stat) -> u32 {
    let device = if stat.is_block_device() {
        BLOCK_DEVICE
    } else {
        0
    };
    let others = stat.is_regular() && stat.links > 1 && names::fences_by_path();
    device | if others { OTHER_NAMES } else { 0 }
}

/// Whether this descriptor may have come by another name than the record, with other settings: at no cost where the
/// file has one name, or the policy asks for none.
fn may_differ(file: &File, stat: &kernel::Stat) -> bool {
    (stat.links > 1 || stat.mount != file.mount.load(Relaxed))
        && !file.has(NAMES_TOLD)
        && process::policy().is_some_and(Policy::asks_for_paths)
}

/// The record of a file that this process uses already. It may be recycled as soon as it is seen.
pub fn find(id: FileId) -> Option<&'static File> {
    let _registry = registry::lock();
    get(by_identity().get(&id).map(|i| *i)?)
}

/// One reference more: a mapping's.
pub fn retain(file: &File) {
    file.refs.fetch_add(1, AcqRel);
}

/// One reference less. Under the registry lock.
pub fn release(index: u32, registry: &Registry) {
    if let Some(file) = get(index) {
        match file.refs.fetch_sub(1, AcqRel) {
            1 => scratch::roomy_in(registry, || recycle(index, file)),
            _ => file.end_uses(registry),
        }
    }
}

fn recycle(index: u32, file: &File) {
    by_identity().remove(&file.id());
    state().changing.mapped_files.fetch_sub(1, Relaxed);
    if let (Some(table), Some(entry)) = (process::table(), file.use_entry()) {
        table.use_forget(entry);
    }
    file.use_entry.store(0, Release);
    seconds::close_all(file);
    file.next_free
        .store(state().changing.free_file.load(Acquire), Release);
    state().changing.free_file.store(index, Release);
}

/// In a forked child: the parent's entries are not ours, nor what its calls have said.
pub fn forget_parent_in_child() {
    for index in 1..state().files.end() {
        let Some(file) = get(index) else { continue };
        file.check.store(0, Relaxed);
        if file.refs.load(Acquire) == 0 {
            continue;
        }
        file.use_entry.store(0, Release);
        file.flags.fetch_and(!(POSIX_LOCKED | UNREGISTERED), AcqRel);
        if !file.settings().atomic() {
            // The parent's calls do.
            file.bits.fetch_and(!USE_RANGES, AcqRel);
        }
        file.quiet.store(0, Relaxed);
        file.beginning.store(0, Relaxed); // the parent's calls
    }
}

/// The child comes into the table: with entries of its own, and without the second descriptors of its parent, whose errors
/// are the parent's to see.
pub fn register_in_child() {
    for (index, file) in all() {
        seconds::close_all(file);
        file.register_use(index, -1);
    }
}

/// Every file in use: its index and record.
pub fn all() -> impl Iterator<Item = (u32, &'static File)> {
    (1..state().files.end())
        .filter_map(|i| Some((i, get(i)?)))
        .filter(|(_, f)| f.refs.load(Acquire) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    /// More than it has room for at first, closed and opened again: it is asked for room when it is due, and not before.
    #[test]
    fn it_is_known_how_many_files_the_map_has() {
        const MORE: usize = AT_FIRST;
        let world = World::new();
        let process = world.process();
        let paths: Vec<_> = (0..MORE)
            .map(|n| world.file(&format!("file{n}"), 1, 1))
            .collect();
        let counted = || {
            process.enter(|| {
                let changing = &state().changing;
                let below = changing.roomy_below.load(Relaxed);
                assert!(2 * below + 64 <= by_identity().capacity(), "{below}");
                let counted = changing.mapped_files.load(Relaxed);
                assert_eq!(counted, by_identity().len());
                counted
            })
        };
        for _ in 0..2 {
            let numbers: Vec<_> = paths
                .iter()
                .map(|path| process.open(path, libc::O_RDONLY))
                .collect();
            for fd in &numbers {
                let pinned = process.enter(|| crate::what::descriptors::pin(*fd));
                process.enter(|| pinned.expect("a file").unpin());
            }
            assert_eq!(counted(), MORE);
            numbers.into_iter().for_each(|fd| process.close(fd));
            assert_eq!(counted(), 0);
        }
    }
}
