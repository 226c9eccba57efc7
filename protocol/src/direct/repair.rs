//! The repair (P9): what a direct write has written goes through the cache once more, whose old pages could not be dropped.

use lock_table::{Claim, Mode};

use crate::direct::Request;
use crate::direct::second::InHand;
use crate::direct::writeback::owe;
use crate::hold::attempt::Held;
use crate::hold::call;
use crate::hold::extents::beside;
use crate::hold::ranges::{self, Got};
use crate::tell::counters::{self, Counter};
use crate::tell::events::Kind;
use crate::what::hands;
use crate::what::seconds::For;
use crate::who::thread::Frame;

/// What a direct write has written is to be written once more, through the cache.
pub struct Again<'a> {
    second: InHand<'a>,
    n: isize,
    errno: i32,
    reason: &'static str,
}

impl<'a> Again<'a> {
    pub fn of(second: InHand<'a>, n: isize, errno: i32, reason: &'static str) -> Again<'a> {
        Again {
            second,
            n,
            errno,
            reason,
        }
    }
}

impl<'a> Again<'a> {
    /// The same by the descriptor that goes through the cache, for a write that the policy took past it. Err: what the
    /// call returns, because there is none.
    pub fn through_cache(self, request: &'a Request<'_>) -> Result<Again<'a>, isize> {
        self.second.done();
        match request.second(For::Writing) {
            Some(second) => Ok(Again::of(second, self.n, self.errno, self.reason)),
            None => {
                request.told(Kind::InvalidateFailed, CANT_BE_WRITTEN_AGAIN, "reported");
                Err(self.n)
            }
        }
    }
}

const CANT_BE_WRITTEN_AGAIN: &str =
    "what a direct write wrote can't be written again through the cache";

impl Request<'_> {
    /// What a direct write has written, once more through the cache.
    #[cold]
    #[inline(never)]
    pub fn written_again(&self, again: &Again<'_>) -> isize {
        if self.size().is_none() {
            return self.went_elsewhere(again);
        }
        counters::count(Counter::FallbackInvalidation, 1);
        self.told(Kind::Fallback, again.reason, "buffered");
        let beside = self.hold_neighbours();
        let n = self.through_cache_too(&again.second, again.n);
        // The last one first, as calls end: a signal handler's would begin in the place of the one that has ended.
        for frame in beside.into_iter().flatten().rev() {
            call::end(self.thread, frame);
        }
        hands::let_go(self.frame);
        if n >= 0 {
            kernel::set_errno(again.errno);
        }
        n
    }

    /// The number stands for another file, and so did the write. What could not be dropped of this one was somebody else's,
    /// whose fsync is owed the error.
    fn went_elsewhere(&self, again: &Again<'_>) -> isize {
        owe(self.file(), -libc::EIO as kernel::Raw);
        hands::let_go(self.frame);
        if again.n >= 0 {
            kernel::set_errno(again.errno);
        }
        again.n
    }

    /// Apart from its caller, below which a wait goes deep.
    #[inline(never)]
    fn through_cache_too(&self, second: &InHand, n: isize) -> isize {
        let written = n as u64;
        let again = self.through_cache(second, written, || self.write_again(second, written));
        if kernel::is_writeback_error(again) {
            return kernel::libc_result(again);
        }
        if again < 0 {
            // The data is written, whatever became of our own call: no error of the program's.
            self.told(Kind::InvalidateFailed, CANT_BE_WRITTEN_AGAIN, "reported");
            return n;
        }
        second.act(|fd| kernel::drop_pages(fd, self.position, written));
        n
    }

    /// The rest of the units that the pages of this write lie in: the folios that its second writing
    /// dirties may reach into them (P9). Without them (a deadlock, a timeout) the repair goes on all the same.
    #[inline(always)]
    fn hold_neighbours(&self) -> [Option<&Frame>; 2] {
        if self.under.held != Held::Pages {
            return [None; 2];
        }
        let [below, above] = beside(self.position, self.last());
        [self.hold_beside(below), self.hold_beside(above)]
    }

    fn hold_beside(&self, range: Option<(u64, u64)>) -> Option<&Frame> {
        let (from, to) = range?;
        // A write beyond the end holds everything from the end's unit on.
        if self.under.holds.0 <= from && to <= self.under.holds.1 {
            return None;
        }
        let frame = call::begin_within(self.thread)?;
        let claim = self.terms.claim(Mode::DirectWrite, from, to);
        if self.is_of_a_context() {
            self.hold_soon(frame, &claim);
        } else {
            let _ = ranges::take(self.thread, frame, self.terms, &claim, self.may_not_wait());
        }
        Some(frame)
    }

    /// A request whose completion is on its way, or that is made at its submission. Who holds the neighbours may be another
    /// one that is settled at the same time, and wants this one's place; neither is a thread's, so nobody would see that
    /// they wait for each other. And above the second kind less of the stack is left.
    fn is_of_a_context(&self) -> bool {
        let uses = |frame: &Frame| frame.context.get() != 0;
        self.thread.settles.get() || self.thread.frames.iter().any(uses)
    }

    #[cold]
    #[inline(never)]
    fn hold_soon(&self, frame: &Frame, claim: &Claim) {
        const TRIES: u32 = 20;
        for _ in 0..TRIES {
            let got = ranges::take(self.thread, frame, self.terms, claim, true);
            if got != Got::Refused(libc::EAGAIN) {
                break;
            }
            kernel::sleep_ms(1);
        }
    }
}
