//! What the processes of one run share: a lock table and a file of their own, and memory for the gate at which they
//! meet, for what each has done so far, and for the peers' locks.

use super::tree::Tree;
use pagefence_tests::fence::scratch;
use std::cell::UnsafeCell;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Duration;
use tempfile::TempDir;

/// A word that shares its cache lines (two: they are fetched in pairs) with nothing.
#[derive(Default)]
#[repr(C, align(128))]
pub struct Line(pub AtomicU64);

#[repr(C)]
pub struct Shared {
    arrived: Line,
    ended: Line,
    /// How many pairs each of two processes has done.
    pub done: [Line; 2],
    /// 1 while somebody has what both want.
    pub inside: Line,
    /// How many of the two have seen enough.
    pub content: Line,
    pub rwlock: UnsafeCell<libc::pthread_rwlock_t>,
    pub mutex: UnsafeCell<libc::pthread_mutex_t>,
    pub released: UnsafeCell<libc::pthread_cond_t>,
    /// Under `mutex`, like the tree.
    pub waiting: UnsafeCell<u32>,
    pub tree: UnsafeCell<Tree>,
}

pub struct Scene {
    _dir: TempDir,
    pub table: CString,
    pub file: PathBuf,
    shared: NonNull<Shared>,
}

#[cfg(test)]
// SAFETY: what threads change of it are atomics, and cells under a lock that lies beside them.
unsafe impl Sync for Scene {}

impl Scene {
    pub fn new() -> Result<Scene, String> {
        let dir = scratch();
        let file = dir.path().join("file");
        std::fs::write(&file, "").map_err(|e| format!("{}: {e}", file.display()))?;
        let table = CString::new(dir.path().join("table").as_os_str().as_bytes());
        let table = table.map_err(|e| e.to_string())?;
        // A new table for each run: the ranges that an earlier figure held must leave no trace in this one.
        lock_table::Table::create(&table, &lock_table::Geometry::default())
            .map_err(|e| e.to_string())?;
        Ok(Scene {
            _dir: dir,
            table,
            file,
            shared: map()?,
        })
    }

    pub fn shared(&self) -> &Shared {
        // SAFETY: mapped by `map`, for as long as this scene lives; what changes in it are atomics and cells.
        unsafe { self.shared.as_ref() }
    }

    /// Waits until `processes` have come here `times` times each. Sleeps, so as not to disturb who measures meanwhile.
    pub fn gate(&self, times: u64, processes: usize) {
        let arrived = &self.shared().arrived.0;
        arrived.fetch_add(1, Release);
        while arrived.load(Acquire) < times * processes as u64 {
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    /// Who only holds ranges may go.
    pub fn end(&self) {
        self.shared().ended.0.store(1, Release);
    }

    pub fn wait_for_end(&self) {
        while self.shared().ended.0.load(Acquire) == 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`, with this length, and no reference outlives the scene.
        unsafe { libc::munmap(self.shared.as_ptr().cast(), size_of::<Shared>()) };
    }
}

fn map() -> Result<NonNull<Shared>, String> {
    // SAFETY: a new anonymous mapping at an address of the kernel's choice.
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size_of::<Shared>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if at == libc::MAP_FAILED {
        return Err(format!("mmap: {}", std::io::Error::last_os_error()));
    }
    let shared: *mut Shared = at.cast();
    // SAFETY: zero bytes are valid for all of it, nobody else knows the address yet, and the attributes live on the
    // stack across the calls.
    let results = unsafe {
        let share = libc::PTHREAD_PROCESS_SHARED;
        let mut rwlock = std::mem::zeroed();
        let mut mutex = std::mem::zeroed();
        let mut cond = std::mem::zeroed();
        [
            libc::pthread_rwlockattr_init(&mut rwlock),
            libc::pthread_rwlockattr_setpshared(&mut rwlock, share),
            libc::pthread_rwlock_init((*shared).rwlock.get(), &rwlock),
            libc::pthread_mutexattr_init(&mut mutex),
            libc::pthread_mutexattr_setpshared(&mut mutex, share),
            libc::pthread_mutex_init((*shared).mutex.get(), &mutex),
            libc::pthread_condattr_init(&mut cond),
            libc::pthread_condattr_setpshared(&mut cond, share),
            libc::pthread_cond_init((*shared).released.get(), &cond),
        ]
    };
    assert_eq!(results, [0; 9], "process-shared locks");
    NonNull::new(shared).ok_or_else(|| "mmap gave address 0".to_owned())
}
