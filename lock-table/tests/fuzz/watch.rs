//! Children that may crash or hang, and the one who watches them.

use super::common::{Child, shared_words};

use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// No step takes a hundredth of this, however loaded the machine; a loop without end takes more.
const HANG_NS: u64 = 10_000_000_000;

/// What a child writes for its watcher: the step that it is at, when it began it, and what it met in all.
#[derive(Clone, Copy)]
pub struct Log(&'static [AtomicU64]);

impl Log {
    pub const MET: usize = 5;

    pub fn new() -> Log {
        Log(shared_words(2 + Self::MET))
    }

    pub fn begin(&self, step: usize) {
        self.0[1].store(kernel::now_ns(), Relaxed);
        self.0[0].store(step as u64, Relaxed);
    }

    pub fn add(&self, met: [u64; Self::MET]) {
        for (word, n) in self.0[2..].iter().zip(met) {
            word.fetch_add(n, Relaxed);
        }
    }

    pub fn met(&self) -> [u64; Self::MET] {
        std::array::from_fn(|i| self.0[2 + i].load(Relaxed))
    }

    pub fn step(&self) -> u64 {
        self.0[0].load(Relaxed)
    }
}

static IN_A_CHILD: AtomicBool = AtomicBool::new(false);
const FAILED: i32 = 3;
const PANICKED: i32 = 4;

/// Runs `body` in a child. What it says is wrong stands on standard error, and so does a panic.
pub fn start(log: Log, body: impl FnOnce() -> Result<(), String>) -> Watched {
    static ONCE: Once = Once::new();
    // No unwinding in the child, and none of the locks that the usual hook takes.
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !IN_A_CHILD.load(Relaxed) {
                return usual(info);
            }
            say(&format!("panic: {info}"));
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(PANICKED) };
        }));
    });
    log.begin(0);
    // Allocating in the child is allowed: glibc's fork leaves its allocator whole.
    let child = Child::run(|| {
        IN_A_CHILD.store(true, Relaxed);
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: a crash needs no core.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) };
        match body() {
            Ok(()) => 0,
            Err(why) => {
                say(&why);
                FAILED
            }
        }
    });
    Watched { child, log }
}

fn say(what: &str) {
    let line = format!("{what}\n");
    // SAFETY: writes initialised bytes. Not eprintln: its lock may have been held at the fork.
    unsafe { libc::write(2, line.as_ptr().cast(), line.len()) };
}

pub struct Watched {
    child: Child,
    log: Log,
}

impl Watched {
    /// Waits for its end; kills it when a step takes for ever. `Err`: how it failed.
    pub fn finish(self) -> Result<(), String> {
        let hangs = !self.ends();
        let step = self.log.step();
        if hangs {
            self.child.kill();
            return Err(format!(
                "step {step} hangs: killed after {} s",
                HANG_NS / 1_000_000_000
            ));
        }
        match self.child.wait() {
            0 => Ok(()),
            FAILED => Err("it says so on standard error".into()),
            PANICKED => Err(format!("step {step} panics")),
            status if status < 0 => Err(format!("step {step} dies of signal {}", -status)),
            status => Err(format!("step {step}: exit status {status}")),
        }
    }

    fn ends(&self) -> bool {
        // SAFETY: a descriptor for our own child, closed below.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, self.child.0, 0) } as i32;
        assert!(fd >= 0, "pidfd_open");
        let mut poll = libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        let ended = loop {
            // SAFETY: one pollfd.
            if unsafe { libc::poll(&mut poll, 1, 500) } > 0 {
                break true;
            }
            if kernel::now_ns().saturating_sub(self.log.0[1].load(Relaxed)) > HANG_NS {
                break false;
            }
        };
        kernel::close(fd);
        ended
    }
}
