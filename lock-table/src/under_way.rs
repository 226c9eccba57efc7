//! This process's own calls that are under way: for who is about to take away what they stand on.

use core::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};

use crate::Table;
use crate::cells::SlotCell;
use crate::matrix::FileId;
use crate::primitive::{fence, now_ns, yield_now};
use crate::reading::Reading;
use crate::slots::word;

/// How often it is looked again at once before it is slept.
const AT_ONCE: u32 = 200;
/// Then for so long, in nanoseconds.
const PAUSE: u64 = 100_000;

impl Table {
    /// Waits until every call of this process on the file that holds or announces something when it is looked at has
    /// ended, at most until `deadline_ns`. Calls that begin meanwhile aren't waited for, nor are requests. The caller has
    /// stored, before a barrier that all threads pass, what keeps new ones off.
    pub fn calls_end(&self, file: FileId, deadline_ns: u64) -> bool {
        fence(SeqCst);
        let Some(me) = self.me() else { return true };
        let [(base, cells), _requests] = self.mem.used_slots();
        (base..).zip(cells).all(|(index, cell)| {
            cell.owner.load(Relaxed) != me || self.call_ends(index, cell, file, deadline_ns)
        })
    }

    fn call_ends(&self, index: u32, cell: &SlotCell, file: FileId, deadline_ns: u64) -> bool {
        let seen = match self.read_slot(index, cell) {
            Reading::Claim { found, .. } if found.claim.file == file => found.word,
            _ => return true,
        };
        // One that waits for its range looks again at what it stands on when it has got it.
        if seen & word::STATE != word::HELD {
            return true;
        }
        for round in 0u32.. {
            let now = cell.state.load(Acquire);
            if now & word::GENERATION != seen & word::GENERATION || now & word::STATE != word::HELD
            {
                return true;
            }
            if now_ns() >= deadline_ns {
                return false;
            }
            if round < AT_ONCE {
                yield_now();
            } else {
                pause();
            }
        }
        true
    }
}

#[cfg(not(any(loom, shuttle)))]
fn pause() {
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: PAUSE as _,
    };
    let call = [(&raw const time) as usize, 0, 0, 0, 0, 0];
    // SAFETY: the kernel reads one timespec. Where a sandbox forbids it we look again at once.
    unsafe { kernel::own_call(libc::SYS_nanosleep as usize, call) };
}

#[cfg(any(loom, shuttle))]
fn pause() {
    yield_now();
}

#[cfg(all(test, not(any(loom, shuttle, miri))))]
mod tests {
    use super::*;
    use crate::{Claim, Mode};

    #[test]
    fn only_calls_of_the_file_that_hold_something_are_waited_for() {
        let name = format!("pagefence-under-way-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        let table = Table::attach(&name).unwrap();
        std::fs::remove_file(&path).unwrap();
        let (one, other) = (FileId { dev: 1, ino: 1 }, FileId { dev: 1, ino: 2 });
        let claim = Claim {
            file: one,
            first: 0,
            last: 9,
            mode: Mode::BufferedRead,
            atomic: false,
        };
        let slot = table.take_slot(1).unwrap();
        assert!(table.calls_end(one, 0));
        table.announce(slot, &claim);
        assert!(table.calls_end(other, 0));
        assert!(!table.calls_end(one, now_ns() + 2_000_000));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| table.calls_end(one, u64::MAX));
            std::thread::sleep(std::time::Duration::from_millis(5));
            assert!(!waits.is_finished());
            // Another call of the same thread is another call.
            table.release(slot);
            table.announce(slot, &claim);
            assert!(waits.join().unwrap());
        });
    }
}
