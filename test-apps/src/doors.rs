//! The many ways to read and write a file that aren't read and write: what `copies` and `streams` are made of. Each process
//! has its own kit: a second file, a pipe, a pair of sockets.

use crate::Setup;
use crate::random::Random;
use crate::records::{self, NEIGHBOUR, Ways};
use crate::sys::{Buffer, Fd, Res, errno, failed, now};
use std::ffi::CString;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::ptr::NonNull;
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Door {
    /// copy_file_range, from or to another file.
    Copy,
    /// FICLONERANGE, from or to another file. Whole blocks only.
    Clone,
    /// sendfile to a pipe, which is read later; from another file.
    Sendfile,
    /// sendfile to a socket, which is read later; from another file.
    Socket,
    /// splice to a pipe, which is read later, or from one.
    Splice,
    /// A stream of libc's: `fread`, `fwrite`.
    Stream,
    /// The same without a buffer.
    Unbuffered,
}

impl Door {
    pub const COPIES: [Door; 5] = [
        Door::Copy,
        Door::Clone,
        Door::Sendfile,
        Door::Socket,
        Door::Splice,
    ];
    pub const STREAMS: [Door; 2] = [Door::Stream, Door::Unbuffered];
}

pub struct Kit {
    streams: [Stream; 2],
    other: Fd,
    pipe: [Fd; 2],
    sockets: [Fd; 2],
}

/// What one call moves, at most: the pipe takes as much without a reader.
pub const MOST: u64 = 256 << 10;

impl Kit {
    pub fn new(setup: &Setup, worker: usize) -> Res<Kit> {
        let path = setup.work.join(format!("other-{worker}"));
        let other = Fd::open(&path, libc::O_RDWR | libc::O_CREAT)?;
        other.pwrite(Buffer::new(MOST)?.bytes(), 0)?;
        let (mut pipe, mut sockets): ([RawFd; 2], [RawFd; 2]) = ([0; 2], [0; 2]);
        // SAFETY: both arrays have room for two numbers.
        let made = unsafe {
            libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC) == 0
                && libc::fcntl(pipe[0], libc::F_SETPIPE_SZ, 2 * MOST) > 0
                && libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, sockets.as_mut_ptr()) == 0
        };
        if !made {
            return failed("pipe2 or socketpair");
        }
        Ok(Kit {
            streams: [Stream::open(setup, 4096)?, Stream::open(setup, 0)?],
            other,
            pipe: pipe.map(Fd::inherited),
            sockets: sockets.map(Fd::inherited),
        })
    }

    /// Which of these doors this filesystem has.
    fn doors(&self, setup: &Setup, worker: usize, all: &[Door]) -> Res<Vec<Door>> {
        let mut all = all.to_vec();
        let path = setup.work.join(format!("cloned-{worker}"));
        let to = Fd::open(&path, libc::O_RDWR | libc::O_CREAT)?;
        if clone(&self.other, 0, &to, 0, MOST).is_err() {
            all.retain(|door| *door != Door::Clone);
        }
        std::fs::remove_file(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(all)
    }

    fn stream(&self, door: Door) -> &Stream {
        &self.streams[usize::from(door == Door::Unbuffered)]
    }

    /// Reads by one call on `file`; when that has `returned`, what it has read is looked at.
    fn read(
        &self,
        door: Door,
        file: &Fd,
        bytes: &mut [u8],
        at: u64,
        returned: &mut dyn FnMut(),
    ) -> Res<()> {
        let len = bytes.len() as u64;
        match door {
            Door::Copy => {
                copy(file, at, &self.other, 0, len)?;
                returned();
                self.other.pread_all(bytes, 0)
            }
            Door::Clone => {
                clone(file, at, &self.other, 0, len)?;
                returned();
                self.other.pread_all(bytes, 0)
            }
            Door::Sendfile => {
                sendfile(file, at, &self.pipe[1], len)?;
                returned();
                drain(&self.pipe[0], bytes)
            }
            // A socket doesn't take as much without a reader.
            Door::Socket => std::thread::scope(|scope| {
                let socket = &self.sockets[0];
                let reader = scope.spawn(move || drain(socket, bytes));
                sendfile(file, at, &self.sockets[1], len)?;
                returned();
                reader.join().map_err(|_| "the reader".to_string())?
            }),
            Door::Stream | Door::Unbuffered => {
                self.stream(door).read(bytes, at)?;
                returned();
                Ok(())
            }
            Door::Splice => {
                splice(file, Some(at), &self.pipe[1], None, len)?;
                returned();
                drain(&self.pipe[0], bytes)
            }
        }
    }

    /// Writes by one call on `file`.
    fn write(&self, door: Door, file: &Fd, bytes: &[u8], at: u64) -> Res<()> {
        let len = bytes.len() as u64;
        match door {
            Door::Copy => {
                self.other.pwrite(bytes, 0)?;
                copy(&self.other, 0, file, at, len)
            }
            Door::Clone => {
                self.other.pwrite(bytes, 0)?;
                clone(&self.other, 0, file, at, len)
            }
            Door::Sendfile | Door::Socket => {
                self.other.pwrite(bytes, 0)?;
                file.seek(at)?;
                sendfile(&self.other, 0, file, len)
            }
            Door::Stream | Door::Unbuffered => self.stream(door).write(bytes, at),
            Door::Splice => {
                self.pipe[1].append(bytes)?;
                splice(&self.pipe[0], None, file, Some(at), len)
            }
        }
    }
}

/// One process's way in one round: by one of these doors each time.
pub struct Through {
    kit: Kit,
    doors: Vec<Door>,
    random: Random,
    file: Fd,
}

/// The way of a process that doesn't go past the page cache: through these doors; the others' is direct.
pub fn ways(setup: &Setup, worker: usize, round: u64, doors: &[Door]) -> Res<Box<dyn Ways>> {
    if records::is_direct(worker, round) {
        return Ok(Box::new(setup.open_direct()?));
    }
    let kit = Kit::new(setup, worker)?;
    let mut doors = kit.doors(setup, worker, doors)?;
    // A page may be less than a block.
    doors.retain(|door| worker != NEIGHBOUR || *door != Door::Clone);
    Ok(Box::new(Through {
        doors,
        kit,
        random: Random::new(now()),
        file: setup.open_buffered()?,
    }))
}

impl Through {
    fn door(&mut self) -> Door {
        let last = self.doors.len() as u64 - 1;
        self.doors[self.random.between(0, last) as usize]
    }
}

impl Ways for Through {
    fn read(&mut self, bytes: &mut [u8], at: u64, returned: &mut dyn FnMut()) -> Res<String> {
        let door = self.door();
        let later = Duration::from_micros(self.random.between(0, 300));
        let mut returned = || {
            returned();
            std::thread::sleep(later);
        };
        self.kit.read(door, &self.file, bytes, at, &mut returned)?;
        Ok(format!("{door:?}"))
    }

    fn write(&mut self, bytes: &[u8], at: u64) -> Res<()> {
        let door = self.door();
        self.kit.write(door, &self.file, bytes, at)
    }
}

/// A stream on the file; closed when dropped.
struct Stream(NonNull<libc::FILE>);

impl Stream {
    fn open(setup: &Setup, buffer: usize) -> Res<Stream> {
        let name = CString::new(setup.file().as_os_str().as_bytes())
            .map_err(|_| "a zero byte in a path".to_string())?;
        // SAFETY: both are C strings.
        let stream = unsafe { libc::fopen(name.as_ptr(), c"r+".as_ptr()) };
        let Some(stream) = NonNull::new(stream) else {
            return failed("fopen");
        };
        let mode = if buffer == 0 {
            libc::_IONBF
        } else {
            libc::_IOFBF
        };
        // SAFETY: the stream was just opened.
        unsafe { libc::setvbuf(stream.as_ptr(), std::ptr::null_mut(), mode, buffer) };
        Ok(Stream(stream))
    }

    /// Nothing is left in the buffer from before: all comes by one read.
    fn seek(&self, at: u64) -> Res<()> {
        let stream = self.0.as_ptr();
        // SAFETY: the stream is open.
        match unsafe { libc::fseeko(stream, at as i64, libc::SEEK_SET) | libc::fflush(stream) } {
            0 => Ok(()),
            _ => failed("fseeko, fflush"),
        }
    }

    fn read(&self, bytes: &mut [u8], at: u64) -> Res<()> {
        self.seek(at)?;
        // SAFETY: the stream is open, the bytes are ours.
        let n = unsafe { libc::fread(bytes.as_mut_ptr().cast(), 1, bytes.len(), self.0.as_ptr()) };
        all(n as isize, bytes.len() as u64, "fread")
    }

    fn write(&self, bytes: &[u8], at: u64) -> Res<()> {
        self.seek(at)?;
        // SAFETY: the stream is open, the bytes are ours.
        let n = unsafe { libc::fwrite(bytes.as_ptr().cast(), 1, bytes.len(), self.0.as_ptr()) };
        // SAFETY: the stream is open.
        if unsafe { libc::fflush(self.0.as_ptr()) } != 0 {
            return failed("fflush");
        }
        all(n as isize, bytes.len() as u64, "fwrite")
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: it is ours and is not used again.
        unsafe { libc::fclose(self.0.as_ptr()) };
    }
}

fn all(done: isize, len: u64, what: &str) -> Res<()> {
    match done {
        n if n < 0 => failed(what),
        n if n as u64 == len => Ok(()),
        n => Err(format!("{what} of {len} moved {n}")),
    }
}

fn copy(from: &Fd, at: u64, to: &Fd, into: u64, len: u64) -> Res<()> {
    let (mut at, mut into) = (at as i64, into as i64);
    // SAFETY: both places are ours.
    let n =
        unsafe { libc::copy_file_range(from.raw(), &mut at, to.raw(), &mut into, len as usize, 0) };
    all(n, len, "copy_file_range")
}

/// `struct file_clone_range`.
#[repr(C)]
struct CloneRange {
    from: i64,
    at: u64,
    len: u64,
    into: u64,
}

const FICLONERANGE: libc::Ioctl = 0x4020_940d;

fn clone(from: &Fd, at: u64, to: &Fd, into: u64, len: u64) -> Res<()> {
    let how = CloneRange {
        from: from.raw().into(),
        at,
        len,
        into,
    };
    // SAFETY: the struct is what this request takes.
    if unsafe { libc::ioctl(to.raw(), FICLONERANGE, &how) } < 0 {
        return failed("FICLONERANGE");
    }
    Ok(())
}

fn sendfile(from: &Fd, at: u64, to: &Fd, len: u64) -> Res<()> {
    let mut at = at as i64;
    // SAFETY: the place is ours.
    let n = unsafe { libc::sendfile(to.raw(), from.raw(), &mut at, len as usize) };
    all(n, len, "sendfile")
}

fn splice(from: &Fd, at: Option<u64>, to: &Fd, into: Option<u64>, len: u64) -> Res<()> {
    let (mut from_at, mut to_at) = (at.unwrap_or(0) as i64, into.unwrap_or(0) as i64);
    let place = |given: Option<u64>, cell: *mut i64| given.map_or(std::ptr::null_mut(), |_| cell);
    let (a, b) = (place(at, &mut from_at), place(into, &mut to_at));
    // A pipe's pages need not be full: what it holds may come in several calls.
    let mut done = 0;
    while done < len {
        // SAFETY: both places are ours.
        let n = unsafe { libc::splice(from.raw(), a, to.raw(), b, (len - done) as usize, 0) };
        if n <= 0 && errno() != libc::EINTR {
            return all(n, len, "splice");
        }
        done += n.max(0) as u64;
    }
    Ok(())
}

fn drain(from: &Fd, bytes: &mut [u8]) -> Res<()> {
    let mut done = 0;
    while done < bytes.len() {
        let rest = &mut bytes[done..];
        // SAFETY: the rest of the buffer is ours.
        let n = unsafe { libc::read(from.raw(), rest.as_mut_ptr().cast(), rest.len()) };
        if n <= 0 {
            return failed("read of what was sent");
        }
        done += n as usize;
    }
    Ok(())
}
