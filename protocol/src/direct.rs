//! Direct I/O under a held range: straight past the page cache where nobody can dirty it, checked
//! afterwards, or through the page cache: falling back.

use core::sync::atomic::Ordering::*;
use policy::OnInvalidateFailure;

use crate::descriptors::Pinned;
use crate::events::{self, Event, Kind};
use crate::files::{BLOCK_DEVICE, File};
use crate::second::{self, For};
use crate::transfer::{Data, Transfer};
use crate::{mappings, process, raw};
use lock_table::summary::Counter;

/// RWF_ATOMIC: all or nothing even at a power cut, which the page cache can't promise.
const RWF_ATOMIC: i32 = 0x40;
/// The flags that a write through the cache keeps.
const KEPT: i32 = libc::RWF_DSYNC | libc::RWF_SYNC | libc::RWF_NOWAIT;

/// One direct request whose range is held.
pub struct Request<'a> {
    pub call: &'a Transfer,
    pub pinned: &'a Pinned,
    /// Where it begins, and how many bytes are asked for.
    pub position: u64,
    pub len: u64,
    /// From where the kernel may touch pages on behalf of this write (it zeroes a partial last block).
    pub touches_from: u64,
    /// The open flags, as they are now.
    pub flags: u32,
    /// The file offset is to move.
    pub moves_offset: bool,
    /// The whole file is held: `O_DIRECT` may be taken off the program's own descriptor.
    pub exclusive: bool,
}

/// What came of it.
pub enum Outcome {
    /// As libc gives it, errno set.
    Done(isize),
    /// It can't be done safely with this range: hold the whole file, then ask again.
    NeedsWholeFile,
}

impl Request<'_> {
    fn file(&self) -> &File {
        self.pinned.file
    }

    fn last(&self) -> u64 {
        self.position.saturating_add(self.len.saturating_sub(1))
    }

    fn is_mapped_writable(&self) -> bool {
        let first = self.touches_from.min(self.position);
        process::table().is_some_and(|t| {
            t.mapped_writable(self.file().id(), first, self.last())
                .is_some()
        })
    }

    fn told(&self, kind: Kind, reason: &'static str, done: &'static str) {
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
            ..Event::about(kind, self.pinned.file_index)
        });
    }

    /// What the kernel would say of a direct request at this place with these buffers.
    fn is_misaligned(&self) -> bool {
        let (memory, offset) = alignment(self.file(), self.call.fd);
        let off = |value: u64, align: u32| align > 1 && !value.is_multiple_of(u64::from(align));
        off(self.position, offset)
            || off(self.len, offset)
            || self
                .call
                .data
                .any_element(|base, len| off(base as u64, memory) || off(len as u64, offset))
    }

    pub fn read(&self, real: &dyn Fn() -> isize) -> Outcome {
        if !self.is_mapped_writable() {
            let buffers = mappings::pin_buffers(&self.call.data);
            let n = real();
            mappings::unpin_buffers(&buffers);
            events::count(Counter::DirectReadsDirect, 1);
            return Outcome::Done(n);
        }
        if self.is_misaligned() {
            return Outcome::Done(raw::libc_result(-libc::EINVAL as isize));
        }
        let Some(fd) = second::descriptor(self.file(), self.call.fd, For::Reading) else {
            return self.without_second(real);
        };
        events::count(Counter::FallbackMapped, 1);
        self.told(Kind::Fallback, "mapped", "buffered");
        let flags = self.call.flags & libc::RWF_NOWAIT;
        let n = self
            .call
            .data
            .with_vector(|iov, count| raw::preadv2(fd, iov, count, self.position, flags));
        Outcome::Done(raw::libc_result(self.advance(n)))
    }

    pub fn write(&self, real: &dyn Fn() -> isize) -> Outcome {
        if self.is_mapped_writable() {
            return self.write_buffered(real);
        }
        let Some(fd) = second::descriptor(self.file(), self.call.fd, For::Writing) else {
            return self.without_second(real);
        };
        // An error from before is not this write's: it belongs to the program's next fsync.
        let Ok((before, epoch)) = look(self.file(), fd, self.position, self.len) else {
            return self.without_second(real);
        };
        owe(self.file(), before);
        let n = real();
        let errno = raw::errno();
        let (after, now) = look(self.file(), fd, self.position, self.len).unwrap_or((0, epoch));
        events::count(Counter::DirectWritesDirect, 1);
        let stale = after < 0 || now != epoch;
        let n = if stale { self.repair(fd, n) } else { n };
        if n >= 0 || !stale {
            // A success leaves errno alone, as the kernel does.
            raw::set_errno(errno);
        }
        Outcome::Done(n)
    }

    /// The page cache may hold old bytes over what was written. Never flush: that would write them
    /// over the new ones. Write the same bytes again, through the cache.
    #[cold]
    fn repair(&self, fd: i32, n: isize) -> isize {
        let policy = self.file().settings().on_invalidate_failure();
        let done = match policy {
            OnInvalidateFailure::Buffered => "written again, buffered",
            OnInvalidateFailure::Warn => "reported",
            OnInvalidateFailure::Error => "EIO",
        };
        self.told(
            Kind::InvalidateFailed,
            "pages could not be dropped after a direct write",
            done,
        );
        match policy {
            OnInvalidateFailure::Warn => return n,
            OnInvalidateFailure::Error => return raw::libc_result(-libc::EIO as isize),
            OnInvalidateFailure::Buffered if n <= 0 => return n,
            OnInvalidateFailure::Buffered => {}
        }
        events::count(Counter::FallbackInvalidation, 1);
        self.told(Kind::Fallback, "invalidation failed", "buffered");
        let written = n as u64;
        let again = self.write_again(fd, written);
        let synced = if again < 0 {
            again
        } else {
            raw::sync_range(fd, self.position, written)
        };
        if synced < 0 {
            return raw::libc_result(synced);
        }
        raw::drop_pages(fd, self.position, written);
        n
    }

    /// The first `limit` bytes of the request once more, through the cache.
    fn write_again(&self, fd: i32, limit: u64) -> raw::Raw {
        let mut at = self.position;
        let end = self.position.saturating_add(limit);
        let mut error = 0;
        self.call.data.any_element(|base, len| {
            let mut base = base as usize;
            let mut left = (len as u64).min(end - at);
            while left > 0 {
                let iov = libc::iovec {
                    iov_base: base as *mut _,
                    iov_len: left as usize,
                };
                let n = raw::pwritev2(fd, &iov, 1, at, 0);
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
        error
    }

    /// The same request through the page cache, where mappings see it.
    fn write_buffered(&self, real: &dyn Fn() -> isize) -> Outcome {
        if self.call.flags & RWF_ATOMIC != 0 {
            return Outcome::Done(raw::libc_result(-libc::EAGAIN as isize));
        }
        if self.is_misaligned() {
            return Outcome::Done(raw::libc_result(-libc::EINVAL as isize));
        }
        let Some(fd) = second::descriptor(self.file(), self.call.fd, For::Writing) else {
            return self.without_second(real);
        };
        // Errors from before are not this write's.
        if let Ok((before, _)) = look(self.file(), fd, self.position, self.len) {
            owe(self.file(), before);
        }
        events::count(Counter::FallbackMapped, 1);
        self.told(Kind::Fallback, "mapped", "buffered");
        let n = self.call.data.with_vector(|iov, count| {
            raw::pwritev2(
                fd,
                iov,
                count,
                self.position,
                self.call.flags & KEPT | self.sync_flags(),
            )
        });
        if n > 0 {
            let synced = raw::sync_range(fd, self.position, n as u64);
            if synced < 0 {
                return Outcome::Done(raw::libc_result(synced));
            }
        }
        Outcome::Done(raw::libc_result(self.advance(n)))
    }

    fn sync_flags(&self) -> i32 {
        let flags = self.flags as i32;
        if flags & libc::O_SYNC == libc::O_SYNC {
            libc::RWF_SYNC
        } else if flags & libc::O_DSYNC != 0 {
            libc::RWF_DSYNC
        } else {
            0
        }
    }

    /// Without a second descriptor: `O_DIRECT` off the program's own, the request, and on again,
    /// while nobody else is in the file.
    #[cold]
    fn without_second(&self, real: &dyn Fn() -> isize) -> Outcome {
        if !self.exclusive {
            return Outcome::NeedsWholeFile;
        }
        if self.is_misaligned() {
            return Outcome::Done(raw::libc_result(-libc::EINVAL as isize));
        }
        let fd = self.call.fd;
        if raw::set_flags(fd, self.flags & !(libc::O_DIRECT as u32)) < 0 {
            self.told(
                Kind::Uncovered,
                "O_DIRECT can't be taken off the descriptor",
                "passed through",
            );
            return Outcome::Done(real());
        }
        events::count(Counter::FallbackDegraded, 1);
        self.told(Kind::Fallback, "no second descriptor", "buffered");
        let n = real();
        let errno = raw::errno();
        if self.call.write && n > 0 {
            let synced = raw::sync_range(fd, self.position, n as u64);
            owe(self.file(), synced);
        }
        raw::set_flags(fd, self.flags);
        raw::set_errno(errno);
        Outcome::Done(n)
    }

    /// Moves the program's file offset as its own call would have.
    fn advance(&self, n: raw::Raw) -> raw::Raw {
        if self.moves_offset && n > 0 {
            raw::lseek(
                self.call.fd,
                self.position.saturating_add(n as u64) as i64,
                libc::SEEK_SET,
            );
        }
        n
    }
}

/// Look at the file's writeback error through the second descriptor, which reports each once: whoever
/// sees it bumps the epoch, and a write during which the epoch moved has failed too. Err: the kernel
/// doesn't let us look.
fn look(file: &File, fd: i32, offset: u64, len: u64) -> Result<(raw::Raw, u32), ()> {
    // Bounded: a handler that jumped out of here leaves the lock taken.
    for _ in 0..100 {
        if file.check.compare_exchange(0, 1, Acquire, Relaxed).is_ok() {
            break;
        }
        raw::futex_wait_private(&file.check, 1);
    }
    let error = raw::writeback_error(fd, offset, len);
    if is_writeback_error(error) {
        file.error_epoch.fetch_add(1, AcqRel);
    }
    let epoch = file.error_epoch.load(Acquire);
    file.check.store(0, Release);
    raw::futex_wake_private(&file.check);
    if error < 0 && !is_writeback_error(error) {
        Err(())
    } else {
        Ok((error, epoch))
    }
}

fn is_writeback_error(error: raw::Raw) -> bool {
    matches!(-error as i32, libc::EIO | libc::ENOSPC | libc::EDQUOT)
}

/// An error that our call consumed: the program's next fsync reports it.
fn owe(file: &File, error: raw::Raw) {
    if is_writeback_error(error) {
        file.owed_error.store(-error as i32, Release);
    }
}

/// After the program's own fsync or fdatasync: what we owe it.
pub fn after_sync(file: &File, result: isize) -> isize {
    if file.owed_error.load(Relaxed) == 0 {
        return result;
    }
    let owed = file.owed_error.swap(0, AcqRel);
    if result == 0 && owed != 0 {
        raw::set_errno(owed);
        return -1;
    }
    result
}

/// (memory, offset and length) alignment of direct I/O; (1, 1) where the filesystem doesn't say.
fn alignment(file: &File, fd: i32) -> (u32, u32) {
    let known = file.alignment.load(Relaxed);
    if known != 0 {
        return ((known >> 32) as u32, known as u32);
    }
    let (memory, offset) = raw::direct_alignment(fd).unwrap_or(if file.has(BLOCK_DEVICE) {
        (512, 512)
    } else {
        (1, 1)
    });
    file.alignment
        .store(u64::from(memory) << 32 | u64::from(offset), Relaxed);
    (memory, offset)
}

impl Data {
    /// Calls `look` with each (address, length) until it says true; whether one did. The program's
    /// vector is copied through the kernel: a bad address ends it, and the real call will say EFAULT.
    pub fn any_element(&self, mut look: impl FnMut(*mut libc::c_void, usize) -> bool) -> bool {
        match *self {
            Data::Buffer(base, len) => look(base, len),
            Data::Vector(iov, count) => {
                let nothing = libc::iovec {
                    iov_base: core::ptr::null_mut(),
                    iov_len: 0,
                };
                let mut some = [nothing; 16];
                let mut done = 0;
                while done < count.min(1024) {
                    let take = (count - done).min(some.len());
                    let Some(part) = some.get_mut(..take) else {
                        return false;
                    };
                    if raw::copy_from_program(iov.wrapping_add(done), part).is_err() {
                        return false;
                    }
                    if part.iter().any(|e| look(e.iov_base, e.iov_len)) {
                        return true;
                    }
                    done += take;
                }
                false
            }
        }
    }

    fn with_vector(&self, call: impl FnOnce(*const libc::iovec, usize) -> raw::Raw) -> raw::Raw {
        match *self {
            Data::Buffer(base, len) => {
                let one = libc::iovec {
                    iov_base: base,
                    iov_len: len,
                };
                call(&one, 1)
            }
            Data::Vector(iov, count) => call(iov, count),
        }
    }
}
