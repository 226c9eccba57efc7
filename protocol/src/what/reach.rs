//! How far a file reaches at least, as far as this process knows: so a write that ends before that is in the file, and needs
//! no look. It stands in the process's entry in the lock table's register of uses, where whoever cuts the file off lowers
//! it (the lock table's I15).
//!
//! Who cuts off a file of one mode holds nothing, but lowers it, too. One of these may be under way when the file becomes
//! mixed, and not be seen yet by who takes the first ranges. So nothing is believed to be further until every processor has
//! passed a barrier since: then whoever takes a range sees him, and waits.

use core::sync::atomic::Ordering::*;

use crate::what::file::File;
use crate::who::process;

impl File {
    /// So far, at least. Asked under a range, it holds up to the range's end.
    #[inline]
    pub fn reaches(&self) -> u64 {
        if self.is_block_device() {
            return u64::MAX;
        }
        match (process::table(), self.use_entry()) {
            (Some(table), Some(entry)) => table.use_reaches(entry),
            _ => 0,
        }
    }

    /// Whether what is seen of its length under a range that is taken from now on may be kept.
    #[inline(never)]
    pub fn may_be_seen(&self) -> bool {
        let (Some(table), Some(entry)) = (process::table(), self.use_entry()) else {
            return false;
        };
        let mixture = table.use_mixture(entry);
        if mixture != 0 && self.settled.load(Relaxed) != mixture && kernel::membarrier() {
            self.settled.store(mixture, Relaxed);
        }
        mixture != 0 && self.settled.load(Relaxed) == mixture
    }

    /// It had this size under a range up to this byte, which is held.
    pub fn was_seen(&self, size: u64, last: u64) {
        if let (Some(table), Some(entry)) = (process::table(), self.use_entry()) {
            table.use_reaches_to(entry, size.min(last.saturating_add(1)));
        }
    }

    /// It may be cut off there in a moment.
    pub fn is_cut_off(&self, from: u64) {
        if let Some(table) = process::table() {
            table.use_cut_off(self.id(), from);
        }
    }
}
