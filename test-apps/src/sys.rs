//! The system calls of the test programs, made through the C library as any program makes them.

use std::ffi::CString;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// An error is a sentence: what was tried and what the kernel said.
pub type Res<T> = Result<T, String>;

pub const PAGE: u64 = 4096;

pub fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

pub fn failed<T>(what: &str) -> Res<T> {
    Err(format!("{what}: {}", std::io::Error::last_os_error()))
}

/// An open file; closed when dropped.
pub struct Fd(RawFd);

impl Fd {
    pub fn open(path: &Path, flags: libc::c_int) -> Res<Fd> {
        let name = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| "a zero byte in a path".to_string())?;
        // SAFETY: `name` is a C string that outlives the call.
        let fd = unsafe { libc::open(name.as_ptr(), flags | libc::O_CLOEXEC, 0o600) };
        if fd < 0 {
            failed(&format!("open {} with flags {flags:#o}", path.display()))
        } else {
            Ok(Fd(fd))
        }
    }

    /// Takes a descriptor that this process has inherited.
    pub fn inherited(fd: RawFd) -> Fd {
        Fd(fd)
    }

    pub fn raw(&self) -> RawFd {
        self.0
    }

    /// One call; fewer bytes than asked for means the end of the file.
    pub fn pread(&self, buffer: &mut [u8], offset: u64) -> Res<usize> {
        self.pread_to(buffer.as_mut_ptr(), buffer.len(), offset)
    }

    /// As `pread`, into memory that other processes may change meanwhile (a mapping).
    pub fn pread_to(&self, to: *mut u8, len: usize, offset: u64) -> Res<usize> {
        // SAFETY: the callers own `len` bytes at `to`; the kernel checks the addresses.
        let got = unsafe { libc::pread(self.0, to.cast(), len, offset as i64) };
        if got < 0 {
            failed(&format!("pread of {len} at {offset}"))
        } else {
            Ok(got as usize)
        }
    }

    /// All of `buffer`, or an error.
    pub fn pread_all(&self, buffer: &mut [u8], offset: u64) -> Res<()> {
        match self.pread(buffer, offset)? {
            n if n == buffer.len() => Ok(()),
            n => Err(format!("pread of {} at {offset} gave {n}", buffer.len())),
        }
    }

    /// One call that must write all.
    pub fn pwrite(&self, buffer: &[u8], offset: u64) -> Res<()> {
        self.pwrite_from(buffer.as_ptr(), buffer.len(), offset)
    }

    /// As `pwrite`, from memory that may be a mapping.
    pub fn pwrite_from(&self, from: *const u8, len: usize, offset: u64) -> Res<()> {
        // SAFETY: the callers own `len` bytes at `from`; the kernel checks the addresses.
        let put = unsafe { libc::pwrite(self.0, from.cast(), len, offset as i64) };
        whole(put, len, "pwrite", offset)
    }

    /// One `write` at the file offset (the end, with O_APPEND) that must write all.
    pub fn append(&self, buffer: &[u8]) -> Res<()> {
        // SAFETY: the buffer is ours and as long as we say.
        let put = unsafe { libc::write(self.0, buffer.as_ptr().cast(), buffer.len()) };
        whole(put, buffer.len(), "append", 0)
    }

    /// Ok(false): the kernel reported an earlier writeback error (EIO), as it does once per descriptor.
    pub fn fsync(&self) -> Res<bool> {
        // SAFETY: no memory is involved.
        match unsafe { libc::fsync(self.0) } {
            0 => Ok(true),
            _ if errno() == libc::EIO => Ok(false),
            _ => failed("fsync"),
        }
    }

    pub fn seek(&self, to: u64) -> Res<()> {
        // SAFETY: no memory is involved.
        match unsafe { libc::lseek(self.0, to as i64, libc::SEEK_SET) } {
            at if at as u64 == to => Ok(()),
            _ => failed(&format!("lseek to {to}")),
        }
    }

    pub fn drop_cache(&self) {
        // SAFETY: no memory is involved. It is advice: what it can't drop stays.
        unsafe { libc::posix_fadvise(self.0, 0, 0, libc::POSIX_FADV_DONTNEED) };
    }

    pub fn truncate(&self, size: u64) -> Res<()> {
        // SAFETY: no memory is involved.
        if unsafe { libc::ftruncate(self.0, size as i64) } < 0 {
            failed(&format!("ftruncate to {size}"))
        } else {
            Ok(())
        }
    }

    /// Ok(false): the filesystem doesn't know this mode.
    pub fn fallocate(&self, mode: i32, offset: u64, len: u64) -> Res<bool> {
        // SAFETY: no memory is involved.
        match unsafe { libc::fallocate(self.0, mode, offset as i64, len as i64) } {
            0 => Ok(true),
            _ if errno() == libc::EOPNOTSUPP => Ok(false),
            _ => failed(&format!("fallocate mode {mode:#x} of {len} at {offset}")),
        }
    }

    pub fn size(&self) -> Res<u64> {
        // SAFETY: an all-zero stat is a valid value to be written over.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: `stat` is ours.
        if unsafe { libc::fstat(self.0, &mut stat) } < 0 {
            failed("fstat")
        } else {
            Ok(stat.st_size as u64)
        }
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours and is not used again.
        unsafe { libc::close(self.0) };
    }
}

fn whole(put: isize, len: usize, what: &str, offset: u64) -> Res<()> {
    match put {
        n if n < 0 => failed(&format!("{what} of {len} at {offset}")),
        n if n as usize == len => Ok(()),
        n => Err(format!("{what} of {len} at {offset} wrote {n}")),
    }
}

/// A mapping; unmapped when dropped. Its bytes belong to other processes too, so it is only ever read and
/// written as atomic words or handed to the kernel.
pub struct Map {
    start: NonNull<u8>,
    len: usize,
}

impl Map {
    pub fn file(fd: &Fd, offset: u64, len: u64, protection: i32, flags: i32) -> Res<Map> {
        Map::new(fd.0, offset, len as usize, protection, flags)
    }

    pub fn new(fd: RawFd, offset: u64, len: usize, protection: i32, flags: i32) -> Res<Map> {
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                protection,
                flags,
                fd,
                offset as i64,
            )
        };
        match NonNull::new(start.cast::<u8>()) {
            Some(start) if start.as_ptr() != libc::MAP_FAILED.cast::<u8>() => {
                Ok(Map { start, len })
            }
            _ => failed(&format!("mmap of {len} at {offset}")),
        }
    }

    pub fn advise(&self, advice: i32) {
        // SAFETY: the range is the mapping itself. Advice that isn't known here is no matter.
        unsafe { libc::madvise(self.start.as_ptr().cast(), self.len, advice) };
    }

    /// Punches the file where it is shown.
    pub fn remove(&self) -> Res<()> {
        // SAFETY: the range is the mapping itself; what its bytes become is what the caller wants.
        let result =
            unsafe { libc::madvise(self.start.as_ptr().cast(), self.len, libc::MADV_REMOVE) };
        if result == 0 {
            Ok(())
        } else {
            failed("MADV_REMOVE")
        }
    }

    pub fn pointer(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    fn word(&self, at: u64) -> &AtomicU64 {
        let at = at as usize;
        assert!(
            at.is_multiple_of(8) && at + 8 <= self.len,
            "offset {at} is outside the mapping of {}",
            self.len
        );
        // SAFETY: inside the mapping and aligned, as checked; valid as long as `self`.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(at).cast()) }
    }

    pub fn load(&self, at: u64) -> u64 {
        self.word(at).load(Ordering::SeqCst)
    }

    /// In order with what this process does before and after: a later system call or mark can't overtake it.
    pub fn store(&self, at: u64, value: u64) {
        self.word(at).store(value, Ordering::Release);
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and is not used again.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// Memory aligned for direct I/O.
pub struct Buffer(Map);

impl Buffer {
    pub fn new(len: u64) -> Res<Buffer> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        Ok(Buffer(Map::new(
            -1,
            0,
            len as usize,
            libc::PROT_READ | libc::PROT_WRITE,
            flags,
        )?))
    }

    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: private anonymous memory of this length, owned by `self`, borrowed as `self` is.
        unsafe { std::slice::from_raw_parts_mut(self.0.pointer(), self.0.len) }
    }

    pub fn part(&mut self, len: u64) -> &mut [u8] {
        &mut self.bytes()[..len as usize]
    }
}

/// Waits without giving up the processor: for delays far shorter than the scheduler's.
pub fn spin(delay: Duration) {
    let start = Instant::now();
    while start.elapsed() < delay {
        std::hint::spin_loop();
    }
}

/// Nanoseconds of the monotonic clock, the same in all processes.
pub fn now() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
