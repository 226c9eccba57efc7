//! All that this room remembers of the process.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize};

use lock_table::Table;
use once_cell::race::OnceBox;
use policy::Policy;

use crate::who::owned::owned;

/// So often handlers are kept away before the kernel is asked whether there are any (see `handlers`).
const ENOUGH: u32 = 32;

/// What is read in every call stands together; what is written now and then has cache lines of its own.
/// All but the stacks lies on one page: a fork copies those that are written after it.
#[repr(C, align(512))]
pub struct State {
    /// How the process stands to the fence (see `process`).
    pub(super) standing: AtomicU32,
    /// Counts forks: a thread's record of another generation is the parent's.
    pub(super) generation: AtomicU32,
    /// The epoch: a word that the kernel zeroes in every forked child, also one that was forked behind our back (see
    /// `lineage`).
    pub(super) same_process: AtomicPtr<AtomicU32>,
    pub(super) table: OnceBox<Table>,
    /// Who answers for requests that outlive their call (see `outlived`): an `Answers`.
    pub(super) answers: AtomicPtr<c_void>,
    pub(super) policy: OnceBox<Policy>,
    pub(super) program: OnceBox<Vec<u8>>,
    pub(super) orders: OnceBox<Orders>,
    /// The key whose destructor ends a thread's record, and what that does: a `fn(&Thread)`.
    pub(super) key: AtomicU32,
    pub(super) at_exit: AtomicUsize,
    /// Who looks at the mappings (see `due`): a `fn()`; 0: nobody yet.
    pub(super) looks: AtomicUsize,
    /// How the lock table is joined (see `process`): a `fn(&Registry) -> bool`; 0: it isn't.
    pub(super) joins: AtomicUsize,
    /// Where the first thread's stack stood in the constructor, and its storage.
    pub(super) first_stack: AtomicUsize,
    pub(super) first_storage: AtomicUsize,
    pub(super) membarrier: AtomicBool,
    /// Some requests go another way than they ask for.
    pub(super) other_ways: AtomicBool,
    /// Calls on some file are to be recorded.
    pub(super) records: AtomicBool,
    pub(super) changing: Changing,
    pub(super) forking: Forking,
    /// The stacks that jobs run on (see `scratch`).
    pub(super) stacks: [Stack; STACKS],
}

const _: () = assert!(core::mem::offset_of!(State, stacks) <= align_of::<State>());

#[repr(align(64))]
pub(super) struct Changing {
    /// The registry lock.
    pub lock: AtomicU32,
    /// The record of the thread that holds it for a fork; 0: none. The same in the child.
    pub forker: AtomicUsize,
    /// Who holds the lock: the address of the thread's record.
    pub holder: AtomicUsize,
    /// Whether a handler may come (see `handlers`), how many rely on it that none does, how often handlers were kept away, and
    /// at which time it is found out anew whether they must be.
    pub handlers: AtomicU32,
    pub without_masks: AtomicU32,
    pub kept_away: AtomicU32,
    pub look_due: AtomicU32,
    /// How much a look at the mappings is due.
    pub due: AtomicU32,
    /// How many buffers there are (see `buffers`).
    pub buffers: AtomicU32,
    /// The next number for a thread that can't be asked for its own.
    pub stand_in: AtomicU32,
    /// How many epochs there have been (see `lineage`).
    pub epochs: AtomicU32,
}

/// What a fork writes (see `forking`). Calls read the last one.
#[repr(align(64))]
pub(super) struct Forking {
    /// Whether there is anything in the stash.
    pub is_kept: AtomicBool,
    pub stash: Stash,
    pub child_may_wait: AtomicBool,
    pub becoming: AtomicUsize,
    pub sharings: AtomicU32,
}

/// Room for the registry's proof, which this file, on which that relies, doesn't know.
pub(super) struct Stash(pub UnsafeCell<MaybeUninit<[u64; 4]>>);
// SAFETY: written and read only between prepare and parent/child, by the thread that forks.
unsafe impl Sync for Stash {}

/// What those above do when something has happened that is seen here: they say so at the start.
#[derive(Clone, Copy)]
pub struct Orders {
    /// This is a child that was forked past us.
    pub forked: fn(),
    /// A child that had our memory is gone.
    pub child_is_gone: fn(),
}

/// How many stacks for jobs are kept.
pub(super) const STACKS: usize = 64;

pub(super) struct Stack {
    pub taken: AtomicBool,
    /// The lowest byte of the room; null: not mapped yet.
    pub at: AtomicPtr<u8>,
}

impl State {
    const fn new() -> State {
        State {
            standing: AtomicU32::new(0),
            generation: AtomicU32::new(1),
            same_process: AtomicPtr::new(null_mut()),
            table: OnceBox::new(),
            answers: AtomicPtr::new(null_mut()),
            policy: OnceBox::new(),
            program: OnceBox::new(),
            orders: OnceBox::new(),
            key: AtomicU32::new(u32::MAX),
            at_exit: AtomicUsize::new(0),
            looks: AtomicUsize::new(0),
            joins: AtomicUsize::new(0),
            first_stack: AtomicUsize::new(0),
            first_storage: AtomicUsize::new(0),
            membarrier: AtomicBool::new(false),
            other_ways: AtomicBool::new(false),
            records: AtomicBool::new(false),
            changing: Changing {
                lock: AtomicU32::new(0),
                forker: AtomicUsize::new(0),
                holder: AtomicUsize::new(0),
                handlers: AtomicU32::new(0),
                without_masks: AtomicU32::new(0),
                kept_away: AtomicU32::new(0),
                look_due: AtomicU32::new(ENOUGH),
                due: AtomicU32::new(0),
                buffers: AtomicU32::new(0),
                // Above all that the kernel gives.
                stand_in: AtomicU32::new(1 << 24),
                epochs: AtomicU32::new(0),
            },
            forking: Forking {
                is_kept: AtomicBool::new(false),
                stash: Stash(UnsafeCell::new(MaybeUninit::uninit())),
                child_may_wait: AtomicBool::new(false),
                becoming: AtomicUsize::new(0),
                sharings: AtomicU32::new(0),
            },
            stacks: [const {
                Stack {
                    taken: AtomicBool::new(false),
                    at: AtomicPtr::new(null_mut()),
                }
            }; STACKS],
        }
    }
}

owned!(State);
