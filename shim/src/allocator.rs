//! The library's own memory: never the program's allocator, which may be in the middle of something
//! (a signal handler that opens a file) or may itself open files in its first allocation.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};
use dlmalloc::{Allocator, Dlmalloc};

struct Kernel;

/// What a program that uses no fenced file takes lies in the library's own data: it costs no mapping.
#[repr(C, align(4096))]
struct First(UnsafeCell<[u8; FIRST]>);
/// As much as the heap asks for at once.
const FIRST: usize = 64 * 1024;
// SAFETY: given to the heap, once.
unsafe impl Sync for First {}
static ROOM: First = First(UnsafeCell::new([0; FIRST]));
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

// SAFETY: private pages that are zero and nobody else's, given back whole or never.
unsafe impl Allocator for Kernel {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        if size <= FIRST && !IS_TAKEN.swap(true, Ordering::Relaxed) {
            return (ROOM.0.get().cast(), FIRST, 0);
        }
        match kernel::map_anonymous(size) {
            Some(at) => (at, size, 0),
            None => (core::ptr::null_mut(), 0, 0),
        }
    }
    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        core::ptr::null_mut()
    }
    fn free_part(&self, _: *mut u8, _: usize, _: usize) -> bool {
        false
    }
    fn free(&self, at: *mut u8, size: usize) -> bool {
        let goes = at != ROOM.0.get().cast();
        if goes {
            kernel::unmap(at, size);
        }
        goes
    }
    fn can_release_part(&self, _: u32) -> bool {
        false
    }
    fn allocates_zeros(&self) -> bool {
        true
    }
    fn page_size(&self) -> usize {
        protocol::what::places::page_up(1)
    }
}

struct Own {
    taken: AtomicBool,
    heap: UnsafeCell<Dlmalloc<Kernel>>,
}

// SAFETY: the heap is only reached under `taken`.
unsafe impl Sync for Own {}

#[global_allocator]
static OWN: Own = Own {
    taken: AtomicBool::new(false),
    heap: UnsafeCell::new(Dlmalloc::new_with_allocator(Kernel)),
};

impl Own {
    /// Allocations happen in the constructor and under the registry lock, which `fork` takes too: a
    /// child never inherits a heap in the middle of a change. Under that lock signals are blocked, and in the constructor
    /// calls pass through, and those of a handler allocate nothing: no call finds the heap taken by its own thread.
    fn with<R>(&self, act: impl FnOnce(&mut Dlmalloc<Kernel>) -> R) -> R {
        while self
            .taken
            .compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            core::hint::spin_loop();
        }
        // SAFETY: `taken` is ours, and no handler that comes by on this thread allocates.
        let result = act(unsafe { &mut *self.heap.get() });
        self.taken.store(false, Ordering::Release);
        result
    }
}

// SAFETY: dlmalloc's own contract, under the lock.
unsafe impl GlobalAlloc for Own {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        self.with(|heap| unsafe { heap.malloc(layout.size(), layout.align()) })
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        self.with(|heap| unsafe { heap.free(at, layout.size(), layout.align()) })
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        self.with(|heap| unsafe { heap.realloc(at, layout.size(), layout.align(), size) })
    }
}
