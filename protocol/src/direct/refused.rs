//! The flags of `preadv2` and `pwritev2` where a request goes through the cache, and requests that fail there: with the
//! error that the kernel has for them, and leaving what it leaves.

use crate::direct::Request;
use crate::direct::alignment::alignment;
use crate::direct::second::InHand;
use crate::what::data::Data;
use crate::what::file::BLOCK_DEVICE;

/// All or nothing even at a power cut, which the page cache can't promise.
const RWF_ATOMIC: i32 = 0x40;
const RWF_NOAPPEND: i32 = 0x20;
/// The kernel refuses both at once.
const BOTH: i32 = libc::RWF_APPEND | RWF_NOAPPEND;
/// What a request through the cache does without.
const LEFT_OUT: i32 = libc::RWF_HIPRI | libc::RWF_DSYNC | libc::RWF_SYNC;

/// Whether the kernel takes these flags for no request to the file behind a number without `O_DIRECT`.
pub fn refuses_flags(fd: i32, flags: i32) -> bool {
    is_refusal(ask_far_away(fd, flags))
}

fn is_refusal(said: kernel::Raw) -> bool {
    said == -(libc::EOPNOTSUPP as isize)
}

/// It looks at the flags first: asked for a byte behind all that a file can hold.
fn ask_far_away(fd: i32, flags: i32) -> kernel::Raw {
    const FAR: u64 = i64::MAX as u64 - 1;
    let mut byte = 0u8;
    let one = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    kernel::move_flagged_at(false, fd, &one, 1, FAR, flags)
}

impl Request<'_> {
    pub fn is_atomic(&self) -> bool {
        self.call.write && self.call.flags & RWF_ATOMIC != 0
    }

    pub fn may_not_wait(&self) -> bool {
        self.call.flags & libc::RWF_NOWAIT != 0
    }

    /// For the second descriptor, which doesn't append by itself. What the kernel refuses it is to refuse here, too.
    pub fn flags_through_cache(&self) -> i32 {
        let flags = self.call.flags & !LEFT_OUT;
        match flags & RWF_NOAPPEND {
            0 => flags & !libc::RWF_APPEND,
            _ => flags,
        }
    }

    /// As the direct request would have ended. Where the cache can't promise not to wait, it would have.
    /// And through the cache a request with a partly bad buffer moves what it can; directly it is refused.
    pub fn as_direct(&self, n: kernel::Raw, second: Option<&InHand>) -> kernel::Raw {
        // A filesystem that asks for no alignment goes through the cache by itself when it has to.
        if alignment(self.file(), self.call.fd).offset <= 1 {
            return n;
        }
        if n == -(libc::EOPNOTSUPP as isize) && self.may_not_wait() && !self.refuses_flags(second) {
            return -libc::EAGAIN as isize;
        }
        let end = self.position.saturating_add(n as u64);
        let ends = !self.call.write && self.size().is_none_or(|size| end >= size);
        let short = n > 0 && (n as u64) < self.under.len && !ends;
        if short && !self.call.data.is_readable_at(n as u64) {
            return -libc::EFAULT as isize;
        }
        n
    }

    /// Without a second descriptor the program's own has no `O_DIRECT` now.
    fn refuses_flags(&self, second: Option<&InHand>) -> bool {
        let ask = |fd| ask_far_away(fd, self.call.flags);
        let said = match second {
            Some(second) => second.act(ask),
            None => ask(self.call.fd),
        };
        is_refusal(said)
    }

    /// The error of an atomic write that can't be made here. Where the file takes none, or this is none, the kernel's
    /// own: a single byte is never an atomic write, so nothing is written by asking.
    pub fn refuse_atomic(&self) -> kernel::Raw {
        let byte = 0u8;
        let one = libc::iovec {
            iov_base: (&raw const byte).cast_mut().cast(),
            iov_len: 1,
        };
        let (fd, flags) = (self.call.fd, self.call.flags);
        let said = kernel::move_flagged_at(true, fd, &one, 1, self.position, flags);
        if said == -(libc::EOPNOTSUPP as isize) {
            return said;
        }
        let given = self.asked_place().unwrap_or(self.position);
        let whole = !matches!(self.call.data, Data::Vector(_, 2..));
        let fits = self.under.len.is_power_of_two() && given.is_multiple_of(self.under.len);
        let (least, most) = kernel::atomic_sizes(fd).unwrap_or((0, u64::MAX));
        match whole && fits && flags & BOTH != BOTH && (least..=most).contains(&self.under.len) {
            true => -libc::EAGAIN as isize,
            false => -libc::EINVAL as isize,
        }
    }

    /// Directly a write that fails moves no end of file. Through the cache a part of it may have been written, and has
    /// made the file longer: by no more than the request, and nobody else's bytes lie there.
    pub fn shrink_back(&self, second: &InHand) {
        let Some(size) = self.size() else {
            return;
        };
        let end = self.position.saturating_add(self.under.len);
        let longer = |s: kernel::Stat| s.size > size && s.size <= end;
        if !self.file().has(BLOCK_DEVICE) && kernel::fstat(self.call.fd).is_ok_and(longer) {
            second.act(|fd| kernel::ftruncate(fd, size));
        }
    }
}
