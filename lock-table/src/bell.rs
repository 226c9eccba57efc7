//! Bells. A thread lets go of what it holds when its call is over. What an asynchronous request holds its owner lets go
//! when he comes round to it, which may be never: so who waits for it rings.

use core::sync::atomic::Ordering::Release;

use crate::Table;
use crate::primitive::AtomicU32;
use crate::reading::Found;
use crate::slots::word;

impl Table {
    /// This process's bell, if it is registered: a word that goes up whenever somebody is about to sleep until a request
    /// of this process lets go, and that is then woken. For a thread that sleeps on it (a futex that isn't private: the
    /// others are other processes) and looks after the requests that are complete.
    ///
    /// It reads the word (acquire), looks, and sleeps only while the word is what it read: so it hears every ring (I13).
    /// One who waits on rings again at least every 50 ms. So who has found nothing to let go watches what is under way for
    /// that long after a ring, and nobody hears anything while nobody waits. Anybody who may write the table may ring, and
    /// some ring in vain: a ring is a hint to look. After a fork the child has another bell.
    pub fn bell(&self) -> Option<&AtomicU32> {
        let process = self.mem.process(self.me()?)?;
        Some(&process.bell)
    }

    /// I13: we are about to sleep on this one, and our place in the queue stands. A thread is not called, nor the owner
    /// of a request that still waits itself: when it has got its range it wakes who sleeps on it, to ring.
    pub(crate) fn ring(&self, by: &Found) {
        if by.thread == 0 && by.word & word::STATE == word::HELD {
            self.call(by.owner);
        }
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn call(&self, owner: u32) {
        // The number may be anything in a table that was written over.
        let Some(process) = self.mem.process(owner) else {
            return;
        };
        // Release: who hears it finds us in the queue.
        process.bell.fetch_add(1, Release);
        process.bell.wake();
    }
}
