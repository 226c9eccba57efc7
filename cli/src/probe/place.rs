//! The file that is tried, its descriptors, its memory and its pages. It has no name, so nothing can be left behind.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, open, openat, unlinkat};
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

pub const BLOCK: usize = 4096;
/// Larger than any folio.
pub const LENGTH: usize = 8 << 20;

pub struct Place {
    file: File,
}

impl Place {
    pub fn new(directory: &Path) -> io::Result<Place> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file: OwnedFd = match open(directory, flags | OFlags::TMPFILE, mode) {
            Ok(file) => file,
            // Filesystems that know no file without a name.
            Err(
                rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL,
            ) => named(directory, flags, mode)?,
            Err(error) => return Err(error.into()),
        };
        let place = Place { file: file.into() };
        place.fill(b'o')?;
        Ok(place)
    }

    /// One more descriptor of it.
    pub fn open(&self, direct: bool) -> io::Result<File> {
        let link = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let direct = if direct {
            OFlags::DIRECT
        } else {
            OFlags::empty()
        };
        Ok(File::from(open(
            link,
            OFlags::RDWR | OFlags::CLOEXEC | direct,
            Mode::empty(),
        )?))
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// This byte everywhere, on the device and, as far as there is room, in the cache.
    pub fn fill(&self, byte: u8) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        let megabyte = vec![byte; 1 << 20];
        for at in (0..LENGTH as u64).step_by(megabyte.len()) {
            self.file.write_all_at(&megabyte, at)?;
        }
        self.file.sync_data()
    }

    /// Takes its pages out of the cache, as far as that goes.
    pub fn drop_pages(&self) -> io::Result<()> {
        self.file.sync_data()?;
        kernel::drop_pages(self.file.as_raw_fd(), 0, 0);
        Ok(())
    }
}

/// With a name, but for a moment in which nothing can interrupt.
fn named(directory: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let directory = open(
        directory,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let name = format!(".pagefence-probe-{}", std::process::id());
    let signals = kernel::block_signals();
    let made = openat(
        &directory,
        &name,
        flags | OFlags::CREATE | OFlags::EXCL,
        mode,
    );
    let removed = match &made {
        Ok(_) => unlinkat(&directory, &name, rustix::fs::AtFlags::empty()),
        Err(_) => Ok(()),
    };
    kernel::restore_signals(signals);
    removed?;
    Ok(made?)
}

/// Memory at a page's start, its own or a file's.
pub struct Memory {
    at: *mut u8,
    len: usize,
}

// SAFETY: plain memory; who shares it says so at each access.
unsafe impl Sync for Memory {}

impl Memory {
    pub fn of(byte: u8, len: usize) -> io::Result<Memory> {
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at a place that the kernel chooses.
        let at = unsafe { mmap_anonymous(std::ptr::null_mut(), len, rights, MapFlags::PRIVATE)? };
        // SAFETY: it has `len` bytes and is nobody else's.
        unsafe { at.cast::<u8>().write_bytes(byte, len) };
        Ok(Memory { at: at.cast(), len })
    }

    /// The file's pages.
    pub fn mapped(file: &File, len: usize) -> io::Result<Memory> {
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at a place that the kernel chooses.
        let at = unsafe { mmap(std::ptr::null_mut(), len, rights, MapFlags::SHARED, file, 0)? };
        Ok(Memory { at: at.cast(), len })
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: readable for as long as it lives. Of a file's pages only single bytes are looked at (`load`).
        unsafe { std::slice::from_raw_parts(self.at, self.len) }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.len) }
    }

    pub fn load(&self, at: usize) -> u8 {
        assert!(at < self.len);
        // SAFETY: within it; the kernel may change the byte meanwhile.
        unsafe { self.at.add(at).read_volatile() }
    }

    pub fn store(&self, at: usize, byte: u8) {
        assert!(at < self.len);
        // SAFETY: within it; a single byte of a page that nobody holds a reference to.
        unsafe { self.at.add(at).write_volatile(byte) }
    }

    /// How many of its pages are in the page cache, whoever brought them there.
    pub fn resident(&self) -> usize {
        let mut pages = vec![0_u8; self.len.div_ceil(kernel::page())];
        // SAFETY: a mapping of ours, and a byte for each of its pages.
        let done = unsafe { libc::mincore(self.at.cast(), self.len, pages.as_mut_ptr()) };
        match done {
            0 => pages.iter().filter(|page| *page & 1 != 0).count(),
            _ => 0,
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nobody refers to any more.
        let _ = unsafe { munmap(self.at.cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_file_with_a_name_has_it_for_a_moment() {
        let directory = tempfile::tempdir().expect("a directory");
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let made = named(directory.path(), flags, Mode::RUSR | Mode::WUSR).expect("a file");
        let place = Place { file: made.into() };
        place.file().write_all_at(b"x", 0).expect("written");
        let other = place.open(false).expect("the same file");
        assert_eq!(other.metadata().expect("a file").len(), 1);
        assert_eq!(directory.path().read_dir().expect("a directory").count(), 0);
    }
}
