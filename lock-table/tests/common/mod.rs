//! What the tests share: a table of one's own, forked children, and an oracle that knows nothing of the table.
#![allow(dead_code, reason = "each test program uses its part")]

use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use lock_table::{Claim, FileId, Geometry, Mode, Table};

pub const FILE: FileId = FileId { dev: 8, ino: 42 };

/// Attaching and forking exclude each other, as the table's documentation asks.
static FORK: Mutex<()> = Mutex::new(());

pub fn fork_lock() -> MutexGuard<'static, ()> {
    FORK.lock().unwrap_or_else(|e| e.into_inner())
}

/// A directory of the test's own in shared memory.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new() -> Dir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, SeqCst);
        let path = PathBuf::from(format!(
            "/dev/shm/lock-table-test-{}-{n}",
            std::process::id()
        ));
        std::fs::create_dir(&path).unwrap();
        Dir(path)
    }

    pub fn table(&self) -> CString {
        c_path(&self.0.join("table"))
    }

    /// A small table, so that tests are quick and limits can be met.
    pub fn make(&self) -> CString {
        let path = self.table();
        let g = Geometry {
            processes: 64,
            slots: 256,
            requests: 64,
            mappings: 128,
            uses: 128,
        };
        Table::create(&path, &g).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn c_path(path: &Path) -> CString {
    CString::new(path.to_str().unwrap()).unwrap()
}

pub fn attach(path: &CStr) -> &'static Table {
    let _held = fork_lock();
    Box::leak(Box::new(Table::attach(path).unwrap()))
}

pub fn claim(mode: Mode, first: u64, last: u64) -> Claim {
    Claim {
        file: FILE,
        first,
        last,
        mode,
        atomic: false,
    }
}

pub fn in_ms(ms: u64) -> Option<u64> {
    Some(lock_table::sys::now_ns() + ms * 1_000_000)
}

pub fn no() -> impl FnMut() -> bool {
    || false
}

/// A forked child. It must not return from `body`'s caller, allocate or panic: `body`'s result is its exit status.
pub struct Child(pub i32);

impl Child {
    pub fn run(body: impl FnOnce() -> i32) -> Child {
        let _held = fork_lock();
        // SAFETY: the child calls nothing that another thread may have locked.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // A test that fails takes its children with it, or whoever reads its output would wait for them.
            // SAFETY: concerns this process alone.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let status = body();
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(status) };
        }
        assert!(pid > 0);
        Child(pid)
    }

    pub fn kill(self) {
        self.signal(libc::SIGKILL);
        self.wait();
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: a child of ours that was not waited for.
        assert_eq!(unsafe { libc::kill(self.0, signal) }, 0);
    }

    /// The exit status, or minus the signal.
    pub fn wait(self) -> i32 {
        let mut status = 0;
        // SAFETY: waits for our child.
        assert_eq!(unsafe { libc::waitpid(self.0, &mut status, 0) }, self.0);
        if libc::WIFEXITED(status) {
            libc::WEXITSTATUS(status)
        } else {
            -libc::WTERMSIG(status)
        }
    }
}

/// Words that parent and children share.
pub fn shared_words(n: usize) -> &'static [AtomicU64] {
    // SAFETY: an anonymous shared mapping that stays.
    unsafe {
        let at = libc::mmap(
            std::ptr::null_mut(),
            n * 8,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(at, libc::MAP_FAILED);
        std::slice::from_raw_parts(at.cast(), n)
    }
}

pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("{what}: not within ten seconds");
}

pub fn sleep_ms(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// A small generator, good enough to mix things up.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }

    pub fn claim(&mut self) -> Claim {
        let mode = Mode::ALL[self.below(5) as usize];
        let file = FileId {
            dev: 8,
            ino: self.below(2),
        };
        // Small offsets for pages, big ones for units, and now and then to the end of time.
        let scale = [512, 4096, 1 << 20][self.below(3) as usize];
        let first = self.below(12) * scale;
        let last = if self.below(20) == 0 {
            u64::MAX
        } else {
            first + self.below(3 * scale)
        };
        Claim {
            file,
            first,
            last,
            mode,
            atomic: self.below(4) == 0,
        }
    }
}

/// Who is inside, written down outside the table. Each worker has a record; a spin lock makes looking and writing
/// down one step.
#[derive(Clone, Copy)]
pub struct Oracle {
    words: &'static [AtomicU64],
}

const RECORD: usize = 8;

impl Oracle {
    pub fn new(workers: usize) -> Oracle {
        Oracle {
            words: shared_words(RECORD * (workers + 1)),
        }
    }

    fn record(&self, worker: usize) -> &'static [AtomicU64] {
        &self.words[RECORD * (worker + 1)..][..RECORD]
    }

    pub fn violations(&self) -> u64 {
        self.words[1].load(SeqCst)
    }

    pub fn entries(&self) -> u64 {
        self.words[2].load(SeqCst)
    }

    pub fn stop(&self) {
        self.words[3].store(1, SeqCst);
    }

    pub fn stopped(&self) -> bool {
        self.words[3].load(SeqCst) != 0
    }

    fn locked(&self, f: impl FnOnce()) {
        while self.words[0].swap(1, SeqCst) != 0 {
            std::thread::yield_now();
        }
        f();
        self.words[0].store(0, SeqCst);
    }

    pub fn enter(&self, worker: usize, c: &Claim) {
        self.locked(|| {
            self.words[2].fetch_add(1, SeqCst);
            for other in 0..self.words.len() / RECORD - 1 {
                let r = self.record(other);
                if other == worker || r[0].load(SeqCst) != 1 {
                    continue;
                }
                let v: Vec5 = [1, 2, 3, 4, 5].map(|i| r[i].load(SeqCst));
                if excluded(c, &v) {
                    self.words[1].fetch_add(1, SeqCst);
                }
            }
            let r = self.record(worker);
            let fields = [
                c.file.ino,
                c.first,
                c.last,
                c.mode as u64,
                u64::from(c.atomic),
            ];
            for (word, field) in r[1..].iter().zip(fields) {
                word.store(field, SeqCst);
            }
            r[0].store(1, SeqCst);
        });
    }

    pub fn leave(&self, worker: usize) {
        self.record(worker)[0].store(0, SeqCst);
    }

    /// The worker is stopped and about to be killed: what it is inside of ends with it. If it was stopped with the
    /// spin lock, that is opened.
    pub fn doom(&self, worker: usize) {
        self.record(worker)[0].store(0, SeqCst);
    }
}

type Vec5 = [u64; 5];

/// The matrix once more, in other words.
fn excluded(c: &Claim, v: &Vec5) -> bool {
    let [ino, first, last, mode, atomic] = *v;
    if c.file.ino != ino {
        return false;
    }
    let overlap = |unit: u64| c.first / unit <= last / unit && first / unit <= c.last / unit;
    let either = |m: u64| c.mode as u64 == m || mode == m;
    let both_in = |p: u64, q: u64| {
        let pair = (c.mode as u64, mode);
        pair == (p, q) || pair == (q, p)
    };
    let (br, bw, dr, dw, layout) = (0, 1, 2, 3, 4);
    if either(layout) || both_in(dw, dw) || both_in(dw, dr) || both_in(dw, br) {
        overlap(4096)
    } else if both_in(bw, dr) || both_in(bw, dw) {
        overlap(2 * 1024 * 1024)
    } else if both_in(bw, bw) || both_in(bw, br) {
        (c.atomic || atomic != 0) && overlap(1)
    } else {
        false
    }
}
