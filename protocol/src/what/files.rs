//! One record per file that this process uses: identity, policy, who uses it how.
//!
//! Records live in an arena and are shared by all open file descriptions and mappings of the file in
//! this process. The map from identity to record is only entered when descriptors come and go.

use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::*};
use dashmap::DashMap;
use lock_table::{FileId, USE_BUFFERED, USE_DIRECT, USE_OBSERVE, UseEntry};
use once_cell::race::OnceBox;
use policy::{Isolation, Mode, OnInvalidateFailure, OnLockTimeout, OnTableError, Settings};
use std::hash::{BuildHasherDefault, DefaultHasher};

use crate::arena::{Arena, Zeroed};
use crate::direct::second;
use crate::raw;
use crate::tell::events::{self, Event, Kind};
use crate::tell::told;
use crate::what::names::Said;
use crate::what::{names, storage};
use crate::who::registry::Registry;
use crate::who::{process, scratch};

/// A block device: the identity is the device's, and there is no end to extend.
pub const BLOCK_DEVICE: u32 = 1;
/// The program holds or held a POSIX lock on it.
pub const POSIX_LOCKED: u32 = 2;
/// A lease: a second open would break it.
pub const LEASED: u32 = 4;
/// That it is used in two modes has been told.
pub const MIXED_TOLD: u32 = 8;
/// A stream of libc's is or was open on it.
pub const STREAMED: u32 = 64;
/// The register of uses was full: always lock.
pub const UNREGISTERED: u32 = 32;
/// It has more names than one, by which the policy may not fence it.
pub const OTHER_NAMES: u32 = 1 << 16;
/// That the policy says different things by its names has been told.
pub const NAMES_TOLD: u32 = 1 << 17;
/// That direct requests fall back has been told.
pub const FELL_BACK_TOLD: u32 = 1 << 18;

#[derive(Default)]
pub struct File {
    refs: AtomicU32,
    pub descriptions: AtomicU32,
    next_free: AtomicU32,
    dev: AtomicU64,
    ino: AtomicU64,
    packed_settings: AtomicU32,
    use_entry: AtomicU32,
    pub bits: AtomicU32,
    pub flags: AtomicU32,
    lock_timeout_ns: AtomicU64,
    /// Second descriptors + 1 (see `second`), and the lock under which their error is looked at.
    pub second_read: AtomicI32,
    pub second_write: AtomicI32,
    pub check: AtomicU32,
    /// Bumped by whoever sees the file's writeback error.
    pub error_epoch: AtomicU32,
    /// An error that our own calls consumed, owed to the program's next fsync.
    pub owed_error: AtomicI32,
    /// What direct I/O is to be aligned to (see `direct`); 0: not asked yet.
    pub alignment: AtomicU64,
    /// The size when last seen: a guess that saves a second look, never trusted.
    pub size_guess: AtomicU64,
    /// The mount that it was first met by (see `names`).
    pub mount: AtomicU64,
    /// What has been told of it since it was opened: a bit for each reason.
    told: AtomicU64,
    _line: [AtomicU32; 2],
}

// SAFETY: atomics only.
unsafe impl Zeroed for File {}

static FILES: Arena<File> = Arena::new();
static FREE: AtomicU32 = AtomicU32::new(0);
/// With a hasher that asks the kernel for nothing: a sandbox may not know getrandom.
type ByIdentity = DashMap<FileId, u32, BuildHasherDefault<DefaultHasher>>;
static BY_IDENTITY: OnceBox<ByIdentity> = OnceBox::new();

fn by_identity() -> &'static ByIdentity {
    let make = || ByIdentity::with_hasher_and_shard_amount(Default::default(), 4);
    BY_IDENTITY.get_or_init(|| Box::new(make()))
}

pub fn get(index: u32) -> Option<&'static File> {
    FILES.get(index)
}

/// Where a file is known from: a descriptor, for its path and filesystem.
pub struct Found<'a> {
    pub id: FileId,
    pub stat: &'a raw::Stat,
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

impl File {
    pub fn id(&self) -> FileId {
        FileId {
            dev: self.dev.load(Relaxed),
            ino: self.ino.load(Relaxed),
        }
    }

    pub fn has(&self, flag: u32) -> bool {
        self.flags.load(Acquire) & flag != 0
    }

    pub fn is_block_device(&self) -> bool {
        self.has(BLOCK_DEVICE)
    }

    /// Whether this is to be told of the file: once while it is open.
    pub fn is_news(&self, reason: &'static str) -> bool {
        let bit = told::bit_of(reason);
        self.told.fetch_or(bit, AcqRel) & bit == 0
    }

    /// Sets the flag; whether it was set before.
    pub fn mark(&self, flag: u32) -> bool {
        self.flags.fetch_or(flag, AcqRel) & flag != 0
    }

    pub fn settings(&self) -> Known {
        Known {
            packed: self.packed_settings.load(Relaxed),
        }
    }

    pub fn lock_timeout_ns(&self) -> u64 {
        self.lock_timeout_ns.load(Relaxed)
    }

    /// Whether these are the settings that hold for it.
    pub fn has_settings(&self, s: &Settings) -> bool {
        let timeout = u64::try_from(s.lock_timeout.as_nanos()).unwrap_or(u64::MAX);
        s.mode != Mode::Off
            && self.settings() == Known::pack(s)
            && self.lock_timeout_ns() == timeout
    }

    fn set_settings(&self, s: &Settings) {
        self.packed_settings.store(Known::pack(s).packed, Relaxed);
        self.lock_timeout_ns.store(
            u64::try_from(s.lock_timeout.as_nanos()).unwrap_or(u64::MAX),
            Relaxed,
        );
    }

    fn use_entry(&self) -> Option<UseEntry> {
        process::table().and_then(|t| t.use_at(self.use_entry.load(Relaxed).checked_sub(1)?))
    }

    /// Whether calls must take ranges: somebody uses the file past the page cache, or this is
    /// not known. While it is false all use is buffered, which the kernel keeps coherent.
    #[inline]
    pub fn locks(&self) -> bool {
        match (process::table(), self.use_entry()) {
            (Some(table), Some(entry)) => table.use_locks(entry),
            _ => true,
        }
    }

    /// This process now uses the file in the mode of `bits` as well.
    pub fn add_use(&self, index: u32, bits: u32, fd: i32) {
        let bits = bits & (USE_BUFFERED | USE_DIRECT);
        if self.bits.load(Acquire) & bits == bits {
            return;
        }
        // First so that everybody knows, then so that this process does: who finds the bit here relies on it.
        let own = self.bits.load(Acquire) | bits;
        if let (Some(table), Some(entry)) = (process::table(), self.use_entry()) {
            let others = table.use_add(entry, bits);
            self.after_use(index, own, &others, bits, fd);
        }
        self.bits.fetch_or(bits, AcqRel);
    }

    /// Whether it is used both past the page cache and through it, as far as is known.
    pub fn is_mixed(&self) -> bool {
        match (process::table(), self.use_entry()) {
            (Some(table), Some(entry)) => table.use_mixed(entry),
            _ => true,
        }
    }

    fn after_use(&self, index: u32, own: u32, others: &lock_table::Others, new: u32, fd: i32) {
        if new & USE_DIRECT != 0 {
            crate::what::unseen::direct_use_begins();
            if !raw::membarrier() {
                // Nobody can be made to look: give stores in flight elsewhere time to land.
                raw::sleep_ms(2);
            }
        }
        let all = own | others.bits;
        if all & USE_DIRECT != 0 {
            names::tell_of_others(self, index, fd);
            storage::tell_of_others(self, index, fd);
        }
        let differ = "one process observes the file, another enforces it";
        if (own ^ others.bits) & USE_OBSERVE != 0 && others.bits != 0 && self.is_news(differ) {
            events::emit(&Event {
                fd,
                ..Event::uncovered(index, differ)
            });
        }
        if all & USE_BUFFERED != 0 && all & USE_DIRECT != 0 && !self.mark(MIXED_TOLD) {
            events::emit(&Event {
                fd,
                other: others.first,
                ..Event::about(Kind::Mixed, index)
            });
            if self.has(STREAMED) {
                self.tell_streamed(index, fd);
            }
        }
    }

    pub fn tell_streamed(&self, index: u32, fd: i32) {
        let what = "stdio";
        if self.is_news(what) {
            events::emit(&Event {
                fd,
                ..Event::uncovered(index, what)
            });
        }
    }

    fn register_use(&self, index: u32, fd: i32) {
        if process::refuses() {
            return; // not in the table, and that has been told
        }
        let bits = self.bits.load(Acquire);
        let Some(table) = process::table() else {
            return;
        };
        match table.use_register(self.id(), bits) {
            Some((entry, others)) => {
                self.use_entry.store(entry.index() + 1, Release);
                if !process::reached_by_membarrier() {
                    table.use_force_locks(entry);
                }
                self.after_use(index, bits, &others, bits, fd);
                self.tell_unverified(table, index, fd);
            }
            None => {
                self.use_entry.store(0, Release);
                if !self.mark(UNREGISTERED) {
                    events::emit(&Event {
                        fd,
                        ..Event::uncovered(index, "the table's register of uses is full")
                    });
                }
            }
        }
    }
}

impl File {
    /// Direct writes whose process died before it could check them: told by the next opener. (Their
    /// bytes had not been promised yet, and nobody else could dirty the range meanwhile.)
    fn tell_unverified(&self, table: &lock_table::Table, index: u32, fd: i32) {
        let mut any = false;
        table.unverified(self.id(), &mut |first, last| {
            any = true;
            let reason = "a direct write was killed before its check";
            events::emit(&Event {
                fd,
                range: Some((first, last)),
                mode: "direct_write",
                reason,
                done: "reported",
                ..Event::about(Kind::Reaped, index)
            });
        });
        if any {
            table.verified(self.id(), 0, u64::MAX);
        }
    }
}

/// The record of a file, made if need be. None: there is no room.
pub fn obtain(found: &Found, bits: u32) -> Option<Obtained> {
    if let Some(index) = by_identity().get(&found.id).map(|i| *i)
        && let Some(file) = get(index)
    {
        if found.said.is_none() && names::may_differ(file, found.stat) {
            return Some(Obtained::AskFirst);
        }
        file.refs.fetch_add(1, AcqRel);
        file.add_use(index, bits, found.fd);
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
    if !room_for_another() {
        process::tell_no_memory();
        return None;
    }
    let index = match FREE.load(Acquire) {
        0 => FILES.fresh()?,
        free => {
            FREE.store(FILES.get(free)?.next_free.load(Acquire), Release);
            free
        }
    };
    let file = get(index)?;
    file.dev.store(found.id.dev, Relaxed);
    file.ino.store(found.id.ino, Relaxed);
    file.set_settings(&settings);
    let observe = if settings.mode == Mode::Observe {
        USE_OBSERVE
    } else {
        0
    };
    file.bits.store(bits | observe, Relaxed);
    let kind = match found.stat.is_block_device() {
        true => 0, // its node lies anywhere
        false => storage::flags(said.filesystem),
    };
    file.flags
        .store(names::first_flags(found.stat) | kind, Relaxed);
    file.mount.store(found.stat.mount, Relaxed);
    file.told.store(0, Relaxed);
    file.alignment.store(0, Relaxed);
    file.size_guess.store(0, Relaxed);
    file.owed_error.store(0, Relaxed);
    file.refs.store(1, Release);
    file.register_use(index, found.fd);
    for kept in crate::who::exec::kept_for(found.id) {
        file.mark(POSIX_LOCKED);
        if kept >= 0 {
            second::adopt(file, kept);
        }
    }
    by_identity().insert(found.id, index);
    process::watch_table();
    Some(Obtained::Record { index, new: true })
}

/// Whether the map of files can grow, which must not fail: asked of the allocator beforehand. One of its shards at a time
/// doubles; the bound is generous.
fn room_for_another() -> bool {
    let files = by_identity();
    let used = files.len();
    2 * used + 64 < files.capacity() || Vec::<u8>::new().try_reserve_exact(4096 + 64 * used).is_ok()
}

/// The record of a file that this process uses already. It may be recycled as soon as it is seen.
pub fn find(id: FileId) -> Option<(u32, &'static File)> {
    let _registry = crate::who::registry::lock();
    let index = by_identity().get(&id).map(|i| *i)?;
    Some((index, get(index)?))
}

/// One reference more: a mapping's.
pub fn retain(file: &File) {
    file.refs.fetch_add(1, AcqRel);
}

/// One reference less. Under the registry lock.
pub fn release(index: u32, registry: &Registry) {
    if let Some(file) = get(index)
        && file.refs.fetch_sub(1, AcqRel) == 1
    {
        scratch::roomy_in(registry, || recycle(index, file));
    }
}

fn recycle(index: u32, file: &File) {
    by_identity().remove(&file.id());
    if let (Some(table), Some(entry)) = (process::table(), file.use_entry()) {
        table.use_forget(entry);
    }
    file.use_entry.store(0, Release);
    second::close_all(file);
    file.next_free.store(FREE.load(Acquire), Release);
    FREE.store(index, Release);
}

/// In a forked child: the parent's entries are not ours, nor are its second descriptors.
pub fn reregister_in_child() {
    for index in 1..FILES.end() {
        let Some(file) = get(index) else { continue };
        file.check.store(0, Relaxed);
        if file.refs.load(Acquire) == 0 {
            continue;
        }
        second::close_all(file);
        file.flags.fetch_and(!(POSIX_LOCKED | UNREGISTERED), AcqRel);
        file.register_use(index, -1);
    }
}

/// Every file in use: its index and record.
pub fn all() -> impl Iterator<Item = (u32, &'static File)> {
    (1..FILES.end())
        .filter_map(|i| Some((i, get(i)?)))
        .filter(|(_, f)| f.refs.load(Acquire) != 0)
}

/// A file's settings in one word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Known {
    packed: u32,
}

impl Known {
    fn pack(s: &Settings) -> Known {
        let mut packed = 0;
        let mut put = |on: bool, bit: u32| packed |= u32::from(on) << bit;
        put(s.mode == Mode::Observe, 0);
        put(s.isolation == Isolation::Atomic, 1);
        put(s.on_invalidate_failure == OnInvalidateFailure::Warn, 2);
        put(s.on_invalidate_failure == OnInvalidateFailure::Error, 3);
        put(s.on_lock_timeout == OnLockTimeout::Proceed, 4);
        put(s.on_table_error == OnTableError::Refuse, 5);
        Known { packed }
    }
    pub fn observe(self) -> bool {
        self.packed & 1 != 0
    }
    pub fn atomic(self) -> bool {
        self.packed & 2 != 0
    }
    pub fn on_invalidate_failure(self) -> OnInvalidateFailure {
        match self.packed & 12 {
            4 => OnInvalidateFailure::Warn,
            8 => OnInvalidateFailure::Error,
            _ => OnInvalidateFailure::Buffered,
        }
    }
    pub fn proceed_on_timeout(self) -> bool {
        self.packed & 16 != 0
    }
    pub fn refuse_on_table_error(self) -> bool {
        self.packed & 32 != 0
    }
}
