//! The counters of one run, in a small file that all its processes map.
//!
//! `pagefence run --summary` makes the file and reads it when the program has ended; every fenced
//! process of the run adds to it. Nothing waits and nothing allocates on the adding side, and a
//! process may be killed between any two stores: a counter is one atomic word, and an entry about
//! a file counts only once its state word says that it is whole. The contents are checked as they
//! are read: another process of the run may have scribbled over them. (One that truncates the
//! file kills those that map it, as with the lock table.)

use core::ffi::{CStr, c_void};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU64, Ordering};

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{FallocateFlags, FileType, Mode, OFlags};
use rustix::io::{Errno, Result};
use rustix::mm::{MapFlags, ProtFlags};

/// What is counted.
#[repr(usize)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Direct writes that went direct.
    DirectWritesDirect,
    /// Direct reads that went direct.
    DirectReadsDirect,
    /// Direct requests that fell back because a writable mapping overlaps.
    FallbackMapped,
    /// Direct writes written again because the invalidation after them failed.
    FallbackInvalidation,
    /// Direct requests made with `O_DIRECT` cleared, for want of a second descriptor.
    FallbackDegraded,
    /// Invalidations that failed, whatever was done then.
    InvalidateFailed,
    /// Calls that waited for a range.
    Waits,
    /// Nanoseconds waited, in all.
    WaitNanos,
    /// Nanoseconds of the longest wait ([`Summary::max`]).
    WaitMaxNanos,
    /// Calls that would have waited, under `observe`.
    Collisions,
    LockTimeouts,
    Deadlocks,
    /// Calls that conflicted with their own thread's and passed through.
    Nested,
    /// Dead processes whose slots were cleaned.
    Reaped,
    /// Uses that can't be fenced.
    Uncovered,
    TableErrors,
    /// Processes that attached.
    Processes,
    /// Records that could not be written to the trace.
    TraceLost,
}

const COUNTERS: usize = Counter::TraceLost as usize + 1;

/// How a file was used, as bits of [`UseRecord::modes`].
pub const USED_BUFFERED: u32 = 1;
pub const USED_DIRECT: u32 = 2;
pub const USED_MAPPED: u32 = 4;
pub const USED_MAPPED_WRITABLE: u32 = 8;

/// How one program used one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UseRecord {
    pub dev: u64,
    pub ino: u64,
    /// The path's end, if it is longer than an entry holds.
    pub path: Vec<u8>,
    pub path_truncated: bool,
    pub program: Vec<u8>,
    /// The first process of that program that used it.
    pub pid: u32,
    pub modes: u32,
}

/// The file's contents are an array of words, at these indices.
mod at {
    pub const MAGIC: usize = 0;
    pub const LENGTH: usize = 1;
    /// Uses that found no free entry.
    pub const LOST_USES: usize = 2;
    pub const COUNTERS: usize = 8;
    pub const ENTRIES: usize = 64;
    // Within an entry:
    /// A hash of the key and, in the lowest two bits, [`super::WRITING`] or [`super::WHOLE`].
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

/// "PFSUMRY1" as the file's first bytes.
const MAGIC: u64 = u64::from_le_bytes(*b"PFSUMRY1");
const ENTRY_WORDS: usize = 64;
const ENTRIES: usize = 1024;
const PROGRAM_BYTES: usize = (at::PATH - at::PROGRAM) * 8;
const PATH_BYTES: usize = (ENTRY_WORDS - at::PATH) * 8;
const WORDS: usize = at::ENTRIES + ENTRIES * ENTRY_WORDS;
const LENGTH: usize = WORDS * 8;

const _: () = assert!(at::COUNTERS + COUNTERS <= at::ENTRIES);

const FREE: u64 = 0;
const PHASE: u64 = 3;
const WRITING: u64 = 1;
const WHOLE: u64 = 2;

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

    /// Notes that a program used a file in these modes (`USED_*`). Walks entries: meant for the
    /// first use of a file in a mode, not for every call.
    pub fn note_use(&self, dev: u64, ino: u64, path: &[u8], program: &[u8], pid: u32, modes: u32) {
        let program = program.get(..PROGRAM_BYTES).unwrap_or(program);
        let hash = hash(dev, ino, program);
        let first = (hash >> 2) as usize;
        for probe in 0..ENTRIES {
            let Some(entry) = self.entry(first.wrapping_add(probe) % ENTRIES) else {
                continue;
            };
            let free = entry.word(at::STATE).is_some_and(|state| {
                let claimed = hash | WRITING;
                // Acquire on failure pairs with the Release below: a whole entry is read whole.
                state
                    .compare_exchange(FREE, claimed, Ordering::Acquire, Ordering::Acquire)
                    .is_ok()
            });
            if free {
                entry.fill(dev, ino, path, program, pid, modes);
                entry.publish(hash);
                return;
            }
            if entry.is(hash, dev, ino, program) {
                entry.add_modes(modes);
                return;
            }
        }
        if let Some(word) = self.word(at::LOST_USES) {
            word.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Every use that was noted, one record for each file and program. (Two processes that note
    /// the same use at once may fill two entries.)
    pub fn uses(&self) -> Vec<UseRecord> {
        let mut records: Vec<UseRecord> = Vec::new();
        for record in self.entries().filter_map(|entry| entry.read()) {
            let same = records.iter_mut().find(|other| {
                (other.dev, other.ino, &other.program) == (record.dev, record.ino, &record.program)
            });
            match same {
                Some(same) => same.modes |= record.modes,
                None => records.push(record),
            }
        }
        records
    }

    /// Uses that are missing from [`Summary::uses`]: no entry was free, or the process was killed
    /// while it wrote one.
    pub fn lost_uses(&self) -> u64 {
        let cut_short = self.entries().filter(|entry| entry.is_cut_short()).count();
        self.load(at::LOST_USES).saturating_add(cut_short as u64)
    }

    fn counter(&self, counter: Counter) -> Option<&AtomicU64> {
        self.word(at::COUNTERS.saturating_add(counter as usize))
    }

    fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        (0..ENTRIES).filter_map(|index| self.entry(index))
    }

    fn entry(&self, index: usize) -> Option<Entry<'_>> {
        let first = index.checked_mul(ENTRY_WORDS)?.checked_add(at::ENTRIES)?;
        (index < ENTRIES).then_some(Entry {
            summary: self,
            first,
        })
    }

    fn word(&self, index: usize) -> Option<&AtomicU64> {
        if index >= WORDS {
            return None;
        }
        // SAFETY: the mapping is WORDS words long, is aligned to a page, and lives as long as
        // `self`; everybody accesses it through atomics.
        Some(unsafe { self.words.add(index).as_ref() })
    }

    fn load(&self, index: usize) -> u64 {
        self.word(index)
            .map_or(0, |word| word.load(Ordering::Relaxed))
    }

    fn store(&self, index: usize, value: u64) {
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

/// One entry of the array of uses.
struct Entry<'a> {
    summary: &'a Summary,
    first: usize,
}

impl Entry<'_> {
    fn word(&self, index: usize) -> Option<&AtomicU64> {
        self.summary.word(self.first.saturating_add(index))
    }

    fn load(&self, index: usize) -> u64 {
        self.summary.load(self.first.saturating_add(index))
    }

    fn store(&self, index: usize, value: u64) {
        self.summary.store(self.first.saturating_add(index), value);
    }

    /// Acquire pairs with the Release in `publish`: who sees WHOLE sees the rest.
    fn state(&self) -> u64 {
        self.word(at::STATE)
            .map_or(FREE, |state| state.load(Ordering::Acquire))
    }

    fn publish(&self, hash: u64) {
        if let Some(state) = self.word(at::STATE) {
            state.store(hash | WHOLE, Ordering::Release);
        }
    }

    fn is_cut_short(&self) -> bool {
        let state = self.state();
        state != FREE && state & PHASE != WHOLE
    }

    fn is(&self, hash: u64, dev: u64, ino: u64, program: &[u8]) -> bool {
        self.state() == hash | WHOLE
            && self.load(at::DEV) == dev
            && self.load(at::INO) == ino
            && self.load(at::PROGRAM_LENGTH) == program.len() as u64
            && words(program)
                .enumerate()
                .all(|(index, word)| self.load(at::PROGRAM.saturating_add(index)) == word)
    }

    fn add_modes(&self, modes: u32) {
        if let Some(word) = self.word(at::MODES) {
            word.fetch_or(u64::from(modes), Ordering::Relaxed);
        }
    }

    fn fill(&self, dev: u64, ino: u64, path: &[u8], program: &[u8], pid: u32, modes: u32) {
        // The end of a path tells more than its beginning.
        let kept = path
            .get(path.len().saturating_sub(PATH_BYTES)..)
            .unwrap_or_default();
        self.store(at::DEV, dev);
        self.store(at::INO, ino);
        self.store(at::MODES, u64::from(modes));
        self.store(at::PID, u64::from(pid));
        self.store(at::PATH_LENGTH, path.len() as u64);
        self.store(at::PROGRAM_LENGTH, program.len() as u64);
        for (index, word) in words(program).enumerate() {
            self.store(at::PROGRAM.saturating_add(index), word);
        }
        for (index, word) in words(kept).enumerate() {
            self.store(at::PATH.saturating_add(index), word);
        }
    }

    fn read(&self) -> Option<UseRecord> {
        if self.state() & PHASE != WHOLE {
            return None;
        }
        let path_length = self.load(at::PATH_LENGTH);
        Some(UseRecord {
            dev: self.load(at::DEV),
            ino: self.load(at::INO),
            path: self.bytes(at::PATH, path_length, PATH_BYTES),
            path_truncated: path_length > PATH_BYTES as u64,
            program: self.bytes(at::PROGRAM, self.load(at::PROGRAM_LENGTH), PROGRAM_BYTES),
            pid: self.load(at::PID) as u32,
            modes: self.load(at::MODES) as u32,
        })
    }

    /// As many bytes as the entry says, and no more than it can hold.
    fn bytes(&self, index: usize, length: u64, most: usize) -> Vec<u8> {
        let length = usize::try_from(length).unwrap_or(most).min(most);
        (0..length.div_ceil(8))
            .flat_map(|word| self.load(index.saturating_add(word)).to_le_bytes())
            .take(length)
            .collect()
    }
}

/// Bytes as words, the last one padded with zeros.
fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        u64::from_le_bytes(word)
    })
}

/// FNV-1a over the key, its two lowest bits left free for the phase. Never such that a whole or
/// half-written entry looks free: the phase isn't zero.
fn hash(dev: u64, ino: u64, program: &[u8]) -> u64 {
    let key = dev.to_le_bytes().into_iter().chain(ino.to_le_bytes());
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in key.chain(program.iter().copied()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash & !PHASE
}

#[cfg(test)]
mod tests;
