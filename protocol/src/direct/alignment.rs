//! What direct I/O is to be aligned to, and who decides it. What a file says (`statx`) it always grants. Of the rest
//! the kernel grants some: a buffer at any address whose pieces don't cross a page, a length whose end lies past the end
//! of the file. So it is asked: such a request is made directly first, and what it grants is done through the cache,
//! too, where mappings see it. The range is held meanwhile, and the cache is the truth of it: what the kernel writes
//! back for the direct call is not older than what is on the device.

use core::sync::atomic::Ordering::Relaxed;

use kernel as raw;
use lock_table::summary::Counter;

use crate::direct::second::InHand;
use crate::direct::writeback::owe;
use crate::direct::{Outcome, Request, TAKEN_OFF};
use crate::tell::counters;
use crate::tell::events::Kind;
use crate::what::data::Position;
use crate::what::file::{BLOCK_DEVICE, File};
use crate::what::places;

/// What direct I/O must be aligned to; 1: nothing is asked.
#[derive(Clone, Copy)]
pub struct Alignment {
    pub memory: u64,
    pub offset: u64,
}

pub fn alignment(file: &File, fd: i32) -> Alignment {
    let known = file.alignment.load(Relaxed);
    if known != 0 {
        return Alignment {
            memory: known >> 32,
            offset: known & 0xffff_ffff,
        };
    }
    const USUAL: (u32, u32) = (512, 512);
    const EXT4: i64 = 0xef53;
    const XFS: i64 = 0x5846_5342;
    let (memory, offset) = match raw::direct_alignment(fd) {
        Ok(Some(said)) => said,
        _ if file.has(BLOCK_DEVICE) => USUAL,
        Ok(None) => (1, 1),
        // An old kernel, or a filter that refuses statx.
        Err(_) if matches!(raw::filesystem_magic(fd), Some(EXT4 | XFS)) => USUAL,
        Err(_) => (1, 1),
    };
    let packed = u64::from(memory) << 32 | u64::from(offset);
    file.alignment.store(packed, Relaxed);
    Alignment {
        memory: memory.into(),
        offset: offset.into(),
    }
}

impl Request<'_> {
    /// Whether the kernel grants this place and these buffers for certain.
    #[inline(never)]
    pub fn is_aligned(&self) -> bool {
        let align = alignment(self.file(), self.call.fd);
        let off = |value: u64, to: u64| to > 1 && !value.is_multiple_of(to);
        let apart =
            |base: u64, len: usize| off(base, align.memory) || off(len as u64, align.memory);
        !off(self.position, align.offset)
            && !off(self.under.len, align.offset)
            && !self.asked_place().is_some_and(|at| off(at, align.offset))
            && !self
                .call
                .data
                .any_element(|base, len| apart(base as u64, len))
    }

    /// Where an append would begin if it were none: XFS looks at that, too.
    pub fn asked_place(&self) -> Option<u64> {
        match self.call.at {
            _ if !self.append => None,
            Position::At(offset) => Some(offset as u64),
            Position::Offset => u64::try_from(raw::lseek(self.call.fd, 0, libc::SEEK_CUR)).ok(),
        }
    }

    /// The program's own direct read.
    pub fn read_direct(&self, real: &dyn Fn() -> isize) -> isize {
        places::pin_buffers(self.frame, &self.call.data);
        real()
    }

    /// The kernel's word on a write, by doing it; what it has granted, once more through the cache.
    pub fn write_both_ways(&self, second: &InHand, real: &dyn Fn() -> isize) -> Outcome {
        let n = real();
        let Ok(written @ 1..) = u64::try_from(n) else {
            return Outcome::Done(n);
        };
        let errno = raw::errno();
        self.has_landed(written);
        counters::count(Counter::FallbackMapped, 1);
        self.told(Kind::Fallback, "mapped", "buffered");
        let again = self.through_cache(second, written, || self.write_again(second, written));
        if raw::is_writeback_error(again) {
            return Outcome::Done(raw::libc_result(again));
        }
        raw::set_errno(errno);
        Outcome::Done(n)
    }

    /// The same without a second descriptor: through the program's own, while nobody else is in the file.
    pub fn both_ways_alone(&self, real: &dyn Fn() -> isize) -> Outcome {
        let n = self.read_direct(real);
        let Ok(moved @ 1..) = u64::try_from(n) else {
            return Outcome::Done(n);
        };
        let (fd, errno) = (self.call.fd, raw::errno());
        let without = (self.flags ^ TAKEN_OFF) & !(libc::O_APPEND as u32);
        // A handler that jumped out in between would leave the program without its flags.
        let signals = raw::block_signals();
        if raw::set_flags(fd, without) < 0 {
            let what = "O_DIRECT can't be taken off the descriptor";
            self.told(Kind::Uncovered, what, "passed through");
            raw::restore_signals(signals);
            return Outcome::Done(n);
        }
        counters::count(Counter::FallbackDegraded, 1);
        self.told(Kind::Fallback, "no second descriptor", "buffered");
        if self.call.write {
            self.has_landed(moved);
            self.write_each(moved, &|base, len, at| {
                raw::move_at(true, fd, base, len, at)
            });
            owe(self.file(), self.sync_range(fd, moved));
        } else {
            self.call.data.move_at(false, fd, self.position, 0);
        }
        raw::set_flags(fd, self.flags);
        raw::restore_signals(signals);
        raw::set_errno(errno);
        Outcome::Done(n)
    }
}
