//! The lock table and its peers, each as something that takes a range and lets go of it.

use super::scene::{Line, Scene, Shared};
use lock_table::{Claim, FileId, Mine, Mode, Slot, Table};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;

/// Bytes of a file, `last` inclusive; `u64::MAX` is the end of time.
#[derive(Clone, Copy)]
pub struct Range {
    pub file: u64,
    pub first: u64,
    pub last: u64,
}

pub trait Locker {
    fn open(scene: &Scene) -> Self;

    /// Takes the range, waiting for whoever has it.
    fn hold(&mut self, range: &Range);

    /// Takes a range that nobody else wants.
    #[inline]
    fn hold_free(&mut self, range: &Range) {
        self.hold(range);
    }

    fn release(&mut self, range: &Range);

    /// Holds a range beside the others, as somebody else would.
    fn keep(&mut self, _range: &Range) {
        unreachable!("a lock without ranges");
    }

    /// Lets go of what was kept.
    fn drop_kept(&mut self) {
        unreachable!("only the lock table remembers");
    }
}

/// Two locked instructions on a line of one's own.
pub struct Locked(Box<Line>);

impl Locker for Locked {
    fn open(_: &Scene) -> Locked {
        Locked(Box::default())
    }

    #[inline]
    fn hold(&mut self, _: &Range) {
        self.0.0.swap(1, SeqCst);
    }

    #[inline]
    fn release(&mut self, _: &Range) {
        self.0.0.swap(0, SeqCst);
    }
}

/// The lock table.
pub struct Ours {
    table: Table,
    slot: Slot,
    kept: Vec<Slot>,
}

fn claim(range: &Range) -> Claim {
    Claim {
        file: FileId {
            dev: 8,
            ino: range.file,
        },
        first: range.first,
        last: range.last,
        mode: Mode::DirectWrite,
        atomic: false,
    }
}

impl Locker for Ours {
    fn open(scene: &Scene) -> Ours {
        let table = Table::attach(&scene.table).expect("a lock table");
        let slot = table.take_slot(1).expect("a slot");
        Ours {
            table,
            slot,
            kept: Vec::new(),
        }
    }

    fn hold(&mut self, range: &Range) {
        let held = self
            .table
            .hold(self.slot, &claim(range), &Mine::NONE, None, &mut || false);
        held.expect("the range, after waiting");
    }

    #[inline]
    fn hold_free(&mut self, range: &Range) {
        let held = self.table.hold_now(self.slot, &claim(range));
        held.expect("a free range");
    }

    #[inline]
    fn release(&mut self, _: &Range) {
        self.table.release(self.slot);
    }

    fn keep(&mut self, range: &Range) {
        let thread = 2 + self.kept.len() as u32;
        let slot = self.table.take_slot(thread).expect("a slot");
        let held = self.table.hold_now(slot, &claim(range));
        held.expect("a free range");
        self.kept.push(slot);
    }

    fn drop_kept(&mut self) {
        for slot in self.kept.drain(..) {
            self.table.give_slot(slot);
        }
    }
}

/// `fcntl` locks of open file descriptions.
pub struct Ofd {
    path: PathBuf,
    file: File,
    /// Another description: what it holds is somebody else's.
    other: Option<File>,
}

fn open(path: &PathBuf) -> File {
    let file = File::options().read(true).write(true).open(path);
    file.expect("the file to lock")
}

#[inline]
fn set_lock(file: &File, kind: libc::c_int, range: &Range) {
    let end_of_time = range.last == u64::MAX;
    // SAFETY: zero bytes are a valid flock.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as _;
    lock.l_whence = libc::SEEK_SET as _;
    lock.l_start = range.first as _;
    lock.l_len = if end_of_time {
        0
    } else {
        (range.last - range.first + 1) as _
    };
    // SAFETY: the kernel reads one flock from the address of one.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLKW, &raw const lock) };
    assert_eq!(done, 0, "F_OFD_SETLKW: {}", std::io::Error::last_os_error());
}

impl Locker for Ofd {
    fn open(scene: &Scene) -> Ofd {
        Ofd {
            path: scene.file.clone(),
            file: open(&scene.file),
            other: None,
        }
    }

    #[inline]
    fn hold(&mut self, range: &Range) {
        set_lock(&self.file, libc::F_WRLCK, range);
    }

    #[inline]
    fn release(&mut self, range: &Range) {
        set_lock(&self.file, libc::F_UNLCK, range);
    }

    fn keep(&mut self, range: &Range) {
        let other = self.other.get_or_insert_with(|| open(&self.path));
        set_lock(other, libc::F_WRLCK, range);
    }
}

/// A process-shared `pthread_rwlock` for the whole file, taken to write.
pub struct Rwlock(*const Shared);

impl Locker for Rwlock {
    fn open(scene: &Scene) -> Rwlock {
        Rwlock(scene.shared())
    }

    #[inline]
    fn hold(&mut self, _: &Range) {
        // SAFETY: initialised with the scene, which outlives its lockers.
        let done = unsafe { libc::pthread_rwlock_wrlock((*self.0).rwlock.get()) };
        assert_eq!(done, 0, "pthread_rwlock_wrlock");
    }

    #[inline]
    fn release(&mut self, _: &Range) {
        // SAFETY: as above, and held by us.
        unsafe { libc::pthread_rwlock_unlock((*self.0).rwlock.get()) };
    }
}

/// A process-shared `pthread_mutex` around an interval tree in shared memory, and a condition variable for those who
/// wait.
pub struct Intervals(*const Shared);

impl Locker for Intervals {
    fn open(scene: &Scene) -> Intervals {
        Intervals(scene.shared())
    }

    #[inline]
    fn hold(&mut self, range: &Range) {
        // SAFETY: initialised with the scene, which outlives its lockers; tree and counter are used under the mutex.
        unsafe {
            let shared = &*self.0;
            let mutex = shared.mutex.get();
            assert_eq!(libc::pthread_mutex_lock(mutex), 0);
            while (*shared.tree.get()).overlaps(range.first, range.last) {
                *shared.waiting.get() += 1;
                libc::pthread_cond_wait(shared.released.get(), mutex);
                *shared.waiting.get() -= 1;
            }
            (*shared.tree.get()).insert(range.first, range.last);
            libc::pthread_mutex_unlock(mutex);
        }
    }

    #[inline]
    fn release(&mut self, range: &Range) {
        // SAFETY: as above.
        unsafe {
            let shared = &*self.0;
            let mutex = shared.mutex.get();
            assert_eq!(libc::pthread_mutex_lock(mutex), 0);
            (*shared.tree.get()).remove(range.first);
            let wake = *shared.waiting.get() > 0;
            libc::pthread_mutex_unlock(mutex);
            if wake {
                libc::pthread_cond_broadcast(shared.released.get());
            }
        }
    }

    fn keep(&mut self, range: &Range) {
        self.hold(range);
    }
}
