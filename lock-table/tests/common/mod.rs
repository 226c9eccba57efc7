//! What the tests share: a table of one's own, forked children, what room a table has, and an oracle that knows
//! nothing of the table.
#![allow(dead_code, reason = "each test program uses its part")]

pub mod buckets;
pub mod oracle;
pub mod room;

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
        // All of one length: the crash tests count instructions.
        let path = PathBuf::from(format!(
            "/dev/shm/lock-table-test-{}-{n:05}",
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
    Some(kernel::now_ns() + ms * 1_000_000)
}

pub fn no() -> impl FnMut() -> bool {
    || false
}

/// A forked child. It must not return from `body`'s caller, allocate or panic: `body`'s result is its exit status.
pub struct Child(pub i32);

impl Child {
    pub fn run(body: impl FnOnce() -> i32) -> Child {
        let child = Child::made_by(body, || {
            // SAFETY: the child calls nothing that another thread may have locked.
            unsafe { libc::fork() }
        });
        assert!(child.0 > 0, "{}", std::io::Error::last_os_error());
        child
    }

    /// Forks in another way; the number may be negative.
    pub fn made_by(body: impl FnOnce() -> i32, fork: impl FnOnce() -> i32) -> Child {
        let _held = fork_lock();
        let pid = fork();
        if pid == 0 {
            // A test that fails takes its children with it, or whoever reads its output would wait for them.
            // SAFETY: concerns this process alone.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let status = body();
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(status) };
        }
        Child(pid)
    }

    pub fn kill(self) {
        self.signal(libc::SIGKILL);
        self.wait();
    }

    /// Waits until it has ended and the kernel has let go of all it had. Its number stays its own until `wait`.
    pub fn ended(&self) {
        // SAFETY: all zeros is a siginfo; waits for our child.
        let ended = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let how = libc::WEXITED | libc::WNOWAIT;
            libc::waitid(libc::P_PID, self.0 as libc::id_t, &mut info, how)
        };
        assert_eq!(ended, 0);
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

/// A missing right or part of the kernel is a failure where somebody counts on the whole suite (CI, `scripts/test`)
/// and a remark elsewhere.
pub fn skip(what: &str) {
    let set = |name: &str, value: &str| std::env::var(name).is_ok_and(|v| v == value);
    assert!(
        !set("CI", "true") && !set("PAGEFENCE_TEST_STRICT", "1"),
        "skipped, and nothing may be skipped here: {what}"
    );
    eprintln!("skipped: {what}");
}

/// Whether there is time: `scripts/test --long`.
pub fn long() -> bool {
    std::env::var("PAGEFENCE_TEST_LONG").is_ok_and(|v| v == "1")
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
