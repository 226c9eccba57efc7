//! `/proc/thread-self/maps`, and other such files, line by line.

use core::ffi::CStr;

use kernel::text::Text;

use crate::what::{changes, own};

/// More than the longest line has, which is a path's 4,096 bytes and a hundred.
const ROOM: usize = 1 << 16;

/// A file of the kernel's.
pub struct Lines {
    fd: i32,
    buffer: &'static mut [u8],
    /// What has been read and not been returned.
    from: usize,
    to: usize,
}

pub struct Maps(Lines);

/// One mapping of this process.
pub struct Line<'a> {
    pub start: usize,
    pub end: usize,
    pub shared: bool,
    pub writable: bool,
    pub offset: u64,
    /// The filesystem's, which is not everywhere what stat says.
    pub dev: u64,
    pub ino: u64,
    path: &'a CStr,
}

impl Lines {
    /// None: there is no `/proc`, no number or no memory.
    pub fn of(path: &CStr) -> Option<Lines> {
        let fd = changes::open_for_a_while(path, libc::O_RDONLY)?;
        let Some(at) = kernel::map_anonymous(ROOM) else {
            own::close(fd);
            return None;
        };
        // SAFETY: fresh memory of ours, of that size, until dropped.
        let buffer = unsafe { core::slice::from_raw_parts_mut(at, ROOM) };
        Some(Lines {
            fd,
            buffer,
            from: 0,
            to: 0,
        })
    }

    /// The next line, with a zero at its end, as the end of a C string.
    pub fn next_line(&mut self) -> Option<&[u8]> {
        let end = self.read_line()?;
        let from = core::mem::replace(&mut self.from, end + 1);
        *self.buffer.get_mut(end)? = 0;
        self.buffer.get(from..=end)
    }

    /// Where the line ends that begins at `from`.
    fn read_line(&mut self) -> Option<usize> {
        let mut looked = 0;
        loop {
            let rest = self.buffer.get(self.from + looked..self.to)?;
            if let Some(at) = rest.iter().position(|b| *b == b'\n') {
                return Some(self.from + looked + at);
            }
            self.buffer.copy_within(self.from..self.to, 0);
            self.to -= self.from;
            self.from = 0;
            looked = self.to;
            let read = kernel::read(self.fd, self.buffer.get_mut(self.to..)?);
            self.to += usize::try_from(read).ok().filter(|n| *n > 0)?;
        }
    }
}

impl Maps {
    pub fn open() -> Option<Maps> {
        Lines::of(c"/proc/thread-self/maps").map(Maps)
    }

    /// The next mapping.
    pub fn next_line(&mut self) -> Option<Line<'_>> {
        Line::parse(self.0.next_line()?)
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        own::close(self.fd);
        kernel::unmap(self.buffer.as_mut_ptr(), self.buffer.len());
    }
}

impl Line<'_> {
    /// "7f00-7f10 rw-s 00001000 08:02 42    /a/path", and a zero.
    fn parse(line: &[u8]) -> Option<Line<'_>> {
        let mut words = line.splitn(6, |b| *b == b' ');
        let mut word = || words.next();
        let mut range = word()?.splitn(2, |b| *b == b'-');
        let (start, end) = (hex(range.next()?)?, hex(range.next()?)?);
        let may = word()?;
        let offset = hex(word()?)?;
        let mut device = word()?.splitn(2, |b| *b == b':');
        let (major, minor) = (hex(device.next()?)?, hex(device.next()?)?);
        let ino = core::str::from_utf8(word()?).ok()?.parse().ok()?;
        let rest = word().unwrap_or(b"\0");
        let path = rest.get(rest.iter().position(|b| *b != b' ')?..)?;
        Some(Line {
            start: start as usize,
            end: end as usize,
            shared: may.get(3) == Some(&b's'),
            writable: may.get(1) == Some(&b'w'),
            offset,
            dev: libc::makedev(major as u32, minor as u32),
            ino,
            path: CStr::from_bytes_until_nul(path).ok()?,
        })
    }

    /// Shared, and of a file that somebody may open: what the kernel or libc makes for itself has no inode, or such names.
    pub fn shows_a_file(&self) -> bool {
        const OTHERS: [&[u8]; 9] = [
            b"/memfd:",
            b"/SYSV",
            b"/dev/zero",
            b"/anon_hugepage",
            b"/[aio]",
            b"/drm mm object (deleted)",
            b"/i915 (deleted)",
            // libc's semaphores, which it makes under another name.
            b"/dev/shm/sem.",
            // valgrind's own.
            b"/tmp/vgdb-pipe-shared-mem",
        ];
        let path = self.path.to_bytes();
        self.shared
            && self.ino != 0
            && path.first() == Some(&b'/')
            && !OTHERS.iter().any(|name| path.starts_with(name))
    }

    /// io_uring's queues.
    pub fn is_a_ring(&self) -> bool {
        self.path.to_bytes() == b"anon_inode:[io_uring]"
    }

    pub fn name(&self) -> &[u8] {
        let bytes = self.path.to_bytes();
        bytes.strip_suffix(b" (deleted)").unwrap_or(bytes)
    }

    /// Where the kernel keeps the file itself, whatever its name leads to.
    fn link(&self) -> Text<80> {
        Text::of(format_args!(
            "/proc/self/map_files/{:x}-{:x}",
            self.start, self.end
        ))
    }

    /// It shows a file that was opened for reading only: mprotect can't make it writable.
    pub fn is_for_reading(&self) -> bool {
        let link = self.link();
        let found = kernel::fstatat(
            libc::AT_FDCWD,
            link.as_c_str().as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW,
        );
        found.is_ok_and(|s| s.mode & libc::S_IWUSR == 0)
    }

    /// The file, to look at only: by the kernel's own link, which is for the privileged, or else by its name.
    pub fn open(&self) -> Option<i32> {
        let link = self.link();
        let mut fd = kernel::open_path(libc::AT_FDCWD, link.as_c_str().as_ptr());
        if fd < 0 {
            fd = kernel::open_path(libc::AT_FDCWD, self.path.as_ptr());
        }
        i32::try_from(fd).ok().filter(|fd| *fd >= 0)
    }
}

fn hex(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_line_is_understood() {
        let line =
            b"7fc4d3a00000-7fc4d3c00000 rw-s 00200000 103:1a 1048583    /data/a b (deleted)\0";
        let line = Line::parse(line).unwrap();
        assert_eq!((line.start, line.end), (0x7fc4_d3a0_0000, 0x7fc4_d3c0_0000));
        assert!(line.shared && line.writable && line.shows_a_file());
        assert_eq!((line.offset, line.ino), (2 << 20, 1_048_583));
        assert_eq!(line.dev, libc::makedev(0x103, 0x1a));
        assert_eq!(line.name(), b"/data/a b");
        for other in [
            &b"7fc4d3a00000-7fc4d3c00000 rw-p 00000000 00:00 0 \0"[..],
            b"7fc4d3a00000-7fc4d3c00000 rw-s 00000000 00:01 7   /memfd:x (deleted)\0",
            b"7fc4d3a00000-7fc4d3c00000 r-xp 00000000 08:02 9    /usr/bin/x\0",
            b"7fc4d3a00000-7fc4d3a01000 rw-s 00000000 00:19 8    /dev/shm/sem.lvydxt (deleted)\0",
        ] {
            assert!(!Line::parse(other).is_some_and(|l| l.shows_a_file()));
        }
    }

    #[test]
    fn all_of_this_process_is_read_and_a_mapping_is_found() {
        let (file, path) = tempfile_of(8192);
        // SAFETY: a new mapping at the kernel's choice of place.
        let at = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                8192,
                libc::PROT_READ,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        } as usize;
        let mut maps = Maps::open().unwrap();
        let (mut lines, mut found) = (0, 0);
        while let Some(line) = maps.next_line() {
            lines += 1;
            if (line.start, line.end) == (at, at + 8192) {
                assert!(line.shows_a_file() && !line.writable);
                assert!(!line.is_for_reading(), "opened for both");
                let fd = line.open().unwrap();
                let (a, b) = (kernel::fstat(fd).unwrap(), file.metadata().unwrap());
                assert_eq!((a.dev, a.ino), (b.dev(), b.ino()));
                kernel::close(fd);
                found += 1;
            }
        }
        std::fs::remove_file(path).unwrap();
        assert!(lines > 10);
        assert_eq!(found, 1);
    }

    fn tempfile_of(len: u64) -> (std::fs::File, std::path::PathBuf) {
        let path = std::env::temp_dir().join(format!("pagefence-maps-{}", std::process::id()));
        let mut how = std::fs::OpenOptions::new();
        let file = how
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .unwrap();
        file.set_len(len).unwrap();
        (file, path)
    }
}
