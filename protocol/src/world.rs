//! Processes of a unit test: each with a state of its own, all attached to one lock table, on real files of a temporary
//! directory. Their calls are the real ones, made through `calls` as the hooks do it.

use std::ffi::{CString, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Release};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use lock_table::Table;
use policy::Policy;

use crate::calls::{mappings, numbers, transfer};
use crate::hold::give_back;
use crate::what::data::{Data, Position, Transfer};
use crate::who::owned::Process;
use crate::who::{lineage, process, thread};

/// A directory with a lock table and files.
pub struct World {
    dir: tempfile::TempDir,
}

/// Longer than any call here takes that waits for nobody.
pub const A_WHILE: Duration = Duration::from_millis(150);

impl World {
    pub fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        World { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file with so many bytes, all of them the same, and on the device.
    pub fn file(&self, name: &str, len: usize, byte: u8) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, vec![byte; len]).unwrap();
        std::fs::File::open(&path).unwrap().sync_all().unwrap();
        path
    }

    /// A fenced process.
    pub fn process(&self) -> &'static Process {
        self.process_by("")
    }

    pub fn process_by(&self, policy: &str) -> &'static Process {
        let process = Process::new();
        process.enter(|| {
            let policy = Policy::parse(policy, "a test's").unwrap();
            process::know_policy(policy);
            lineage::watch();
            process::has_joined(Table::attach(&c_path(&self.path("table"))).unwrap());
            process::start_fencing();
        });
        process
    }
}

pub fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

impl Process {
    /// A thread of the process. What its calls have left is given back at its end, as the library does it.
    pub fn spawn<R: Send + 'static>(
        &'static self,
        act: impl FnOnce() -> R + Send + 'static,
    ) -> std::thread::JoinHandle<R> {
        std::thread::spawn(move || {
            self.enter(|| {
                let result = act();
                give_back::all(thread::current());
                result
            })
        })
    }

    pub fn open(&'static self, path: &Path, flags: i32) -> i32 {
        let path = c_path(path);
        // SAFETY: a plain call.
        let open = || unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, 0o600) };
        let fd = self.enter(|| numbers::opening(Some(flags), open));
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        fd
    }

    pub fn close(&'static self, fd: i32) {
        // SAFETY: a number of the test's.
        assert_eq!(
            self.enter(|| numbers::close(fd, || unsafe { libc::close(fd) })),
            0
        );
    }

    /// Maps a file's first bytes, shared; writable if the number is.
    pub fn map(&'static self, fd: i32, len: usize, prot: i32) -> *mut u8 {
        let map = mappings::Map {
            at: 0,
            len,
            prot,
            flags: libc::MAP_SHARED,
            fd,
            offset: 0,
        };
        // SAFETY: a new mapping.
        let real = |flags| unsafe { libc::mmap(core::ptr::null_mut(), len, prot, flags, fd, 0) };
        let at = self.enter(|| mappings::map(&map, real));
        assert!(!mappings::failed(at));
        at.cast()
    }

    pub fn unmap(&'static self, at: *mut u8, len: usize) {
        // SAFETY: the test's own mapping.
        let real = || unsafe { libc::munmap(at.cast(), len) };
        assert_eq!(self.enter(|| mappings::unmap(at.cast(), len, real)), 0);
    }
}

/// A thread of the library's own (see `requests::spawn`): here one that libc knows, whose storage says to which process
/// it belongs.
pub fn thread(_: &AtomicUsize, number: &'static AtomicU32, run: extern "C" fn()) -> bool {
    let process = Process::current();
    std::thread::spawn(move || {
        number.store(kernel::gettid().unwrap_or(1), Release);
        process.enter(|| run());
        number.store(0, Release);
        kernel::futex_wake_shared(number);
    });
    true
}

/// Memory for direct I/O.
pub struct Buffer(*mut u8, usize);

impl Buffer {
    pub fn of(len: usize, byte: u8) -> Buffer {
        let at = kernel::map_anonymous(len.next_multiple_of(4096)).unwrap();
        // SAFETY: as long as that.
        unsafe { at.write_bytes(byte, len) };
        Buffer(at, len)
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: ours, and as long as that.
        unsafe { core::slice::from_raw_parts(self.0, self.1) }
    }

    pub fn part(&self, from: usize, len: usize) -> (*mut c_void, usize) {
        assert!(from + len <= self.1);
        (self.0.wrapping_add(from).cast(), len)
    }

    pub fn all(&self) -> (*mut c_void, usize) {
        self.part(0, self.1)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        kernel::unmap(self.0, self.1.next_multiple_of(4096));
    }
}

/// A call at a place, as a hook makes it.
pub fn at(write: bool, fd: i32, (base, len): (*mut c_void, usize), place: i64) -> Transfer {
    Transfer {
        fd,
        write,
        data: Data::Buffer(base, len),
        at: Position::At(place),
        flags: 0,
    }
}

/// The kernel's own: -1 and errno if it fails.
pub fn bare(call: &Transfer) -> isize {
    let (Data::Buffer(base, len), Position::At(place)) = (call.data, call.at) else {
        panic!("not a call of a test's");
    };
    // SAFETY: the test's own buffer.
    unsafe {
        match call.write {
            true => libc::pwrite(call.fd, base, len, place),
            false => libc::pread(call.fd, base, len, place),
        }
    }
}

/// The call, fenced. In a process.
pub fn fenced(call: &Transfer) -> isize {
    made_by(call, || bare(call))
}

/// The call, fenced, where the kernel's part is this.
pub fn made_by(call: &Transfer, real: impl Fn() -> isize + Copy) -> isize {
    let moved = || (call.data, call.at, call.flags);
    transfer::transfer(call.fd, call.write, moved, real)
}

/// The same, and how often the kernel got the program's own call.
pub fn counted(call: &Transfer) -> (isize, u32) {
    let calls = core::cell::Cell::new(0);
    let real = || {
        calls.set(calls.get() + 1);
        bare(call)
    };
    (made_by(call, real), calls.get())
}

/// A call that stays in the kernel until it is let go.
pub struct Slow {
    inside: Receiver<()>,
    go: Sender<()>,
    thread: std::thread::JoinHandle<isize>,
}

impl Slow {
    /// One byte at this place, read or written; when this returns it is in the kernel.
    pub fn begin(process: &'static Process, write: bool, fd: i32, place: i64) -> Slow {
        Slow::of(process, write, fd, place, 1)
    }

    /// The same of so many bytes.
    pub fn of(process: &'static Process, write: bool, fd: i32, place: i64, len: usize) -> Slow {
        let (entered, inside) = channel();
        let (go, may_go) = channel::<()>();
        let thread = process.spawn(move || {
            let buffer = Buffer::of(len, 7);
            let call = at(write, fd, buffer.all(), place);
            made_by(&call, || {
                entered.send(()).unwrap();
                may_go.recv().unwrap();
                bare(&call)
            })
        });
        let slow = Slow { inside, go, thread };
        slow.inside.recv().unwrap();
        slow
    }

    pub fn end(self) -> isize {
        self.go.send(()).unwrap();
        self.thread.join().unwrap()
    }
}

/// What is done by a thread of the process, and whether it is done by now.
pub struct Done<R>(Receiver<R>);

impl<R: Send + 'static> Done<R> {
    pub fn by(process: &'static Process, act: impl FnOnce() -> R + Send + 'static) -> Done<R> {
        let (done, is_done) = channel();
        process.spawn(move || {
            let _ = done.send(act());
        });
        Done(is_done)
    }

    /// None: it waits for something.
    pub fn soon(&self) -> Option<R> {
        self.0.recv_timeout(A_WHILE).ok()
    }

    /// However long it takes.
    pub fn at_last(&self) -> R {
        self.0.recv_timeout(Duration::from_secs(20)).unwrap()
    }
}
