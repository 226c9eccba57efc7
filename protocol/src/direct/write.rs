//! A direct write: which way it goes, and where it goes past the cache of a file in mixed use, the look before and after.

use core::sync::atomic::Ordering::*;

use policy::OnInvalidateFailure;

use crate::direct::repair::Again;
use crate::direct::second::InHand;
use crate::direct::writeback::{is_being_looked_at, look, owe};
use crate::direct::{Outcome, Request};
use crate::hold::beyond::leaves_a_tail;
use crate::tell::counters::{self, Counter};
use crate::tell::events::Kind;
use crate::what::file::LOOKED_AT;
use crate::what::seconds::For;
use crate::what::storage::LAYERED;

/// Which way a direct write goes.
pub enum Way<'a> {
    Refused(i32),
    ThroughCache,
    /// Through the cache by the program's own descriptor: there is no second one.
    WithoutSecond,
    Directly,
    /// Directly, with a look before and after.
    Looked(InHand<'a>),
}

impl Request<'_> {
    /// `Err`: it is made, and [`written_again`](Self::written_again) follows. That waits for others, with a deep stack
    /// below it, which this has none of.
    #[inline(never)]
    pub fn write(&self, real: &dyn Fn() -> isize) -> Result<Outcome, Again<'_>> {
        Ok(match self.way_to_write() {
            Way::Refused(error) => Outcome::Done(kernel::libc_result(-(error as isize))),
            Way::ThroughCache => self.write_buffered(real),
            Way::WithoutSecond => self.without_second(real),
            Way::Directly => {
                counters::count(Counter::DirectWritesDirect, 1);
                Outcome::Done(real())
            }
            Way::Looked(second) => match self.before(&second) {
                Some(epoch) => Outcome::Done(self.after(second, epoch, real())?),
                // Where nobody lets us look, the cache mustn't be gone past.
                None => {
                    second.done();
                    self.write_buffered(real)
                }
            },
        })
    }

    #[inline(always)]
    pub fn way_to_write(&self) -> Way<'_> {
        let file = self.file();
        if self.may_not_wait() && file.is_mixed() && is_being_looked_at(file) {
            return Way::Refused(libc::EAGAIN);
        }
        if self.is_mapped_writable() {
            return Way::ThroughCache;
        }
        // Also where all use is direct now: who had it mapped may have left something there. One that needed no look ends
        // within the file.
        let has_a_tail = |size| leaves_a_tail(self.position, size) && !self.is_atomic();
        if self.under.size.is_some_and(has_a_tail) {
            return Way::ThroughCache;
        }
        // Nobody uses the page cache of this file: nothing can be stale in it (P10).
        if !file.is_mixed() {
            return Way::Directly;
        }
        if file.has(LAYERED) {
            return Way::ThroughCache;
        }
        match self.second(For::Writing) {
            Some(second) => Way::Looked(second),
            None => Way::WithoutSecond,
        }
    }

    /// Before the real write: what [`after`](Self::after) compares with. None: the kernel doesn't let us look at the
    /// writeback error.
    #[inline(always)]
    pub fn before(&self, second: &InHand) -> Option<u32> {
        let file = self.file();
        match file.has(LOOKED_AT) && self.may_be_written_again() {
            // The look afterwards may be told of an error from before, and the bytes are written again for nothing (P8).
            true => Some(file.error_epoch.load(Acquire)),
            false => self.look_before(second),
        }
    }

    /// An error from before is not this write's: it belongs to the program's next fsync (P8).
    #[inline(never)]
    fn look_before(&self, second: &InHand) -> Option<u32> {
        let (before, epoch) = look(second, self.position, self.under.len)?;
        owe(self.file(), before);
        self.file().mark(LOOKED_AT);
        Some(epoch)
    }

    /// Whether what can't be dropped is: then to do so for nothing does no harm.
    fn may_be_written_again(&self) -> bool {
        self.file().settings().on_invalidate_failure() == OnInvalidateFailure::Buffered
    }

    /// After the real write, which said `n`, and errno: what the call returns, or what is to be written again.
    #[inline(always)]
    pub fn after<'a>(&self, second: InHand<'a>, epoch: u32, n: isize) -> Result<isize, Again<'a>> {
        let errno = kernel::errno();
        counters::count(Counter::DirectWritesDirect, 1);
        let (fresh, n) = match look(&second, self.position, self.under.len) {
            Some((after, now)) if after >= 0 && now == epoch => (true, n),
            Some((error, _)) => match self.not_dropped(n, error) {
                Some(n) => (false, n),
                None => return Err(Again::of(second, n, errno, "invalidation failed")),
            },
            // A sandbox came in between: nobody knows, so as if they couldn't be dropped, and no more is said.
            None if n <= 0 || self.has_lost_its_place(n) => (true, self.goes_unseen(n)),
            None => {
                let n = self.goes_unseen(n);
                return Err(Again::of(second, n, errno, "no look is allowed"));
            }
        };
        second.done();
        if n >= 0 || fresh {
            // A success leaves errno alone, as the kernel does.
            kernel::set_errno(errno);
        }
        Ok(n)
    }

    /// The next write asks beforehand again.
    #[cold]
    fn goes_unseen(&self, n: isize) -> isize {
        self.file().flags.fetch_and(!LOOKED_AT, AcqRel);
        n
    }

    /// The page cache may hold old bytes over what was written. Never flush: that would write them
    /// over the new ones (P9). None: write the same bytes again, through the cache. Otherwise, what the call returns.
    #[cold]
    #[inline(never)]
    fn not_dropped(&self, n: isize, error: kernel::Raw) -> Option<isize> {
        if self.may_be_written_again() {
            // Perhaps it is from before. If not, the kernel tells the program's fsync, too, that a page was not dropped.
            owe(self.file(), error);
        }
        let policy = self.file().settings().on_invalidate_failure();
        let lost = self.has_lost_its_place(n);
        let done = match policy {
            OnInvalidateFailure::Buffered if lost => "reported: the end of the file has moved",
            OnInvalidateFailure::Buffered => "written again, buffered",
            OnInvalidateFailure::Warn => "reported",
            OnInvalidateFailure::Error => "EIO",
        };
        let what = "pages could not be dropped after a direct write";
        self.told(Kind::InvalidateFailed, what, done);
        match policy {
            OnInvalidateFailure::Warn => Some(n),
            OnInvalidateFailure::Error => Some(kernel::libc_result(-libc::EIO as isize)),
            OnInvalidateFailure::Buffered if n <= 0 || lost => Some(n),
            OnInvalidateFailure::Buffered => None,
        }
    }
}
