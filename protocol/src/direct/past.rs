//! `route = "direct"`: what a program that knows no `O_DIRECT` reads and writes goes past the page cache, by a second
//! descriptor that has it. The program's own has not, so who inherits it, fenced or not, and all calls that aren't fenced find
//! an ordinary one.
//!
//! Under its range such a request is a direct one, and all that is done for those is done for it (P1 to P9), but that its
//! fall back is the program's own call. That one is made, too, for all that can't be done past the cache, or failed there:
//! so the errors are its errors. What a write changes of its first and last block only is read, changed and written, under
//! the range, whose pages are wider than a block. Where its last block reaches beyond the end of the file, that part goes
//! through the cache: past it the file would be longer for a moment, and for good if the process is killed then.

use core::cell::Cell;

use lock_table::page;

use crate::direct::possible::blocks;
use crate::direct::repair::Again;
use crate::direct::second::{self, InHand};
use crate::direct::{Outcome, Request};
use crate::hold::attempt::Held;
use crate::hold::beyond::leaves_a_tail;
use crate::tell::counters::{self, Counter};
use crate::what::file::BLOCK_DEVICE;
use crate::what::seconds::For;
use crate::what::storage::LAYERED;

/// What may be asked for past the cache, too. Of all else the kernel is asked.
const KNOWN_TO_READ: i32 = libc::RWF_HIPRI;
const KNOWN_TO_WRITE: i32 = libc::RWF_HIPRI | libc::RWF_DSYNC | libc::RWF_SYNC | libc::RWF_APPEND;

/// Which part of a write goes past the cache, in whole blocks: all of it, or all but its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub from: u64,
    pub to: u64,
    /// One past the last byte of the write.
    pub end: u64,
}

impl Part {
    /// Of a write in a file of this size. None: no block of it.
    pub fn of(position: u64, len: u64, size: u64, block: u64) -> Option<Part> {
        let end = position.checked_add(len)?;
        let to = match end.checked_next_multiple_of(block)? {
            whole if whole == end || whole <= size => whole,
            // To a page, so that many small writes in a row end in a block that isn't written again and again.
            _ => end / page() * page(),
        };
        let from = position / block * block;
        (to > position).then_some(Part { from, to, end })
    }

    pub fn has_a_tail(&self) -> bool {
        self.end > self.to
    }
}

impl<'a> Request<'a> {
    /// Whether the program has not asked for what is done for it here.
    pub fn is_taken_past(&self) -> bool {
        self.flags & libc::O_DIRECT as u32 == 0
    }

    #[inline(never)]
    pub fn read_past(&self, real: &dyn Fn() -> isize) -> Outcome {
        let known = self.call.flags & !KNOWN_TO_READ == 0;
        if !known || self.is_mapped_writable() {
            return Outcome::Done(real());
        }
        let Some(size) = self.size() else {
            return Outcome::Replaced;
        };
        if self.position >= size {
            return Outcome::Done(real());
        }
        let file = self.file();
        let second = second::borrow(self.frame, file, self.call.fd, For::ReadingPast);
        let Some(second) = second else {
            return Outcome::Done(real());
        };
        let n = match self.leaves_traces_alike(&second) {
            true => self.read_blocks(&second),
            false => None,
        };
        second.done();
        match n {
            Some(n) => {
                counters::count(Counter::DirectReadsDirect, 1);
                Outcome::Done(self.advance(n as kernel::Raw))
            }
            None => Outcome::Done(real()),
        }
    }

    /// Whether a read by the second descriptor notes when the file was read, as the program's own does.
    fn leaves_traces_alike(&self, second: &InHand) -> bool {
        let flags = second.act(|fd| kernel::get_flags(fd).map_or(0, |flags| flags as isize));
        (flags as u32 ^ self.flags) & libc::O_NOATIME as u32 == 0
    }

    /// `Err`: as of [`write`](Self::write). `stays`: it has been tried, and goes through the cache.
    #[inline(never)]
    pub fn write_past(
        &self,
        real: &dyn Fn() -> isize,
        stays: &Cell<bool>,
    ) -> Result<Outcome, Again<'_>> {
        let part = match stays.get() || self.must_stay() {
            true => None,
            false => self.part(),
        };
        let Some(part) = part else {
            return Ok(self.stay(real));
        };
        if part.has_a_tail() && self.under.held == Held::Pages {
            return Ok(Outcome::Needs(Held::Units));
        }
        let (file, fd) = (self.file(), self.call.fd);
        let Some(second) = second::borrow(self.frame, file, fd, For::WritingPast) else {
            return Ok(self.stay(real));
        };
        let epoch = match file.is_mixed() {
            true => self.before(&second),
            false => Some(0),
        };
        let done = epoch.map_or(0, |_| self.write_blocks(&second, &part));
        let (Some(epoch), 1..) = (epoch, done) else {
            second.done();
            stays.set(true);
            return Ok(self.stay(real));
        };
        self.looked_at(second, epoch, done as isize)
    }

    fn looked_at(&self, second: InHand<'a>, epoch: u32, n: isize) -> Result<Outcome, Again<'_>> {
        if !self.file().is_mixed() {
            second.done();
            counters::count(Counter::DirectWritesDirect, 1);
            return Ok(Outcome::Done(self.advance(n)));
        }
        match self.after(second, epoch, n) {
            Ok(n) => Ok(Outcome::Done(self.advance(n))),
            Err(again) => match again.through_cache(self) {
                Ok(again) => Err(again),
                Err(n) => Ok(Outcome::Done(self.advance(n))),
            },
        }
    }

    /// The program's own call. It may dirty a folio as wide as a unit.
    fn stay(&self, real: &dyn Fn() -> isize) -> Outcome {
        match self.under.held {
            Held::Pages => Outcome::Needs(Held::Units),
            Held::Units | Held::WholeFile => Outcome::Done(real()),
        }
    }

    fn must_stay(&self) -> bool {
        let file = self.file();
        let end = self.position.saturating_add(self.under.len);
        // The kernel says so itself, and cuts the write or sends a signal.
        let is_limited = || !file.has(BLOCK_DEVICE) && end > kernel::file_size_limit();
        self.call.flags & !KNOWN_TO_WRITE != 0
            || self.is_mapped_writable()
            || file.has(LAYERED)
            || self
                .size()
                .is_none_or(|size| leaves_a_tail(self.position, size))
            || is_limited()
    }

    fn part(&self) -> Option<Part> {
        let block = blocks(self.file(), self.call.fd).offset;
        Part::of(self.position, self.under.len, self.size()?, block)
    }

    /// `O_DSYNC` and `O_SYNC`, which the second descriptor has not.
    pub fn syncs(&self) -> i32 {
        let flags = self.flags as i32;
        let asked = self.call.flags & (libc::RWF_DSYNC | libc::RWF_SYNC);
        match (flags & libc::O_SYNC == libc::O_SYNC, flags & libc::O_DSYNC) {
            (true, _) => asked | libc::RWF_SYNC,
            (false, 0) => asked,
            (false, _) => asked | libc::RWF_DSYNC,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(position: u64, len: u64, size: u64, block: u64) -> Option<(u64, u64)> {
        Part::of(position, len, size, block).map(|p| (p.from, p.to))
    }

    #[test]
    fn whole_blocks_go_past_the_cache() {
        assert_eq!(part(512, 1024, 0, 512), Some((512, 1536)));
        assert_eq!(part(0, 4096, 1 << 20, 4096), Some((0, 4096)));
    }

    #[test]
    fn within_the_file_its_edges_do_too() {
        assert_eq!(part(100, 50, 1 << 20, 512), Some((0, 512)));
        assert_eq!(part(500, 100, 1 << 20, 512), Some((0, 1024)));
        // The file ends where the block does.
        assert_eq!(part(5000, 100, 8192, 4096), Some((4096, 8192)));
    }

    #[test]
    fn what_ends_in_the_last_block_never_makes_the_file_longer() {
        assert_eq!(part(0, 100, 100, 512), None);
        assert_eq!(part(0, 10_000, 0, 512), Some((0, 8192)));
        assert_eq!(part(8000, 2000, 8000, 512), Some((7680, 8192)));
        assert_eq!(part(8200, 2000, 8200, 512), None);
        for size in [0, 1, 4095, 4096, 10_000] {
            for end in 1..20_000 {
                let position = end / 3;
                if let Some(p) = Part::of(position, end - position, size, 512) {
                    assert!(p.to <= end || p.to <= size, "{p:?} {size}");
                    assert!(p.from % 512 == 0 && p.to % 512 == 0 && p.from <= position);
                    assert!(p.to >= end || end - p.to < page());
                }
            }
        }
    }

    #[test]
    fn what_no_file_can_hold_is_for_the_kernel_to_refuse() {
        assert_eq!(part(u64::MAX - 5, 100, 0, 512), None);
        assert_eq!(part(u64::MAX - 5, 5, u64::MAX, 512), None);
    }
}
