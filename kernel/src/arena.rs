//! Memory that never moves and is never given back: an index always leads to a `T`.
//!
//! A call in one thread may look at a record that another thread is just giving up. It finds a `T`
//! all the same (perhaps of a later owner) and sees by the record's own counters that it is not its own.
//! Chunks come from `mmap`, zeroed, so the program's allocator is never entered.

use core::marker::PhantomData;
use core::mem::size_of;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

const CHUNK: u32 = 1024;
const CHUNKS: usize = 1024;
/// One past the highest index an arena can hold.
pub const CAPACITY: u32 = CHUNK * CHUNKS as u32;

/// A record for which all-zero bytes are valid and which is shared between threads through atomics only.
///
/// # Safety
/// Every field is an atomic integer (or a padding of them).
pub unsafe trait Zeroed: Sync {}

// SAFETY: an atomic integer is valid when zero.
unsafe impl Zeroed for core::sync::atomic::AtomicU64 {}

/// In this order: what every look reads lies on one page, of which a forked child would make each anew.
#[repr(C)]
pub struct Arena<T> {
    /// One past the highest index handed out by [`Arena::fresh`] or touched by [`Arena::ensure`].
    end: AtomicU32,
    chunks: [AtomicPtr<T>; CHUNKS],
    of: PhantomData<T>,
}

impl<T: Zeroed> Arena<T> {
    pub const fn new() -> Self {
        Arena {
            end: AtomicU32::new(0),
            chunks: [const { AtomicPtr::new(null_mut()) }; CHUNKS],
            of: PhantomData,
        }
    }

    /// The record at `index`, if its chunk exists.
    #[inline]
    pub fn get(&self, index: u32) -> Option<&T> {
        let chunk = self
            .chunks
            .get((index / CHUNK) as usize)?
            .load(Ordering::Acquire);
        if chunk.is_null() {
            return None;
        }
        // SAFETY: a non-null chunk holds CHUNK zero-initialised records and is never unmapped.
        Some(unsafe { &*chunk.add((index % CHUNK) as usize) })
    }

    /// The record at `index`; its chunk is mapped if need be. None: no memory, or out of range.
    pub fn ensure(&self, index: u32) -> Option<&T> {
        let cell = self.chunks.get((index / CHUNK) as usize)?;
        if cell.load(Ordering::Acquire).is_null() {
            let bytes = size_of::<T>() * CHUNK as usize;
            let Some(fresh) = crate::map_anonymous(bytes) else {
                crate::known::no_memory();
                return None;
            };
            let fresh = fresh.cast::<T>();
            if cell
                .compare_exchange(null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire)
                .is_err()
            {
                crate::unmap(fresh.cast(), bytes);
            }
        }
        if self.end.load(Ordering::Acquire) <= index {
            self.end.fetch_max(index + 1, Ordering::AcqRel);
        }
        self.get(index)
    }

    /// A record that was never handed out before. Under the registry lock.
    pub fn fresh(&self) -> Option<u32> {
        // Index 0 stays unused, so that 0 can mean "none".
        let index = self.end.load(Ordering::Acquire).max(1);
        self.ensure(index).map(|_| index)
    }

    pub fn end(&self) -> u32 {
        self.end.load(Ordering::Acquire)
    }
}

impl<T: Zeroed> Default for Arena<T> {
    fn default() -> Self {
        Self::new()
    }
}
