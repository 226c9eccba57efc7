//! The probe: the descriptor through which this process asks who lives. The program may want its number (dup2), or run
//! out of numbers.

use core::sync::atomic::Ordering::{Acquire, SeqCst};

use crate::Table;
use crate::primitive::{block_signals, restore_signals, yield_now};

/// How often it is looked whether a question is over: none waits for anybody.
const LOOKS: u32 = 10_000;

impl Table {
    /// The number; -1: it has none now.
    pub fn probe_fd(&self) -> i32 {
        self.probe.load(Acquire)
    }

    /// The probe has been moved: `fd` is a duplicate of it (close-on-exec), and the old number is the caller's to close
    /// as soon as `probe_is_at_rest`.
    pub fn set_probe_fd(&self, fd: i32) {
        self.probe.store(fd, SeqCst);
    }

    /// Whether no thread asks through a number that it read before.
    pub fn probe_is_at_rest(&self) -> bool {
        self.asking.load(SeqCst) == 0
    }

    /// The program needs the number more: from now on the table is opened for each question. What was given up is the
    /// caller's to close.
    pub fn give_up_probe(&self) -> Option<i32> {
        if self.locks_for_itself.load(SeqCst) {
            return None; // its life hangs on it, and it may not open the table
        }
        let given = self.probe.swap(-1, SeqCst);
        if given < 0 {
            return None;
        }
        for _ in 0..LOOKS {
            if self.probe_is_at_rest() {
                self.on_demand.store(true, SeqCst);
                return Some(given);
            }
            yield_now();
        }
        self.probe.store(given, SeqCst);
        None
    }

    /// Something with the probe, whose number stays what it is meanwhile. With signals blocked: who jumped out would
    /// be thought to be asking for ever.
    pub(crate) fn with_probe<T>(&self, act: impl FnOnce(i32) -> T) -> T {
        let signals = block_signals();
        self.asking.fetch_add(1, SeqCst);
        let result = match self.probe.load(SeqCst) {
            ..0 if self.on_demand.load(SeqCst) => self.with_probe_of_its_own(act),
            probe => act(probe),
        };
        self.asking.fetch_sub(1, SeqCst);
        restore_signals(signals);
        result
    }

    #[cold]
    fn with_probe_of_its_own<T>(&self, act: impl FnOnce(i32) -> T) -> T {
        let Some(fd) = self.open_for_a_question() else {
            return act(-1);
        };
        let result = act(fd);
        // The program may have put something else there with dup2.
        if self.is_table(fd) {
            kernel::close(fd);
        }
        result
    }
}
