//! The page (some pages) that all processes of one program share: who does what, what has returned, what
//! was cut short by a kill, and what was found.

use crate::sys::{Fd, Map, Res, now};
use std::ops::Deref;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

pub const WORKERS: usize = 16;
/// A worker that does many numbered operations inside its part of a round numbers them in the slot that far
/// behind its own.
pub const INNER: usize = 8;
const WORDS: usize = 64;
const CUTS: usize = 1 << 16;
/// How many anomalies are explained; the others are only counted.
const EXPLAINED: u64 = 5;

/// One worker's operations are numbered: `begun` is stored before its system calls, `finished` after they
/// returned. A kill between the two is entered in `cuts` before `finished` is set for the dead worker.
#[repr(C)]
pub struct Slot {
    pub begun: AtomicU64,
    pub finished: AtomicU64,
}

#[repr(C)]
pub struct Board {
    started: AtomicU64,
    stop: AtomicU32,
    pub round: AtomicU64,
    pub ops: AtomicU64,
    pub anomalies: AtomicU64,
    pub persistent: AtomicU64,
    pub slots: [Slot; WORKERS],
    /// What the workers of this round are to do; each program names its own.
    pub plan: [AtomicU64; WORDS],
    /// What they have done: the number of the last round for which the mark was set.
    pub marks: [AtomicU64; WORDS],
    cut_count: AtomicU64,
    cuts: [AtomicU64; CUTS],
}

/// The board, mapped; a memfd, so that it can be carried over an exec.
pub struct SharedBoard {
    map: Map,
    fd: Fd,
}

impl SharedBoard {
    pub fn create() -> Res<SharedBoard> {
        // SAFETY: the name is a C string. No MFD_CLOEXEC: a program may execute itself and resume.
        let fd = unsafe { libc::memfd_create(c"board".as_ptr(), 0) };
        if fd < 0 {
            return crate::sys::failed("memfd_create");
        }
        Fd::inherited(fd)
            .truncate_keeping(size_of::<Board>() as u64)
            .and_then(SharedBoard::resume)?
            .begin()
    }

    pub fn resume(fd: RawFd) -> Res<SharedBoard> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let map = Map::new(fd, 0, size_of::<Board>(), protection, libc::MAP_SHARED)?;
        Ok(SharedBoard {
            map,
            fd: Fd::inherited(fd),
        })
    }

    fn begin(self) -> Res<SharedBoard> {
        self.started.store(now(), SeqCst);
        Ok(self)
    }

    pub fn raw_fd(&self) -> RawFd {
        self.fd.raw()
    }
}

impl Fd {
    fn truncate_keeping(self, size: u64) -> Res<RawFd> {
        self.truncate(size)?;
        let fd = self.raw();
        std::mem::forget(self);
        Ok(fd)
    }
}

impl Deref for SharedBoard {
    type Target = Board;
    fn deref(&self) -> &Board {
        // SAFETY: the mapping is page-aligned, as long as a Board, and every bit pattern is a valid Board,
        // which consists of atomics only.
        unsafe { &*self.map.pointer().cast::<Board>() }
    }
}

impl Board {
    pub fn stop(&self) {
        self.stop.store(1, SeqCst);
    }

    pub fn stopped(&self) -> bool {
        self.stop.load(SeqCst) != 0
    }

    pub fn seconds(&self) -> f64 {
        now().saturating_sub(self.started.load(SeqCst)) as f64 / 1e9
    }

    pub fn done(&self, ops: u64) {
        self.ops.fetch_add(ops, SeqCst);
    }

    /// Counts an anomaly and, for the first few, says what it was.
    pub fn anomaly(&self, persistent: bool, explain: impl FnOnce() -> String) {
        if persistent {
            self.persistent.fetch_add(1, SeqCst);
        }
        if self.anomalies.fetch_add(1, SeqCst) < EXPLAINED {
            let kept = if persistent {
                " (on the device too)"
            } else {
                ""
            };
            say(&format!(
                "anomaly at {:.3} s{kept}: {}\n",
                self.seconds(),
                explain()
            ));
        }
    }

    pub fn plan(&self, at: usize) -> u64 {
        self.plan[at].load(SeqCst)
    }

    pub fn set_plan(&self, at: usize, value: u64) {
        self.plan[at].store(value, SeqCst);
    }

    pub fn mark(&self, at: usize, round: u64) {
        self.marks[at].store(round, SeqCst);
    }

    pub fn marked(&self, at: usize, round: u64) -> bool {
        self.marks[at].load(SeqCst) >= round
    }

    pub fn finished(&self, worker: usize, number: u64) -> bool {
        self.slots[worker].finished.load(SeqCst) >= number
    }

    /// Waits for a mark, or for the end of the part of the worker who would set it (who may have been
    /// killed before). True when the mark is there.
    pub fn await_mark(&self, at: usize, round: u64, setter: usize) -> bool {
        let mut turns = 0;
        while !self.marked(at, round) && !self.finished(setter, round) && !self.stopped() {
            turns += 1;
            // Quick at first; but a setter who needs the processor must get it.
            if turns < 200 {
                std::thread::yield_now()
            } else {
                std::thread::sleep(Duration::from_micros(10))
            }
        }
        self.marked(at, round)
    }

    /// The next operation in a slot: one after the last that was begun.
    pub fn next_number(&self, slot: usize) -> u64 {
        self.slots[slot].begun.load(SeqCst) + 1
    }

    pub fn round(&self) -> u64 {
        self.round.load(SeqCst)
    }

    /// The next round this worker has not taken part in; None when it is over.
    pub fn next_round(&self, worker: usize) -> Option<u64> {
        loop {
            if self.stopped() {
                return None;
            }
            let round = self.round.load(SeqCst);
            if round > self.slots[worker].begun.load(SeqCst) {
                return Some(round);
            }
            std::thread::sleep(Duration::from_micros(20));
        }
    }

    /// The supervisor's entry for a worker that it killed: was its part of the round cut short?
    pub fn cut(&self, worker: usize) -> bool {
        self.cut_slot(worker + INNER);
        self.cut_slot(worker)
    }

    fn cut_slot(&self, at: usize) -> bool {
        let slot = &self.slots[at];
        let begun = slot.begun.load(SeqCst);
        if begun == slot.finished.load(SeqCst) {
            return false;
        }
        let count = self.cut_count.load(SeqCst);
        self.cuts[count as usize % CUTS].store(stamp(at, begun), SeqCst);
        self.cut_count.store(count + 1, SeqCst);
        slot.finished.store(begun, SeqCst);
        true
    }

    /// Was the operation numbered so in this slot cut short by a kill? (It may have happened in part.)
    pub fn was_cut(&self, slot: usize, number: u64) -> bool {
        let count = self.cut_count.load(SeqCst);
        let wanted = stamp(slot, number);
        (count.saturating_sub(CUTS as u64)..count)
            .any(|at| self.cuts[at as usize % CUTS].load(SeqCst) == wanted)
    }
}

impl Slot {
    /// Numbers an operation, does it, and says that it has returned.
    pub fn operation<T>(&self, number: u64, work: impl FnOnce() -> Res<T>) -> Res<T> {
        self.begun.store(number, SeqCst);
        let result = work()?;
        self.finished.store(number, SeqCst);
        Ok(result)
    }
}

/// Slot and operation in one word; zero is nobody's.
pub fn stamp(slot: usize, number: u64) -> u64 {
    ((slot as u64 + 1) << 48) | number
}

/// The slot and the number in a stamp; None for what no stamp can be.
pub fn unstamp(stamp: u64) -> Option<(usize, u64)> {
    let slot = (stamp >> 48).checked_sub(1)? as usize;
    (slot < WORKERS).then_some((slot, stamp & ((1 << 48) - 1)))
}

/// One write to standard output, so that lines of several processes don't mix.
pub fn say(line: &str) {
    // SAFETY: the string is ours and as long as we say.
    unsafe { libc::write(1, line.as_ptr().cast(), line.len()) };
}
