//! Direct writes beside a mapping that fail: with the error that the kernel has for them, and leaving what it leaves.

use crate::direct::Request;
use crate::files::BLOCK_DEVICE;
use crate::raw;
use crate::second::InHand;

/// All or nothing even at a power cut, which the page cache can't promise.
pub const RWF_ATOMIC: i32 = 0x40;

impl Request<'_> {
    /// The error of an atomic write that can't be made here. Where the file takes none, or this is none, the kernel's
    /// own: a single byte is never an atomic write, so nothing is written by asking.
    pub fn refuse_atomic(&self) -> raw::Raw {
        let byte = 0u8;
        let one = libc::iovec {
            iov_base: (&raw const byte).cast_mut().cast(),
            iov_len: 1,
        };
        let said = raw::move_flagged_at(true, self.call.fd, &one, 1, self.position, RWF_ATOMIC);
        let fits = self.len.is_power_of_two() && self.position.is_multiple_of(self.len);
        match said {
            said if said == -(libc::EOPNOTSUPP as isize) => said,
            _ if !fits => -libc::EINVAL as isize,
            _ => -libc::EAGAIN as isize,
        }
    }

    /// Directly a write that fails moves no end of file. Through the cache a part of it may have been written, and has
    /// made the file longer: by no more than the request, and nobody else's bytes lie there.
    pub fn shrink_back(&self, second: &InHand) {
        let end = self.position.saturating_add(self.len);
        let longer = |s: raw::Stat| s.size > self.size && s.size <= end;
        if !self.file().has(BLOCK_DEVICE) && raw::fstat(self.call.fd).is_ok_and(longer) {
            second.act(|fd| raw::ftruncate(fd, self.size));
        }
    }
}
