//! The primitives under a model checker: its words and fences, a sleep without an end of time, so that a wake left out
//! is a deadlock, and the table's bytes as cells.

#[cfg(loom)]
use loom::sync;
#[cfg(loom)]
pub(crate) use loom::thread::yield_now;
#[cfg(shuttle)]
use shuttle::sync;
#[cfg(shuttle)]
pub(crate) use shuttle::thread::yield_now;
use std::any::Any;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release, SeqCst};
use sync::{Condvar, Mutex};

pub(crate) use sync::atomic::{
    AtomicBool, AtomicI32, AtomicU32, AtomicU32 as W32, AtomicU64, AtomicU64 as W64, AtomicUsize,
    fence,
};

use super::Slept;
use crate::cells::{EntryCell, Header, HintLine, HomeCell, ProcessCell, SlotCell};
use crate::geometry::{Geometry, UNVERIFIED, bitmap_words, stretches};
use crate::hints;

pub(crate) type Gap<const WORDS: usize> = [(); WORDS];

/// Time stands still: nothing is late, and nobody looks for deadlocks, which the checker finds.
pub(crate) fn now_ns() -> u64 {
    1
}

pub(crate) fn spin_loop() {}

pub(crate) fn block_signals() {}

pub(crate) fn restore_signals((): ()) {}

/// A membarrier makes these real fences (I8), and so is one here.
pub(crate) fn compiler_fence(order: std::sync::atomic::Ordering) {
    fence(order);
}

#[derive(Default)]
pub(crate) struct FutexWord {
    word: W32,
    sleepers: Sleepers,
}

struct Sleepers(Mutex<()>, Condvar);

impl Default for Sleepers {
    fn default() -> Sleepers {
        Sleepers(Mutex::new(()), Condvar::new())
    }
}

impl std::ops::Deref for FutexWord {
    type Target = W32;

    fn deref(&self) -> &W32 {
        &self.word
    }
}

thread_local! {
    /// In models in which somebody dies a sleep ends at once, as if its time had run out. (All threads of a model are
    /// one to the system.)
    pub(crate) static SLEEPS_RUN_OUT: Cell<bool> = const { Cell::new(false) };
}

impl FutexWord {
    pub(crate) fn sleep(&self, seen: u32, _ns: u64) -> Slept {
        if SLEEPS_RUN_OUT.get() {
            yield_now();
            return Slept::TimedOut;
        }
        let guard = self.sleepers.0.lock().expect("nobody panics with it");
        if self.word.load(SeqCst) == seen {
            drop(self.sleepers.1.wait(guard).expect("nobody panics with it"));
        }
        Slept::Woken
    }

    pub(crate) fn replace(&self, before: u32, to: u32) -> bool {
        let exchanged = self.word.compare_exchange(before, to, Release, Relaxed);
        exchanged.is_ok()
    }

    pub(crate) fn wake(&self) {
        drop(self.sleepers.0.lock().expect("nobody panics with it"));
        self.sleepers.1.notify_all();
    }
}

/// What the processes of a model share.
#[derive(Clone)]
pub(crate) struct Bytes(Arc<Cells>);

struct Cells {
    header: Header,
    arrays: Vec<(u64, Box<dyn Any + Send + Sync>)>,
}

fn cells<T: Default>(count: u32) -> Vec<T> {
    (0..count).map(|_| T::default()).collect()
}

impl Bytes {
    pub(crate) fn of(g: &Geometry) -> Bytes {
        fn part<T: Default + Send + Sync + 'static>(
            at: u64,
            count: u32,
        ) -> (u64, Box<dyn Any + Send + Sync>) {
            (at, Box::new(cells::<T>(count)))
        }
        let l = g.layout();
        let arrays = vec![
            part::<ProcessCell>(l.processes, g.processes),
            part::<SlotCell>(l.slots, g.slots + g.requests),
            part::<HintLine>(l.hints, hints::BUCKETS),
            part::<W64>(l.hint_stacks, hints::BUCKETS),
            part::<EntryCell>(l.mappings, g.mappings),
            part::<EntryCell>(l.uses, g.uses),
            part::<HomeCell>(l.mapping_homes, stretches(g.mappings)),
            part::<HomeCell>(l.use_homes, stretches(g.uses)),
            part::<W64>(l.mapping_bitmaps, g.processes * bitmap_words(g.mappings)),
            part::<W64>(l.use_bitmaps, g.processes * bitmap_words(g.uses)),
            part::<EntryCell>(l.unverified, UNVERIFIED),
            part::<W32>(l.length, g.processes), // lives: see `model`
        ];
        Bytes(Arc::new(Cells {
            header: Header::default(),
            arrays,
        }))
    }

    pub(crate) fn header(&self) -> &Header {
        &self.0.header
    }

    /// # Safety
    /// None: this is the shape of the real one.
    pub(crate) unsafe fn array<T: 'static>(&self, start: u64, count: u32) -> &[T] {
        let array = self.0.arrays.iter().find(|(at, _)| *at == start);
        let (_, cells) = array.expect("a part of the layout");
        let cells = cells.downcast_ref::<Vec<T>>().expect("the part's type");
        &cells[..count as usize]
    }
}
