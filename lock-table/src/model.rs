//! Processes of a model: tables on the same bytes, whose lives are words behind the table's end instead of locks in a
//! kernel.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::Table;
use crate::error::Path;
use crate::geometry::Geometry;
use crate::memory::Memory;
use crate::primitive::{Bytes, W32};

/// Free; locked by a process's life; locked by who cleans up after it.
const FREE: u32 = 0;
const LIVING: u32 = 1;
const CLEANING: u32 = 2;

impl Table {
    /// A process of a model, registered.
    pub(crate) fn in_model(bytes: &Bytes, g: &Geometry, owner: u32) -> Table {
        let table = Table::over(Memory::new(bytes.clone(), *g), Path::EMPTY, (0, 0), (0, 0));
        table.probe.store(0, Relaxed);
        table.me.store(owner, Relaxed);
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
