//! Falling back without a second descriptor: `O_DIRECT` is off the program's own while the request is made, and nobody
//! else is in the file.

use crate::direct::writeback::owe;
use crate::direct::{Outcome, Request};
use crate::hold::attempt::Held;
use crate::hold::view::TAKEN_OFF;
use crate::tell::counters::{self, Counter};
use crate::tell::events::Kind;

impl Request<'_> {
    #[cold]
    pub fn without_second(&self, real: &dyn Fn() -> isize) -> Outcome {
        if self.under.held != Held::WholeFile {
            return Outcome::Needs(Held::WholeFile);
        }
        if !self.is_aligned() || self.is_atomic() {
            return self.both_ways_alone(real);
        }
        // A handler that jumped out in between would leave the program without its O_DIRECT.
        let signals = kernel::block_signals();
        let outcome = self.taken_off(real);
        kernel::restore_signals(signals);
        outcome
    }

    fn taken_off(&self, real: &dyn Fn() -> isize) -> Outcome {
        let fd = self.call.fd;
        if kernel::set_flags(fd, self.flags ^ TAKEN_OFF) < 0 {
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
        let errno = kernel::errno();
        if self.call.write && n > 0 {
            let synced = self.sync_range(fd, n as u64);
            owe(self.file(), synced);
        }
        let n = match n {
            0.. => n,
            _ => self.as_direct(-(errno as isize), None),
        };
        kernel::set_flags(fd, self.flags);
        kernel::set_errno(errno);
        Outcome::Done(kernel::libc_result(n))
    }

    /// The same without a second descriptor: through the program's own, while nobody else is in the file.
    pub fn both_ways_alone(&self, real: &dyn Fn() -> isize) -> Outcome {
        let n = self.read_direct(real);
        let Ok(moved @ 1..) = u64::try_from(n) else {
            return Outcome::Done(n);
        };
        let (fd, errno) = (self.call.fd, kernel::errno());
        let without = (self.flags ^ TAKEN_OFF) & !(libc::O_APPEND as u32);
        // A handler that jumped out in between would leave the program without its flags.
        let signals = kernel::block_signals();
        if kernel::set_flags(fd, without) < 0 {
            let what = "O_DIRECT can't be taken off the descriptor";
            self.told(Kind::Uncovered, what, "passed through");
            kernel::restore_signals(signals);
            return Outcome::Done(n);
        }
        counters::count(Counter::FallbackDegraded, 1);
        self.told(Kind::Fallback, "no second descriptor", "buffered");
        if self.call.write {
            self.has_landed(moved);
            self.write_each(moved, &|base, len, at| {
                kernel::move_at(true, fd, base, len, at)
            });
            owe(self.file(), self.sync_range(fd, moved));
        } else {
            self.call.data.move_at(false, fd, self.position, 0);
        }
        kernel::set_flags(fd, self.flags);
        kernel::restore_signals(signals);
        kernel::set_errno(errno);
        Outcome::Done(n)
    }
}
