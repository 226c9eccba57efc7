//! The file, and the words in it: mapped, counted up, read.

use core::ffi::{CStr, c_void};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU64, Ordering};

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{FallocateFlags, FileType, Mode, OFlags};
use rustix::io::{Errno, Result};
use rustix::mm::{MapFlags, ProtFlags};

use crate::{COUNTERS, Counter};

/// The file's contents are an array of words, at these indices.
pub(crate) mod at {
    pub const MAGIC: usize = 0;
    pub const LENGTH: usize = 1;
    /// Uses that found no free entry.
    pub const LOST_USES: usize = 2;
    pub const COUNTERS: usize = 8;
    pub const ENTRIES: usize = 64;
    // Within an entry:
    /// A hash of the key and, in the lowest two bits, whether it is being written or whole.
    pub const STATE: usize = 0;
    pub const DEV: usize = 1;
    pub const INO: usize = 2;
    pub const MODES: usize = 3;
    pub const PID: usize = 4;
    pub const PATH_LENGTH: usize = 5;
    pub const PROGRAM_LENGTH: usize = 6;
    pub const PROGRAM: usize = 8;
    pub const PATH: usize = 16;
}

/// "PFSUMRY2" as the file's first bytes.
const MAGIC: u64 = u64::from_le_bytes(*b"PFSUMRY2");
pub(crate) const ENTRY_WORDS: usize = 64;
pub(crate) const ENTRIES: usize = 1024;
pub(crate) const PROGRAM_BYTES: usize = (at::PATH - at::PROGRAM) * 8;
pub(crate) const PATH_BYTES: usize = (ENTRY_WORDS - at::PATH) * 8;
/// Marks of what was told, behind the entries.
const TOLD: usize = at::ENTRIES + ENTRIES * ENTRY_WORDS;
const MARKS: usize = 1024;
pub(crate) const WORDS: usize = TOLD + MARKS;
pub(crate) const LENGTH: usize = WORDS * 8;

const _: () = assert!(at::COUNTERS + COUNTERS <= at::ENTRIES);

/// The mapped file.
#[derive(Debug)]
pub struct Summary {
    words: NonNull<AtomicU64>,
}

// SAFETY: the mapping lives as long as the value, and is only ever seen as atomics.
unsafe impl Send for Summary {}
// SAFETY: as above.
unsafe impl Sync for Summary {}

impl Summary {
    /// Makes the file, which must not exist, with all its space allocated.
    pub fn create(path: &CStr) -> Result<Summary> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(rustix::fs::CWD, path, flags, Mode::RUSR | Mode::WUSR)?;
        let whole = || rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, LENGTH as u64);
        let allocated = kernel::without_signals(whole);
        let summary = match allocated.and_then(|()| Summary::map(file.as_fd())) {
            Ok(summary) => summary,
            Err(error) => {
                // Nothing is left behind of a file that can't be used.
                let _ = rustix::fs::unlink(path);
                return Err(error);
            }
        };
        summary.store(at::LENGTH, LENGTH as u64);
        summary.store(at::MAGIC, MAGIC);
        Ok(summary)
    }

    /// Opens a file that [`Summary::create`] made. `EINVAL`: it is something else.
    pub fn open(path: &CStr) -> Result<Summary> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let kind = |stat: &rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode);
        // Opening a device can do things.
        match kind(&rustix::fs::lstat(path)?) {
            FileType::RegularFile => {}
            FileType::Symlink => return Err(Errno::LOOP),
            _ => return Err(Errno::INVAL),
        }
        let flags = flags | OFlags::NOCTTY;
        let file = rustix::fs::openat(rustix::fs::CWD, path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        if kind(&stat) != FileType::RegularFile || u64::try_from(stat.st_size) != Ok(LENGTH as u64)
        {
            return Err(Errno::INVAL);
        }
        let summary = Summary::map(file.as_fd())?;
        if summary.load(at::MAGIC) != MAGIC || summary.load(at::LENGTH) != LENGTH as u64 {
            return Err(Errno::INVAL);
        }
        Ok(summary)
    }

    fn map(file: BorrowedFd<'_>) -> Result<Summary> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
        let start = unsafe {
            rustix::mm::mmap(ptr::null_mut(), LENGTH, access, MapFlags::SHARED, file, 0)?
        };
        match NonNull::new(start.cast()) {
            Some(words) => Ok(Summary { words }),
            None => Err(Errno::INVAL),
        }
    }

    /// Whether it is mapped at that address.
    pub fn is_at(&self, address: usize) -> bool {
        address.wrapping_sub(self.words.as_ptr() as usize) < LENGTH
    }

    /// Counts.
    pub fn add(&self, counter: Counter, n: u64) {
        if let Some(word) = self.counter(counter) {
            word.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// Raises a counter to at least `n`.
    pub fn max(&self, counter: Counter, n: u64) {
        if let Some(word) = self.counter(counter) {
            word.fetch_max(n, Ordering::Relaxed);
        }
    }

    pub fn get(&self, counter: Counter) -> u64 {
        self.counter(counter)
            .map_or(0, |word| word.load(Ordering::Relaxed))
    }

    fn counter(&self, counter: Counter) -> Option<&AtomicU64> {
        self.word(at::COUNTERS.saturating_add(counter as usize))
    }

    /// Places for marks of what one process of the run has told for all.
    pub fn told(&self) -> &[AtomicU64] {
        match self.word(TOLD) {
            // SAFETY: so many words lie there, as in `word`.
            Some(first) => unsafe { core::slice::from_raw_parts(first, MARKS) },
            None => &[],
        }
    }

    pub(crate) fn word(&self, index: usize) -> Option<&AtomicU64> {
        if index >= WORDS {
            return None;
        }
        // SAFETY: the mapping is WORDS words long, is aligned to a page, and lives as long as
        // `self`; everybody accesses it through atomics.
        Some(unsafe { self.words.add(index).as_ref() })
    }

    pub(crate) fn load(&self, index: usize) -> u64 {
        self.word(index)
            .map_or(0, |word| word.load(Ordering::Relaxed))
    }

    pub(crate) fn store(&self, index: usize, value: u64) {
        if let Some(word) = self.word(index) {
            word.store(value, Ordering::Relaxed);
        }
    }
}

impl Drop for Summary {
    fn drop(&mut self) {
        let start = self.words.as_ptr().cast::<c_void>();
        // SAFETY: mapped by `map` with this length, and nobody has a reference into it any more.
        // Failing leaves the mapping, which harms nobody.
        let _ = unsafe { rustix::mm::munmap(start, LENGTH) };
    }
}
