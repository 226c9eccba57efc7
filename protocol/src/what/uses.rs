//! How this process uses a file, as the lock table's register knows it, and what is said when that changes.

use core::sync::atomic::{AtomicBool, Ordering::*};

use kernel as raw;
use lock_table::{USE_BUFFERED, USE_DIRECT, USE_OBSERVE};

use crate::tell::events::{self, Event, Kind};
use crate::what::file::{File, MIXED_TOLD, NAMES_TOLD, OTHER_NAMES, STREAMED, UNREGISTERED};
use crate::what::storage::SHARED_WITH_OTHERS;
use crate::who::{due, process};

impl File {
    /// This process now uses the file in the mode of `bits` as well.
    pub fn add_use(&self, index: u32, bits: u32, fd: i32) {
        let bits = bits & (USE_BUFFERED | USE_DIRECT);
        if self.bits.load(Acquire) & bits == bits {
            return;
        }
        // First so that everybody knows, then so that this process does: who finds the bit here relies on it.
        let own = self.bits.load(Acquire) | bits;
        if let (Some(table), Some(entry)) = (process::table(), self.use_entry()) {
            let others = table.use_add(entry, bits);
            self.after_use(index, own, &others, bits, fd);
        }
        self.bits.fetch_or(bits, AcqRel);
    }

    fn after_use(&self, index: u32, own: u32, others: &lock_table::Others, new: u32, fd: i32) {
        if new & USE_DIRECT != 0 {
            due::direct_use_begins();
            if !raw::membarrier() {
                // Nobody can be made to look: give stores in flight elsewhere time to land.
                raw::sleep_ms(2);
            }
        }
        let all = own | others.bits;
        if all & USE_DIRECT != 0 {
            self.tell_of_other_names(fd);
            self.tell_of_other_hosts(fd);
        }
        let differ = "one process observes the file, another enforces it";
        if (own ^ others.bits) & USE_OBSERVE != 0 && others.bits != 0 && self.is_news(differ) {
            events::emit(&Event {
                fd,
                ..Event::uncovered(Some(self.id()), differ)
            });
        }
        if all & USE_BUFFERED != 0 && all & USE_DIRECT != 0 && !self.mark(MIXED_TOLD) {
            events::emit(&Event {
                fd,
                other: others.first,
                ..Event::about(Kind::Mixed, Some(self.id()))
            });
            if self.has(STREAMED) {
                self.tell_streamed(index, fd);
            }
        }
    }

    pub fn tell_streamed(&self, _index: u32, fd: i32) {
        let what = "stdio";
        if self.is_news(what) {
            events::emit(&Event {
                fd,
                ..Event::uncovered(Some(self.id()), what)
            });
        }
    }

    pub fn register_use(&self, index: u32, fd: i32) {
        if process::refuses() {
            return; // not in the table, and that has been told
        }
        let bits = self.bits.load(Acquire);
        let Some(table) = process::table() else {
            return;
        };
        match table.use_register(self.id(), bits) {
            Some((entry, others)) => {
                self.use_entry.store(entry.index() + 1, Release);
                if !process::reached_by_membarrier() {
                    table.use_force_locks(entry);
                }
                self.after_use(index, bits, &others, bits, fd);
                self.tell_unverified(table, index, fd);
            }
            None => {
                self.use_entry.store(0, Release);
                if !self.mark(UNREGISTERED) {
                    events::emit(&Event {
                        fd,
                        ..Event::uncovered(Some(self.id()), "the table's register of uses is full")
                    });
                }
            }
        }
    }
}

impl File {
    /// Direct writes whose process died before it could check them: told by the next opener. (Their
    /// bytes had not been promised yet, and nobody else could dirty the range meanwhile.)
    fn tell_unverified(&self, table: &lock_table::Table, _index: u32, fd: i32) {
        let mut any = false;
        table.unverified(self.id(), &mut |first, last| {
            any = true;
            let reason = "a direct write was killed before its check";
            events::emit(&Event {
                fd,
                range: Some((first, last)),
                mode: "direct_write",
                reason,
                done: "reported",
                ..Event::about(Kind::Reaped, Some(self.id()))
            });
        });
        if any {
            table.verified(self.id(), 0, u64::MAX);
        }
    }
}

impl File {
    /// Something uses the file directly, so what goes past the fence by another name is at risk: told once.
    fn tell_of_other_names(&self, fd: i32) {
        if self.has(OTHER_NAMES) && !self.mark(NAMES_TOLD) {
            let reason = "the file has other names (hard links), by which the policy may not fence it: write rules that \
                 say the same by all its names";
            events::emit(&Event {
                fd,
                done: "reported",
                ..Event::uncovered(Some(self.id()), reason)
            });
        }
    }

    /// Somebody uses the file directly, so it is fenced: but not everybody may be. Once a process.
    fn tell_of_other_hosts(&self, fd: i32) {
        static TOLD: AtomicBool = AtomicBool::new(false);
        if self.has(SHARED_WITH_OTHERS) && !TOLD.swap(true, AcqRel) {
            events::emit(&Event {
                fd,
                done: "fenced on this host only",
                ..Event::uncovered(
                    Some(self.id()),
                    "a network, cluster or user-space filesystem: other hosts and its server are not kept out",
                )
            });
        }
    }
}
