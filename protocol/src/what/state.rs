//! All that this room remembers of the process, and the records that it consists of. They are data here; what is done with
//! them stands in the files that they are named after.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize};
use std::hash::{BuildHasherDefault, Hasher};

use dashmap::DashMap;
use kernel::arena::{Arena, Zeroed};
use lock_table::FileId;
use once_cell::race::OnceBox;

use crate::what::file::File;
use crate::who::owned::owned;

/// What is read in every call stands first. All of it is zero at the start, and takes no room in the library's file.
#[repr(C, align(64))]
pub struct State {
    /// A word for each number (see `words`).
    pub(super) words: Arena<AtomicU64>,
    /// One past the highest number of the program's that has one.
    pub(super) met: AtomicU32,
    pub(super) descriptions: Arena<Description>,
    pub(super) files: Arena<File>,
    /// By lock slot: the number that a call there has in hand, plus one. And for calls that have none (see `hands`).
    pub(super) hands: Arena<AtomicU64>,
    pub(super) spare_hands: [AtomicU64; 32],
    pub(super) entries: Arena<Entry>,
    /// What frames keep of them.
    pub(super) kept_entries: Arena<KeptEntries>,
    pub(super) places: OnceBox<Places>,
    pub(super) place_count: AtomicUsize,
    pub(super) by_identity: OnceBox<ByIdentity>,
    /// With which flags numbers were opened that nobody has used yet (see `fresh`), and whether that is known at all.
    pub(super) opened: [AtomicU64; 64],
    pub(super) opened_last: AtomicU64,
    pub(super) opens_as_asked: AtomicBool,
    /// Mounts that answered without asking a server what they are; 0: none (see `names`).
    pub(super) quick_mounts: [AtomicU64; 64],
    /// Descriptors that the process kept when it became this program.
    pub(super) kept: [Kept; KEPT],
    /// There may be any of those.
    pub(super) keeps: AtomicBool,
    /// What was told of io_uring (see `rings`).
    pub(super) rings: AtomicU32,
    /// What constructors before ours did to numbers.
    pub(super) streamed: Numbers,
    pub(super) locked: Numbers,
    pub(super) mapped_early: AtomicBool,
    pub(super) changing: Changing,
}

/// What opening and closing write.
#[repr(align(64))]
pub(super) struct Changing {
    /// Grows with every change of a number.
    pub sequence: AtomicU64,
    /// The first of each kind of record that is free; 0: none.
    pub free_description: AtomicU32,
    pub free_file: AtomicU32,
    pub free_entry: AtomicU32,
    pub free_kept: AtomicU32,
    /// How many files are in the map, and below how many it has room for another for sure (see `files`).
    pub mapped_files: AtomicUsize,
    pub roomy_below: AtomicUsize,
}

/// With a hasher that asks the kernel for nothing: a sandbox may not know getrandom.
pub(super) type ByIdentity = DashMap<FileId, u32, BuildHasherDefault<Folding>>;

/// Two multiplications for a file: inode numbers come in rows and in steps.
#[derive(Default)]
pub(super) struct Folding(u64);

impl Hasher for Folding {
    fn write_u64(&mut self, n: u64) {
        let mixed = (self.0 ^ n).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ mixed.rotate_left(32);
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.write_u64((*b).into()));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// An open file description.
#[derive(Default)]
pub struct Description {
    pub(super) refs: AtomicU32,
    pub(super) file: AtomicU32,
    /// The open flags as `F_GETFL` gave them, followed through `F_SETFL`.
    pub(super) flags: AtomicU32,
    /// The generation of sharing in which it was opened: an older one may be shared with a child.
    pub(super) shared_since: AtomicU32,
    /// Came from elsewhere: inherited, received, or opened where we did not see it.
    pub(super) foreign: AtomicU32,
    /// The offset lock: the holder's thread id.
    pub(super) offset_lock: AtomicU32,
    pub(super) next_free: AtomicU32,
    /// The program has set `O_DIRECT`, and it is off (see `routes`).
    pub(super) routed: AtomicU32,
}
// SAFETY: atomics only.
unsafe impl Zeroed for Description {}

/// An entry in the table's register, shared by the pieces of a mapping and by requests whose buffers
/// lie in it: the kernel still writes those pages when the mapping is gone.
#[derive(Default)]
pub struct Entry {
    pub(super) refs: AtomicU32,
    pub(super) next_free: AtomicU32,
    pub registered: AtomicU32,
    pub file: AtomicU32,
    pub first: AtomicU64,
    pub last: AtomicU64,
}
// SAFETY: atomics only.
unsafe impl Zeroed for Entry {}

/// Entries that may not go before a call ends: those of mappings in which its buffers lie, and one that it has made
/// and not yet put in its place. In its frame, so that they go also when it is jumped out of.
#[derive(Default)]
pub(super) struct KeptEntries {
    pub entries: [AtomicU32; 8],
    pub next_free: AtomicU32,
}
// SAFETY: atomics only.
unsafe impl Zeroed for KeptEntries {}

/// A place in this process's memory that shows part of a file and may be written or become so.
#[derive(Clone, Copy)]
pub struct Place {
    pub start: usize,
    pub end: usize,
    pub file: u32,
    /// What the first byte shows.
    pub offset: u64,
    /// The register entry that covers it; 0: not writable now.
    pub entry: u32,
}

#[derive(Default)]
pub(super) struct Places(pub UnsafeCell<Vec<Place>>);
// SAFETY: only reached through `places::with`, which asks for the registry lock.
unsafe impl Sync for Places {}

/// How many descriptors are kept from one program to the next, at most.
pub const KEPT: usize = 32;

/// An empty place, or a file and its descriptor (-1: none).
pub struct Kept {
    /// 0: an empty place; else the descriptor + 2.
    pub(super) fd: AtomicI32,
    pub(super) dev: AtomicU64,
    pub(super) ino: AtomicU64,
}

/// A bit for each number below 256: constructors don't open more.
pub(super) struct Numbers(pub [AtomicU64; 4]);

impl Numbers {
    const fn none() -> Numbers {
        Numbers([const { AtomicU64::new(0) }; 4])
    }
}

impl State {
    const fn new() -> State {
        State {
            words: Arena::new(),
            met: AtomicU32::new(0),
            descriptions: Arena::new(),
            files: Arena::new(),
            hands: Arena::new(),
            spare_hands: [const { AtomicU64::new(0) }; 32],
            entries: Arena::new(),
            kept_entries: Arena::new(),
            places: OnceBox::new(),
            place_count: AtomicUsize::new(0),
            by_identity: OnceBox::new(),
            opened: [const { AtomicU64::new(0) }; 64],
            opened_last: AtomicU64::new(0),
            opens_as_asked: AtomicBool::new(false),
            quick_mounts: [const { AtomicU64::new(0) }; 64],
            kept: [const {
                Kept {
                    fd: AtomicI32::new(0),
                    dev: AtomicU64::new(0),
                    ino: AtomicU64::new(0),
                }
            }; KEPT],
            keeps: AtomicBool::new(false),
            rings: AtomicU32::new(0),
            streamed: Numbers::none(),
            locked: Numbers::none(),
            mapped_early: AtomicBool::new(false),
            changing: Changing {
                sequence: AtomicU64::new(0),
                free_description: AtomicU32::new(0),
                free_file: AtomicU32::new(0),
                free_entry: AtomicU32::new(0),
                free_kept: AtomicU32::new(0),
                mapped_files: AtomicUsize::new(0),
                roomy_below: AtomicUsize::new(0),
            },
        }
    }
}

owned!(State);
