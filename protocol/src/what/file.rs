//! What this process knows of a file: identity, the policy's settings, marks.

use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::*};

use kernel::arena::Zeroed;
use lock_table::{FileId, Table, UseEntry, UseWord};
use policy::{Isolation, Mode, OnInvalidateFailure, OnLockTimeout, OnTableError, Settings};

use crate::tell::{told, trace};
use crate::who::process;

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
/// Its policy takes requests past the page cache, and that can be done; or it can't.
pub const GOES_PAST: u32 = 1 << 23;
pub const STAYS_CACHED: u32 = 1 << 24;
/// The kernel lets us look at its writeback error.
pub const LOOKED_AT: u32 = 1 << 25;
/// It counts as used so for as long as this process knows it: nobody follows when that ends (see `uses`).
pub const LASTS_BUFFERED: u32 = 1 << 27;
pub const LASTS_DIRECT: u32 = 1 << 28;
/// That direct requests fall back has been told.
pub const FELL_BACK_TOLD: u32 = 1 << 18;

#[derive(Default)]
pub struct File {
    pub(super) refs: AtomicU32,
    pub descriptions: AtomicU32,
    /// Those of them that are direct.
    pub(super) direct: AtomicU32,
    /// Uses in the making, which don't count otherwise yet: until then none ends.
    pub(super) beginning: AtomicU32,
    pub(super) next_free: AtomicU32,
    pub(super) dev: AtomicU64,
    pub(super) ino: AtomicU64,
    pub(super) packed_settings: AtomicU32,
    pub(super) use_entry: AtomicU32,
    pub bits: AtomicU32,
    pub flags: AtomicU32,
    pub(super) lock_timeout_ns: AtomicU64,
    /// Second descriptors + 1 (see `second`), and the lock under which their error is looked at.
    pub second_read: AtomicI32,
    pub second_write: AtomicI32,
    pub second_past_read: AtomicI32,
    pub second_past_write: AtomicI32,
    pub check: AtomicU32,
    /// Bumped by whoever sees the file's writeback error.
    pub error_epoch: AtomicU32,
    /// An error that our own calls consumed, owed to the program's next fsync.
    pub owed_error: AtomicI32,
    /// What direct I/O is to be aligned to (see `direct`); 0: not asked yet.
    pub alignment: AtomicU64,
    /// The size when last seen: a guess that saves a second look, never trusted.
    pub size_guess: AtomicU64,
    /// The mixture of uses since which every processor has passed a barrier (see `reach`).
    pub(super) settled: AtomicU32,
    /// The mount that it was first met by (see `names`).
    pub mount: AtomicU64,
    /// After so many calls that take ranges it is looked whether they still must (see `way_back`).
    pub quiet: AtomicU32,
    /// Until then it isn't asked again whether its other users live.
    pub asked_until: AtomicU64,
    /// What has been told of it since it was opened: a bit for each reason.
    pub(super) told: AtomicU64,
    /// What a ring calls it, and which (see `calls::recorded`).
    pub called: AtomicU64,
    /// What tells it from others of its number (see `calls::contents`); 0: not asked yet.
    pub birth: AtomicU32,
}

// SAFETY: atomics only.
unsafe impl Zeroed for File {}

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

    pub fn set_settings(&self, s: &Settings) {
        self.packed_settings.store(Known::pack(s).packed, Relaxed);
        self.lock_timeout_ns.store(
            u64::try_from(s.lock_timeout.as_nanos()).unwrap_or(u64::MAX),
            Relaxed,
        );
    }

    pub fn use_entry(&self) -> Option<UseEntry> {
        self.use_entry_in(process::table()?)
    }

    #[inline]
    fn use_entry_in(&self, table: &Table) -> Option<UseEntry> {
        table.use_at(self.use_entry.load(Relaxed).checked_sub(1)?)
    }

    /// What that says, for who asks it twice.
    #[inline(always)]
    pub fn use_word_in<'t>(&self, table: &'t Table) -> Option<UseWord<'t>> {
        table.use_word(self.use_entry_in(table)?)
    }

    /// Whether calls must take ranges that aren't direct: somebody uses the file past the page cache, or this is
    /// not known. While it is false all use is buffered, which the kernel keeps coherent.
    #[inline]
    pub fn locks(&self) -> bool {
        match (process::table(), self.use_entry()) {
            (Some(table), Some(entry)) => table.use_locks(entry),
            _ => true,
        }
    }

    /// Whether all use of it is direct, and nobody relies on ranges: direct calls that move nothing only announce
    /// themselves.
    #[inline]
    pub fn is_direct_alone(&self) -> bool {
        match (process::table(), self.use_entry()) {
            (Some(table), Some(entry)) => table.use_direct_alone(entry),
            _ => false,
        }
    }

    /// Whether it is used both past the page cache and through it, as far as is known.
    pub fn is_mixed(&self) -> bool {
        match (process::table(), self.use_entry()) {
            (Some(table), Some(entry)) => table.use_mixed(entry),
            _ => true,
        }
    }
}

const OBSERVE: u32 = 1;
const ATOMIC: u32 = 2;
const ROUTED: u32 = 64;
const PAST: u32 = 128;
const RECORDED: u32 = 512;
const SUMMED: u32 = 1024;

/// A file's settings in one word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Known {
    packed: u32,
}

impl Known {
    pub fn pack(s: &Settings) -> Known {
        let mut packed = 0;
        let mut put = |on: bool, bit: u32| packed |= u32::from(on) << bit;
        put(s.mode == Mode::Observe, 0);
        put(s.isolation == Isolation::Atomic, 1);
        put(s.on_invalidate_failure == OnInvalidateFailure::Warn, 2);
        put(s.on_invalidate_failure == OnInvalidateFailure::Error, 3);
        put(s.on_lock_timeout == OnLockTimeout::Proceed, 4);
        put(s.on_table_error == OnTableError::Refuse, 5);
        put(s.is_routed(), 6);
        put(s.goes_past(), 7);
        put(s.refuses_uncovered(), 8);
        put(s.records_calls() && trace::is_on(), 9);
        put(s.records_contents() && trace::is_on(), 10);
        Known { packed }
    }
    pub fn observe(self) -> bool {
        self.packed & OBSERVE != 0
    }
    pub fn atomic(self) -> bool {
        self.packed & ATOMIC != 0
    }
    /// The same, but for the isolation.
    pub fn coherent(self) -> Known {
        Known {
            packed: self.packed & !2,
        }
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
    /// What can't be covered fails.
    pub fn refuses_uncovered(self) -> bool {
        self.packed & 256 != 0
    }
    pub fn refuse_on_table_error(self) -> bool {
        self.packed & 32 != 0
    }
    /// Direct requests go through the page cache (see `routes`).
    pub fn is_routed(self) -> bool {
        self.packed & ROUTED != 0
    }
    /// Requests that don't ask for it go past the page cache, too, where that can be done.
    pub fn goes_past(self) -> bool {
        self.packed & PAST != 0
    }
    /// Whether a call needs nothing of us while the file is in one mode.
    pub fn is_plain(self) -> bool {
        self.packed & ATOMIC == 0
    }
    /// The same, and requests go the way that they ask for.
    pub fn is_plain_as_asked(self) -> bool {
        self.packed & (ATOMIC | ROUTED | PAST | RECORDED) == 0
    }
    /// The same, but that its calls may be recorded.
    pub fn is_plain_but_recorded(self) -> bool {
        self.packed & (ATOMIC | ROUTED | PAST) == 0
    }
    /// All calls on it are.
    pub fn records_calls(self) -> bool {
        self.packed & RECORDED != 0
    }
    /// They are, not what they move, and nothing else is wanted.
    pub fn records_calls_alone(self) -> bool {
        self.packed & (ATOMIC | ROUTED | PAST | RECORDED | SUMMED) == RECORDED
    }
    /// And what they move.
    pub fn records_contents(self) -> bool {
        self.packed & SUMMED != 0
    }
    /// Whether its ranges are held, and nothing else is wanted.
    pub fn is_held_as_asked(self) -> bool {
        self.packed & (OBSERVE | ATOMIC | ROUTED | PAST) == 0
    }
}
