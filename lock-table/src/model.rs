//! Processes of a model: tables on the same bytes, whose lives are words behind the table's end instead of locks in a
//! kernel.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

use crate::Table;
use crate::error::Path;
use crate::memory::{Geometry, Memory};
use crate::primitive::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Bytes, W32};

/// Free; locked by a process's life; locked by who cleans up after it.
const FREE: u32 = 0;
const LIVING: u32 = 1;
const CLEANING: u32 = 2;

impl Table {
    /// A process of a model, registered.
    pub(crate) fn in_model(bytes: &Bytes, g: &Geometry, owner: u32) -> Table {
        let table = Table {
            mem: Memory::new(bytes.clone(), *g),
            path: Path::EMPTY,
            id: (0, 0),
            me: AtomicU32::new(owner),
            probe: AtomicI32::new(0),
            asking: AtomicU32::new(0),
            on_demand: AtomicBool::new(false),
            life: AtomicUsize::new(0),
            reaping: AtomicBool::new(false),
            reaped: AtomicU32::new(0),
            locks_for_itself: AtomicBool::new(false),
            vain_until: AtomicU64::new(0),
            poisoned: AtomicBool::new(false),
        };
        table.mem.processes()[owner as usize - 1]
            .state
            .store(1, Release);
        table.life_of(owner).store(LIVING, Release);
        table
    }

    fn life_of(&self, owner: u32) -> &W32 {
        &self.mem.lives()[owner as usize - 1]
    }

    /// What the kernel does when a process has ended.
    pub(crate) fn dies(&self) {
        let me = self.me().expect("registered");
        self.life_of(me).store(FREE, Release);
    }

    pub(crate) fn lives(&self, owner: u32) -> bool {
        self.life_of(owner).load(Acquire) != FREE
    }

    pub(crate) fn with_dead(&self, owner: u32, clean: impl FnOnce()) {
        let life = self.life_of(owner);
        if life
            .compare_exchange(FREE, CLEANING, AcqRel, Acquire)
            .is_ok()
        {
            clean();
            life.store(FREE, Release);
        }
    }
}

#[cfg(miri)]
impl Bytes {
    /// Never given back.
    pub(crate) fn of(g: &Geometry) -> Bytes {
        let length = g.layout().length as usize + g.processes as usize * size_of::<W32>();
        let layout = std::alloc::Layout::from_size_align(length, 4096).expect("a table's size");
        // SAFETY: the size isn't zero; the bytes are the layout's and the lives', zeroed, and stay.
        unsafe {
            let base = std::alloc::alloc_zeroed(layout);
            Bytes::new(std::ptr::NonNull::new(base).expect("memory"))
        }
    }
}
