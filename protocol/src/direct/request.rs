//! Direct I/O under a held range: straight past the page cache where nobody can dirty it, checked
//! afterwards, or through the page cache: falling back.

use core::cell::Cell;

use kernel as raw;
use lock_table::summary::Counter;
use lock_table::{Claim, Mode, page, unit};
use policy::OnInvalidateFailure;

use crate::direct::second::{self, InHand};
use crate::direct::writeback::{is_being_looked_at, look, owe, seen};
use crate::hold::call;
use crate::hold::ranges::{self, Got, Terms};
use crate::tell::counters;
use crate::tell::events::{self, Event, Kind};
use crate::what::data::Transfer;
use crate::what::descriptors::Pinned;
use crate::what::file::{FELL_BACK_TOLD, File};
use crate::what::hands;
use crate::what::seconds::For;
use crate::what::storage::LAYERED;
use crate::who::process;
use crate::who::thread::{Frame, Thread};

/// What changes in a description while `O_DIRECT` is off it for one request, in one step: a mark that says so, on a
/// flag that means nothing to files. Who shares the description and outlives a kill in that moment puts it back.
pub const TAKEN_OFF: u32 = (libc::O_DIRECT | libc::O_NONBLOCK) as u32;

/// One direct request whose range is held.
pub struct Request<'a> {
    pub call: &'a Transfer,
    pub pinned: &'a Pinned,
    /// Where it begins.
    pub position: u64,
    /// The open flags, as they are now.
    pub flags: u32,
    /// The file offset is to move.
    pub moves_offset: bool,
    /// It goes to the end of the file, wherever that is when the kernel writes.
    pub append: bool,
    /// Where an append through the cache went (see `append`).
    pub landed: Cell<Option<u64>>,
    pub under: &'a Under,
    /// For ranges beside the one that is held.
    pub thread: &'a Thread,
    /// The call's own.
    pub frame: &'a Frame,
    pub terms: &'a Terms,
}

/// What holds under the range.
pub struct Under {
    /// The end of the file.
    pub size: u64,
    /// From where the kernel may touch pages on behalf of this write (it zeroes a partial last block).
    pub touches_from: u64,
    /// How many bytes are asked for.
    pub len: u64,
    /// How much is held beyond the pages of the range.
    pub held: Held,
    /// The first and last byte that are held.
    pub holds: (u64, u64),
}

/// How wide a range is held.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    Pages,
    /// Rounded out to units: a write through the cache may dirty a whole large folio (P6).
    Units,
    /// The whole file, and nobody else: `O_DIRECT` may be taken off the program's own descriptor.
    WholeFile,
}

/// The rest of the units that the pages of a range lie in, below and above it.
pub(crate) fn beside(first: u64, last: u64) -> [Option<(u64, u64)>; 2] {
    let (first, last) = (first / page() * page(), last | (page() - 1));
    let below = (first / unit() * unit(), first.wrapping_sub(1));
    let above = (last.wrapping_add(1), last | (unit() - 1));
    [below, above].map(|(from, to)| (from < to && to != u64::MAX).then_some((from, to)))
}

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

/// What came of it.
pub enum Outcome {
    /// As libc gives it, errno set.
    Done(isize),
    /// It can't be done safely with this range: hold more, then ask again.
    Needs(Held),
}

/// What a direct write has written is to be written once more, through the cache.
pub struct Again<'a> {
    second: InHand<'a>,
    n: isize,
    errno: i32,
    reason: &'static str,
}

impl<'a> Again<'a> {
    fn of(second: InHand<'a>, n: isize, errno: i32, reason: &'static str) -> Again<'a> {
        Again {
            second,
            n,
            errno,
            reason,
        }
    }
}

impl Request<'_> {
    pub fn file(&self) -> &File {
        self.pinned.file
    }

    fn last(&self) -> u64 {
        self.position
            .saturating_add(self.under.len.saturating_sub(1))
    }

    pub fn is_mapped_writable(&self) -> bool {
        let first = self.under.touches_from.min(self.position);
        process::table().is_some_and(|t| {
            t.mapped_writable(self.file().id(), first, self.last())
                .is_some()
        })
    }

    #[cold]
    #[inline(never)]
    pub fn told(&self, kind: Kind, reason: &'static str, done: &'static str) {
        // At the first of a file it is worth knowing that reads and writes of the device are none.
        let first = kind == Kind::Fallback && !self.file().mark(FELL_BACK_TOLD);
        let kind = if first { Kind::FirstFallback } else { kind };
        events::emit(&Event {
            fd: self.call.fd,
            range: Some((self.position, self.last())),
            mode: if self.call.write {
                "direct_write"
            } else {
                "direct_read"
            },
            reason,
            done,
            ..Event::about(kind, Some(self.file().id()))
        });
    }

    #[inline(never)]
    pub fn read(&self, real: &dyn Fn() -> isize) -> Outcome {
        // At the end there is nothing to read, however misaligned.
        if self.position >= self.under.size {
            return Outcome::Done(real());
        }
        if !self.is_mapped_writable() {
            counters::count(Counter::DirectReadsDirect, 1);
            return Outcome::Done(self.read_direct(real));
        }
        // First: without it the call begins anew, or does both ways by itself.
        let Some(second) = self.second(For::Reading) else {
            return self.without_second(real);
        };
        if !self.is_aligned() {
            let n = self.read_direct(real);
            if n <= 0 {
                second.done();
                return Outcome::Done(n);
            }
        }
        counters::count(Counter::FallbackMapped, 1);
        self.told(Kind::Fallback, "mapped", "buffered");
        let flags = self.flags_through_cache();
        let data = &self.call.data;
        let n = second.act(|fd| data.move_at(false, fd, self.position, flags));
        let n = match raw::is_refused(n) {
            true => n,
            false => self.as_direct(n, Some(&second)),
        };
        second.done();
        if n < 0 && self.moves_offset {
            // The kernel's word on alignment has moved it.
            raw::lseek(self.call.fd, self.position as i64, libc::SEEK_SET);
        }
        if raw::is_refused(n) {
            return self.without_second(real);
        }
        Outcome::Done(raw::libc_result(self.advance(n)))
    }

    /// `Err`: it is made, and [`written_again`](Self::written_again) follows. That waits for others, with a deep stack
    /// below it, which this has none of.
    #[inline(never)]
    pub fn write(&self, real: &dyn Fn() -> isize) -> Result<Outcome, Again<'_>> {
        Ok(match self.way_to_write() {
            Way::Refused(error) => Outcome::Done(raw::libc_result(-(error as isize))),
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

    pub fn way_to_write(&self) -> Way<'_> {
        let file = self.file();
        if self.may_not_wait() && file.is_mixed() && is_being_looked_at(file) {
            return Way::Refused(libc::EAGAIN);
        }
        if self.is_mapped_writable() {
            return Way::ThroughCache;
        }
        // Nobody uses the page cache of this file: nothing can be stale in it (P10).
        if !file.is_mixed() {
            return Way::Directly;
        }
        if file.has(LAYERED) || (self.leaves_a_tail() && !self.is_atomic()) {
            return Way::ThroughCache;
        }
        match self.second(For::Writing) {
            Some(second) => Way::Looked(second),
            None => Way::WithoutSecond,
        }
    }

    /// Before the real write: what [`after`](Self::after) compares with. None: the kernel doesn't let us look at the
    /// writeback error.
    pub fn before(&self, second: &InHand) -> Option<u32> {
        // An error from before is not this write's: it belongs to the program's next fsync (P8).
        let (before, epoch) = look(second, self.position, self.under.len)?;
        owe(self.file(), before);
        Some(epoch)
    }

    /// After the real write, which said `n`, and errno: what the call returns, or what is to be written again.
    pub fn after<'a>(&self, second: InHand<'a>, epoch: u32, n: isize) -> Result<isize, Again<'a>> {
        let errno = raw::errno();
        counters::count(Counter::DirectWritesDirect, 1);
        let (fresh, n) = match look(&second, self.position, self.under.len) {
            Some((after, now)) if after >= 0 && now == epoch => (true, n),
            Some(_) => match self.not_dropped(n) {
                Some(n) => (false, n),
                None => return Err(Again::of(second, n, errno, "invalidation failed")),
            },
            // A sandbox came in between: nobody knows, so as if they couldn't be dropped, and no more is said.
            None if n <= 0 || self.has_lost_its_place(n) => (true, n),
            None => return Err(Again::of(second, n, errno, "no look is allowed")),
        };
        second.done();
        if n >= 0 || fresh {
            // A success leaves errno alone, as the kernel does.
            raw::set_errno(errno);
        }
        Ok(n)
    }

    /// A second descriptor for falling back; None also where the program's offset couldn't be moved by hand.
    fn second(&self, purpose: For) -> Option<InHand<'_>> {
        if self.moves_offset && raw::lseek(self.call.fd, 0, libc::SEEK_CUR) < 0 {
            return None;
        }
        second::borrow(self.frame, self.file(), self.call.fd, purpose)
    }

    /// The page cache may hold old bytes over what was written. Never flush: that would write them
    /// over the new ones (P9). None: write the same bytes again, through the cache. Otherwise, what the call returns.
    #[cold]
    #[inline(never)]
    fn not_dropped(&self, n: isize) -> Option<isize> {
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
            OnInvalidateFailure::Error => Some(raw::libc_result(-libc::EIO as isize)),
            OnInvalidateFailure::Buffered if n <= 0 || lost => Some(n),
            OnInvalidateFailure::Buffered => None,
        }
    }

    /// What a direct write has written, once more through the cache.
    #[cold]
    #[inline(never)]
    pub fn written_again(&self, again: &Again<'_>) -> isize {
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
            raw::set_errno(again.errno);
        }
        n
    }

    /// Apart from its caller, below which a wait goes deep.
    #[inline(never)]
    fn through_cache_too(&self, second: &InHand, n: isize) -> isize {
        let written = n as u64;
        let again = self.through_cache(second, written, || self.write_again(second, written));
        if raw::is_writeback_error(again) {
            return raw::libc_result(again);
        }
        if again < 0 {
            // The data is written, whatever became of our own call: no error of the program's.
            let what = "what a direct write wrote can't be written again through the cache";
            self.told(Kind::InvalidateFailed, what, "reported");
            return n;
        }
        second.act(|fd| raw::drop_pages(fd, self.position, written));
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
            raw::sleep_ms(1);
        }
    }

    /// Writes by `write`, then syncs as the descriptor asks. The error that a sync finds may be another
    /// write's, of a page that could not be dropped; so once more: a device that fails, fails again.
    pub fn through_cache(
        &self,
        second: &InHand,
        len: u64,
        write: impl Fn() -> raw::Raw,
    ) -> raw::Raw {
        let mut written = 0;
        for _ in 0..2 {
            written = write();
            if written < 0 {
                return written;
            }
            let synced = self.settle(second, len);
            // A sync that isn't let through is no error of a write that is done.
            if !raw::is_writeback_error(synced) {
                return written;
            }
            if -synced as i32 != libc::EIO {
                return synced;
            }
            written = synced;
        }
        written
    }

    /// Writes what was written to the device, and waits.
    pub fn sync_range(&self, fd: i32, len: u64) -> raw::Raw {
        match self.file().has(LAYERED) {
            true => raw::sync(fd, false),
            false => raw::sync_range(fd, self.place(), len),
        }
    }

    /// Syncs what was written, under the lock of `look`: an error seen here is seen for all.
    fn settle(&self, second: &InHand, len: u64) -> raw::Raw {
        let flags = self.flags as i32;
        let all = flags & libc::O_SYNC == libc::O_SYNC || self.call.flags & libc::RWF_SYNC != 0;
        let data = flags & libc::O_DSYNC != 0 || self.call.flags & libc::RWF_DSYNC != 0;
        let synced = seen(self.file(), || {
            let fd = second.number();
            let synced = self.sync_range(fd, len);
            if !raw::is_writeback_error(synced) && (all || data) {
                raw::sync(fd, all)
            } else {
                synced
            }
        })
        .0;
        let promised = (all || data) && synced < 0 && !raw::is_writeback_error(synced);
        let what = "fsync and fdatasync are refused: a synchronous write is not on the device yet";
        if promised && self.file().is_news(what) {
            self.told(Kind::Uncovered, what, "written through the cache");
        }
        synced
    }

    /// The first `limit` bytes of the request once more, through the cache.
    pub fn write_again(&self, second: &InHand, limit: u64) -> raw::Raw {
        self.write_each(limit, &|base, len, at| {
            second.act(|fd| raw::move_at(true, fd, base, len, at))
        })
    }

    /// The same by any call that writes an address and a length at a place.
    pub fn write_each(
        &self,
        limit: u64,
        write: &dyn Fn(usize, usize, u64) -> raw::Raw,
    ) -> raw::Raw {
        let mut at = self.place();
        let end = at.saturating_add(limit);
        let mut error = 0;
        self.call.data.any_element(|base, len| {
            let mut base = base as usize;
            let mut left = (len as u64).min(end - at);
            while left > 0 {
                let n = write(base, left as usize, at);
                if n <= 0 {
                    error = if n == 0 { -libc::EIO as isize } else { n };
                    return true;
                }
                base = base.wrapping_add(n as usize);
                at += n as u64;
                left -= n as u64;
            }
            at >= end
        });
        // A vector that has become unreadable since the real call.
        if error == 0 && at < end {
            return -libc::EFAULT as isize;
        }
        error
    }

    /// The same request through the page cache, where mappings see it (P6).
    fn write_buffered(&self, real: &dyn Fn() -> isize) -> Outcome {
        if self.is_atomic() {
            return Outcome::Done(raw::libc_result(self.refuse_atomic()));
        }
        if self.under.held == Held::Pages {
            return Outcome::Needs(Held::Units);
        }
        let Some(second) = self.second(For::Writing) else {
            return self.without_second(real);
        };
        if !self.is_aligned() {
            let done = self.write_both_ways(&second, real);
            second.done();
            return done;
        }
        // Errors from before are not this write's.
        if let Some((before, _)) = look(&second, self.position, self.under.len) {
            owe(self.file(), before);
        }
        counters::count(Counter::FallbackMapped, 1);
        let why = match self.file().has(LAYERED) {
            _ if self.is_mapped_writable() => "mapped",
            true => "layered",
            false => "begins beyond the last page",
        };
        self.told(Kind::Fallback, why, "buffered");
        let flags = self.flags_through_cache();
        let data = &self.call.data;
        let n = self.through_cache(&second, self.under.len, || {
            self.append(&second, flags)
                .unwrap_or_else(|| second.act(|fd| data.move_at(true, fd, self.place(), flags)))
        });
        let n = match raw::is_refused(n) {
            true => n,
            false => self.as_direct(n, Some(&second)),
        };
        if n < 0 {
            self.shrink_back(&second);
        }
        second.done();
        if raw::is_refused(n) {
            return self.without_second(real);
        }
        Outcome::Done(raw::libc_result(self.advance(n)))
    }

    /// Without a second descriptor: `O_DIRECT` off the program's own, the request, and on again,
    /// while nobody else is in the file.
    #[cold]
    fn without_second(&self, real: &dyn Fn() -> isize) -> Outcome {
        if self.under.held != Held::WholeFile {
            return Outcome::Needs(Held::WholeFile);
        }
        if !self.is_aligned() || self.is_atomic() {
            return self.both_ways_alone(real);
        }
        // A handler that jumped out in between would leave the program without its O_DIRECT.
        let signals = raw::block_signals();
        let outcome = self.taken_off(real);
        raw::restore_signals(signals);
        outcome
    }

    fn taken_off(&self, real: &dyn Fn() -> isize) -> Outcome {
        let fd = self.call.fd;
        if raw::set_flags(fd, self.flags ^ TAKEN_OFF) < 0 {
            self.told(
                Kind::Uncovered,
                "O_DIRECT can't be taken off the descriptor",
                "passed through",
            );
            return Outcome::Done(real());
        }
        counters::count(Counter::FallbackDegraded, 1);
        self.told(Kind::Fallback, "no second descriptor", "buffered");
        let n = real();
        let errno = raw::errno();
        if self.call.write && n > 0 {
            let synced = self.sync_range(fd, n as u64);
            owe(self.file(), synced);
        }
        let n = match n {
            0.. => n,
            _ => self.as_direct(-(errno as isize), None),
        };
        raw::set_flags(fd, self.flags);
        raw::set_errno(errno);
        Outcome::Done(raw::libc_result(n))
    }

    /// Moves the program's file offset as its own call would have.
    fn advance(&self, n: raw::Raw) -> raw::Raw {
        if self.moves_offset && n > 0 {
            raw::lseek(
                self.call.fd,
                self.place().saturating_add(n as u64) as i64,
                libc::SEEK_SET,
            );
        }
        n
    }
}
