//! What is written through the cache gets to the device, as a direct write's bytes do, before the call returns.

use crate::direct::Request;
use crate::direct::second::InHand;
use crate::direct::writeback::seen;
use crate::tell::events::Kind;
use crate::what::storage::LAYERED;

impl Request<'_> {
    /// Writes by `write`, then syncs as the descriptor asks. The error that a sync finds may be another
    /// write's, of a page that could not be dropped; so once more: a device that fails, fails again.
    pub fn through_cache(
        &self,
        second: &InHand,
        len: u64,
        write: impl Fn() -> kernel::Raw,
    ) -> kernel::Raw {
        let mut written = 0;
        for _ in 0..2 {
            written = write();
            if written < 0 {
                return written;
            }
            let synced = self.settle(second, len);
            // A sync that isn't let through is no error of a write that is done.
            if !kernel::is_writeback_error(synced) {
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
    pub fn sync_range(&self, fd: i32, len: u64) -> kernel::Raw {
        match self.file().has(LAYERED) {
            true => kernel::sync(fd, false),
            false => kernel::sync_range(fd, self.place(), len),
        }
    }

    /// Syncs what was written, under the lock of `look`: an error seen here is seen for all.
    fn settle(&self, second: &InHand, len: u64) -> kernel::Raw {
        let flags = self.flags as i32;
        let all = flags & libc::O_SYNC == libc::O_SYNC || self.call.flags & libc::RWF_SYNC != 0;
        let data = flags & libc::O_DSYNC != 0 || self.call.flags & libc::RWF_DSYNC != 0;
        let synced = seen(self.file(), || {
            let fd = second.number();
            let synced = self.sync_range(fd, len);
            if !kernel::is_writeback_error(synced) && (all || data) {
                kernel::sync(fd, all)
            } else {
                synced
            }
        })
        .0;
        let promised = (all || data) && synced < 0 && !kernel::is_writeback_error(synced);
        let what = "fsync and fdatasync are refused: a synchronous write is not on the device yet";
        if promised && self.file().is_news(what) {
            self.told(Kind::Uncovered, what, "written through the cache");
        }
        synced
    }

    /// The first `limit` bytes of the request once more, through the cache.
    pub fn write_again(&self, second: &InHand, limit: u64) -> kernel::Raw {
        self.write_each(limit, &|base, len, at| {
            second.act(|fd| kernel::move_at(true, fd, base, len, at))
        })
    }

    /// The same by any call that writes an address and a length at a place.
    pub fn write_each(
        &self,
        limit: u64,
        write: &dyn Fn(usize, usize, u64) -> kernel::Raw,
    ) -> kernel::Raw {
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
}
