//! Falling back: a direct write through the page cache by a second descriptor, where mappings see it (P6).

use crate::direct::second::InHand;
use crate::direct::writeback::{look, owe};
use crate::direct::{Outcome, Request};
use crate::hold::attempt::Held;
use crate::tell::counters::{self, Counter};
use crate::tell::events::Kind;
use crate::what::seconds::For;
use crate::what::storage::LAYERED;

impl Request<'_> {
    pub fn write_buffered(&self, real: &dyn Fn() -> isize) -> Outcome {
        if self.is_atomic() {
            return Outcome::Done(kernel::libc_result(self.refuse_atomic()));
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
        let n = match kernel::is_refused(n) {
            true => n,
            false => self.as_direct(n, Some(&second)),
        };
        if n < 0 {
            self.shrink_back(&second);
        }
        second.done();
        if kernel::is_refused(n) {
            return self.without_second(real);
        }
        Outcome::Done(kernel::libc_result(self.advance(n)))
    }

    /// The kernel's word on a write, by doing it; what it has granted, once more through the cache.
    pub fn write_both_ways(&self, second: &InHand, real: &dyn Fn() -> isize) -> Outcome {
        let n = real();
        let Ok(written @ 1..) = u64::try_from(n) else {
            return Outcome::Done(n);
        };
        let errno = kernel::errno();
        self.has_landed(written);
        counters::count(Counter::FallbackMapped, 1);
        self.told(Kind::Fallback, "mapped", "buffered");
        let again = self.through_cache(second, written, || self.write_again(second, written));
        if kernel::is_writeback_error(again) {
            return Outcome::Done(kernel::libc_result(again));
        }
        kernel::set_errno(errno);
        Outcome::Done(n)
    }
}
