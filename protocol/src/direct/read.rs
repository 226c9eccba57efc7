//! A direct read: past the cache, or through it where a mapping may have dirtied that.

use crate::direct::{Outcome, Request};
use crate::tell::counters::{self, Counter};
use crate::tell::events::Kind;
use crate::what::seconds::For;

impl Request<'_> {
    #[inline(never)]
    pub fn read(&self, real: &dyn Fn() -> isize) -> Outcome {
        if !self.is_mapped_writable() {
            counters::count(Counter::DirectReadsDirect, 1);
            return Outcome::Done(self.read_direct(real));
        }
        let Some(size) = self.size() else {
            return Outcome::Replaced;
        };
        // At the end there is nothing to read, however misaligned.
        if self.position >= size {
            return Outcome::Done(real());
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
        let n = match kernel::is_refused(n) {
            true => n,
            false => self.as_direct(n, Some(&second)),
        };
        second.done();
        if n < 0 && self.moves_offset {
            // The kernel's word on alignment has moved it.
            kernel::lseek(self.call.fd, self.position as i64, libc::SEEK_SET);
        }
        if kernel::is_refused(n) {
            return self.without_second(real);
        }
        Outcome::Done(kernel::libc_result(self.advance(n)))
    }
}
