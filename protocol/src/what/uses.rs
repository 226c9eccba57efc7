//! How this process uses a file, as the lock table's register knows it, and what is said when that changes.

use core::sync::atomic::Ordering::*;

use kernel::errors;
use lock_table::{FileId, USE_BUFFERED, USE_DIRECT, USE_OBSERVE, USE_RANGES, UseEntry};

use crate::tell::events::{self, Event, Kind};
use crate::tell::told::{Once, first_time};
use crate::what::descriptions::use_of;
use crate::what::file::{
    File, LASTS_BUFFERED, LASTS_DIRECT, MIXED_TOLD, NAMES_TOLD, OTHER_NAMES, STREAMED, UNREGISTERED,
};
use crate::what::storage::SHARED_WITH_OTHERS;
use crate::who::registry::{self, Registry};
use crate::who::{due, process};

/// For how many calls that take ranges it stands that the process relies on everybody's.
const LASTS: u32 = 64;

impl File {
    /// This process now uses the file in the mode of `bits` as well.
    pub fn add_use(&self, index: u32, bits: u32, fd: i32) {
        let bits = bits & (USE_BUFFERED | USE_DIRECT | USE_RANGES);
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

    /// A description with these flags comes or goes. Under the registry lock.
    pub(super) fn counts(&self, flags: u32, change: i32) {
        if use_of(flags) == USE_DIRECT {
            self.direct.fetch_add(change as u32, AcqRel); // it wraps
        }
    }

    /// What this process does not use the file for any more: what counts are descriptions, mappings that are followed, and
    /// what lasts.
    fn unused(&self) -> u32 {
        let (all, direct) = (self.descriptions.load(Acquire), self.direct.load(Acquire));
        let is_mapped = self.refs.load(Acquire) > all;
        let mut unused = 0;
        if self.beginning.load(Acquire) != 0 {
            return 0;
        }
        if direct == 0 && !self.has(LASTS_DIRECT) {
            unused |= USE_DIRECT;
        }
        if direct == all && !is_mapped && !self.has(LASTS_BUFFERED) {
            unused |= USE_BUFFERED;
        }
        self.bits.load(Acquire) & unused
    }

    /// Something of the file has gone: perhaps the last one of a mode.
    pub fn end_uses(&self, _: &Registry) {
        let ended = self.unused();
        if ended == 0 {
            return;
        }
        // First here, so that who relies on the bit says it anew; he does it under the registry lock.
        self.bits.fetch_and(!ended, AcqRel);
        if let (Some(table), Some(entry)) = (process::table(), self.use_entry()) {
            table.use_remove(entry, ended);
        }
        self.quiet.store(0, Relaxed);
    }

    /// A use whose end nobody follows: it lasts as long as the process knows the file.
    pub fn add_lasting_use(&self, index: u32, bits: u32, fd: i32) {
        let lasts = match bits {
            USE_DIRECT => LASTS_DIRECT,
            _ => LASTS_BUFFERED,
        };
        if self.has(lasts) && self.bits.load(Acquire) & bits == bits {
            return;
        }
        let _registry = registry::lock();
        self.mark(lasts);
        self.add_use(index, bits, fd);
    }

    /// A use is about to begin that counts by itself only later: until [`has_begun`](Self::has_begun) none ends.
    pub fn begins(&self, index: u32, bits: u32, fd: i32) {
        let _registry = registry::lock();
        self.beginning.fetch_add(1, AcqRel);
        self.add_use(index, bits, fd);
    }

    pub fn has_begun(&self) {
        let registry = registry::lock();
        self.beginning.fetch_sub(1, AcqRel);
        self.end_uses(&registry);
    }

    /// A description that other processes share is about to be turned to the other mode, which they don't see: from now on
    /// they count as using both, for as long as they use the file.
    pub fn turns_for_others(&self) {
        if let (Some(table), Some(entry)) = (process::table(), self.use_entry()) {
            table.use_turns(entry);
            pass_a_barrier();
        }
    }

    /// This process relies on it that everybody's calls on the file take ranges, also while all use is direct. Before it
    /// takes its own, under which it asks [`is_relied_on`](Self::is_relied_on).
    #[inline(never)]
    pub fn rely_on_ranges(&self, index: u32, fd: i32) {
        if !self.is_mixed() {
            self.quiet.store(LASTS, Relaxed);
        }
        if !self.is_relied_on() {
            self.say_relied_on(index, fd);
        }
    }

    /// Apart from calls that wait, and from their frames.
    #[cold]
    #[inline(never)]
    fn say_relied_on(&self, index: u32, fd: i32) {
        // One at a time says it or takes it back.
        let _registry = registry::lock();
        self.add_use(index, USE_RANGES, fd);
    }

    /// Whether it is known to everybody.
    pub fn is_relied_on(&self) -> bool {
        self.bits.load(Acquire) & USE_RANGES != 0
    }

    fn after_use(&self, index: u32, own: u32, others: &lock_table::Others, new: u32, fd: i32) {
        let all = own | others.bits;
        if new & USE_DIRECT != 0 {
            due::direct_use_begins();
        }
        // In a file that nobody uses directly nothing has changed for anybody.
        if all & USE_DIRECT != 0 {
            pass_a_barrier();
        }
        if all & USE_DIRECT != 0 {
            self.tell_of_other_names(fd);
            self.tell_of_other_hosts(fd);
        }
        if (own ^ others.bits) & USE_OBSERVE != 0
            && others.bits != 0
            && self.is_news(errors::OBSERVED_AND_ENFORCED.what)
        {
            events::emit(&Event {
                fd,
                ..Event::of(Some(self.id()), &errors::OBSERVED_AND_ENFORCED)
            });
        }
        if all & USE_BUFFERED != 0 && all & USE_DIRECT != 0 && !self.mark(MIXED_TOLD) {
            // What the policy takes past the cache is nobody's mistake.
            if !self.settings().goes_past() {
                events::emit(&Event {
                    fd,
                    other: others.first,
                    ..Event::about(Kind::Mixed, Some(self.id()))
                });
            }
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
                        ..Event::of(Some(self.id()), &errors::USES_FULL)
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
            events::emit(&Event {
                fd,
                done: "reported",
                ..Event::of(Some(self.id()), &errors::OTHER_NAMES)
            });
        }
    }

    /// Somebody uses the file directly, so it is fenced: but not everybody may be. Once a process.
    fn tell_of_other_hosts(&self, fd: i32) {
        if self.has(SHARED_WITH_OTHERS) && first_time(Once::OtherHosts) {
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

/// This process is about to hold the whole of a file that it may not use otherwise, and relies on it that direct calls take
/// ranges. None: it needs no more.
#[inline(never)]
pub fn rely_for_a_while(id: FileId, observes: bool) -> Option<UseEntry> {
    let table = process::table().filter(|_| !observes)?;
    let Some((entry, others)) = table.use_register(id, USE_RANGES) else {
        events::emit(&Event::of(Some(id), &errors::USES_FULL));
        return None;
    };
    if others.bits & USE_DIRECT != 0 {
        pass_a_barrier();
    }
    Some(entry)
}

/// It has let go.
pub fn relied(entry: Option<UseEntry>) {
    if let (Some(table), Some(entry)) = (process::table(), entry) {
        table.use_forget(entry);
    }
}

/// Whoever has announced himself by now is seen from now on (the lock table's I8).
fn pass_a_barrier() {
    if !kernel::membarrier() {
        // Nobody can be made to look: give stores in flight elsewhere time to land.
        kernel::sleep_ms(2);
    }
}
