//! Appending: the kernel writes at the end of the file, wherever that is at that moment. A fenced process has held the
//! end since it looked; one that isn't fenced may have moved it. A fall back that wrote where the end was seen would
//! then leave a hole, which an append can't make; so it appends, too, and learns from its descriptor where that was.

use crate::direct::Request;
use crate::direct::second::InHand;

impl Request<'_> {
    /// The request once through the cache by a second descriptor, at the end. None: it is no append, it has been made
    /// and goes to the same place again, or such a call can't be made.
    pub fn append(&self, second: &InHand, flags: i32) -> Option<kernel::Raw> {
        /// With this offset a positional write moves the file offset.
        const AT_THE_OFFSET: u64 = u64::MAX;
        if !self.append || self.landed.get().is_some() {
            return None;
        }
        let flags = flags | libc::RWF_APPEND;
        let mut end = 0;
        let n = second.act(|fd| {
            let n = self.call.data.move_at(true, fd, AT_THE_OFFSET, flags);
            // The offset of the second descriptor is nobody else's: appends hold the end of the file alone.
            end = u64::try_from(kernel::lseek(fd, 0, libc::SEEK_CUR)).unwrap_or(0);
            n
        });
        if n == -(libc::EOPNOTSUPP as isize) || kernel::is_refused(n) {
            return None;
        }
        if let Ok(n @ 1..) = u64::try_from(n) {
            self.landed.set(Some(end.saturating_sub(n)));
        }
        Some(n)
    }

    /// An append of the program's own is done: it ends where the file does.
    #[inline(never)]
    pub fn has_landed(&self, n: u64) {
        if let Some(end) = kernel::fstat(self.call.fd).ok().filter(|_| self.append) {
            self.landed.set(Some(end.size.saturating_sub(n)));
        }
    }

    /// Where the request went.
    pub fn place(&self) -> u64 {
        self.landed.get().unwrap_or(self.position)
    }

    /// Whether the `n` bytes of an append are not where the end of the file was seen.
    pub fn has_lost_its_place(&self, n: isize) -> bool {
        let end = self.position.saturating_add(n as u64);
        self.append && kernel::fstat(self.call.fd).is_ok_and(|s| s.size != end)
    }
}
