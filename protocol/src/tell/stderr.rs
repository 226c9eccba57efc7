//! Standard error, as far as it is still the one that we started with; and who writes records at this moment.

use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

use kernel as raw;
use kernel::text::Text;

use crate::who::scratch;

/// The device and inode that descriptor 2 had at the start: what is there later may be the program's data.
static STDERR: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// In the constructor.
pub fn init() {
    if let Ok(stat) = raw::fstat(2) {
        let [dev, ino] = &STDERR;
        dev.store(stat.dev, Relaxed);
        ino.store(stat.ino, Relaxed);
    }
}

/// How many threads write a record at this moment, with signals blocked.
static TELLING: AtomicU32 = AtomicU32::new(0);

/// Writes by a number that nobody gives up or replaces meanwhile. In a job, with signals blocked.
pub fn telling<R>(write: impl FnOnce() -> R) -> R {
    TELLING.fetch_add(1, SeqCst);
    let result = write();
    TELLING.fetch_sub(1, SeqCst);
    result
}

pub fn is_telling() -> bool {
    TELLING.load(SeqCst) != 0
}

/// The program puts something else at the number of stderr, and has marked it: nobody who took it for the old one
/// writes to it when this returns.
pub fn end_telling() {
    for _ in 0..1000 {
        if !is_telling() {
            return;
        }
        raw::sleep_ms(1);
    }
}

/// How many calls are about to put something else at the number of stderr.
static LEAVES: AtomicU32 = AtomicU32::new(0);

/// One of them begins: from now on nothing is written there.
pub fn leaves() {
    LEAVES.fetch_add(1, SeqCst);
}

/// It is over.
pub fn has_left() {
    LEAVES.fetch_sub(1, SeqCst);
}

/// In a forked child: the parent's other threads were.
pub fn forget_telling_in_child() {
    TELLING.store(0, Relaxed);
    LEAVES.store(0, Relaxed);
}

/// A message of our own on stderr, if that is still the stderr we started with.
pub fn say(message: fmt::Arguments) {
    scratch::roomy_or_not_at_all(|| write(&Line::of(message)));
}

pub type Line = Text<4096>;

/// In a job, with signals blocked.
pub fn write(line: &Line) {
    let [dev, ino] = &STDERR;
    telling(|| {
        let is_ours = LEAVES.load(SeqCst) == 0
            && raw::fstat(2)
                .is_ok_and(|s| s.dev == dev.load(Relaxed) && s.ino == ino.load(Relaxed));
        if is_ours {
            raw::write_politely(2, line.as_bytes());
        }
    });
}
