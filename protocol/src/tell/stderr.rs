//! Standard error, as far as it is still the one that we started with; and who writes records at this moment.

use core::fmt;
use core::sync::atomic::Ordering::*;

use kernel::text::Text;

use crate::tell::state::state;
use crate::who::scratch;

/// In the constructor.
pub fn init() {
    if let Ok(stat) = kernel::fstat(2) {
        let [dev, ino] = &state().stderr;
        dev.store(stat.dev, Relaxed);
        ino.store(stat.ino, Relaxed);
        let is_file = stat.is_regular() || stat.is_block_device();
        state().stderr_is_file.store(is_file, Relaxed);
    }
}

/// Whether it was a file at the start.
pub fn began_as_file() -> bool {
    state().stderr_is_file.load(Relaxed)
}

/// Writes by a number that nobody gives up or replaces meanwhile. In a job, with signals blocked.
pub fn telling<R>(write: impl FnOnce() -> R) -> R {
    state().telling.fetch_add(1, SeqCst);
    let result = write();
    state().telling.fetch_sub(1, SeqCst);
    result
}

pub fn is_telling() -> bool {
    state().telling.load(SeqCst) != 0
}

/// The program puts something else at the number of stderr, and has marked it: nobody who took it for the old one
/// writes to it when this returns.
pub fn end_telling() {
    for _ in 0..1000 {
        if !is_telling() {
            return;
        }
        kernel::sleep_ms(1);
    }
}

/// One of them begins: from now on nothing is written there.
pub fn leaves() {
    state().leaves.fetch_add(1, SeqCst);
}

/// It is over.
pub fn has_left() {
    state().leaves.fetch_sub(1, SeqCst);
}

/// In a forked child: the parent's other threads were.
pub fn forget_telling_in_child() {
    state().telling.store(0, Relaxed);
    state().leaves.store(0, Relaxed);
}

/// A message of our own on stderr, if that is still the stderr we started with.
pub fn say(message: fmt::Arguments) {
    scratch::roomy_or_not_at_all(|| write(&Line::of(message)));
}

pub type Line = Text<4096>;

/// In a job, with signals blocked.
pub fn write(line: &Line) {
    let [dev, ino] = &state().stderr;
    telling(|| {
        let is_ours = state().leaves.load(SeqCst) == 0
            && kernel::fstat(2)
                .is_ok_and(|s| s.dev == dev.load(Relaxed) && s.ino == ino.load(Relaxed));
        if is_ours {
            kernel::write_politely(2, line.as_bytes());
        }
    });
}
