//! The program's buffers. Only the kernel follows these addresses: what we need to know of them is copied
//! through it, so that a bad one is an error and not a crash.

use core::ffi::c_void;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Position {
    At(i64),
    /// At the file offset, which moves.
    Offset,
}

/// One call that reads or writes.
pub struct Transfer {
    pub fd: i32,
    pub write: bool,
    pub data: Data,
    pub at: Position,
    /// `RWF_*`.
    pub flags: i32,
}

const RWF_NOAPPEND: i32 = 0x20;

impl Transfer {
    /// Whether it goes to the end of the file, through a descriptor with these flags.
    pub fn appends(&self, flags: u32) -> bool {
        let wants = flags & libc::O_APPEND as u32 != 0 && self.flags & RWF_NOAPPEND == 0;
        self.write && (wants || self.flags & libc::RWF_APPEND != 0)
    }
}

/// The program's buffer or vector of buffers. Only the kernel follows these addresses.
#[derive(Clone, Copy)]
pub enum Data {
    Buffer(*mut c_void, usize),
    Vector(*const libc::iovec, usize),
}

/// The most that one call transfers.
pub const MOST: u64 = 0x7fff_f000;

impl Data {
    /// How many bytes; None: the vector can't be read (the real call will say EFAULT or EINVAL).
    pub fn bytes(&self) -> Option<u64> {
        match *self {
            Data::Buffer(_, len) => Some((len as u64).min(MOST)),
            Data::Vector(_, count) if count > 1024 => None,
            Data::Vector(_, count) => self.sum(count),
        }
    }

    fn sum(&self, count: usize) -> Option<u64> {
        let (mut all, mut seen) = (0u64, 0);
        self.any_element(|_, len| {
            all = all.saturating_add(len as u64);
            seen += 1;
            false
        });
        (seen == count).then_some(all.min(MOST))
    }

    /// Calls `look` with each (address, length) until it says true; whether one did. The program's
    /// vector is copied through the kernel: a bad address ends it, and the real call will say EFAULT.
    /// Apart from its callers, below some of which calls go deep.
    #[inline(never)]
    pub fn any_element(&self, mut look: impl FnMut(*mut libc::c_void, usize) -> bool) -> bool {
        match *self {
            Data::Buffer(base, len) => look(base, len),
            Data::Vector(iov, count) => {
                let nothing = libc::iovec {
                    iov_base: core::ptr::null_mut(),
                    iov_len: 0,
                };
                let mut some = [nothing; 8];
                let mut done = 0;
                while done < count.min(1024) {
                    let take = (count - done).min(some.len());
                    let Some(part) = some.get_mut(..take) else {
                        return false;
                    };
                    if kernel::copy_from_program(iov.wrapping_add(done), part).is_err() {
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

    /// Whether the program's memory at this offset of the request can be read.
    pub fn is_readable_at(&self, offset: u64) -> bool {
        let mut passed = 0u64;
        let mut readable = false;
        let found = self.any_element(|base, len| {
            let inside = offset - passed;
            passed = passed.saturating_add(len as u64);
            if offset >= passed {
                return false;
            }
            let mut byte = [0u8];
            let at = base.cast::<u8>().wrapping_add(inside as usize);
            readable = kernel::copy_from_program(at, &mut byte).is_ok();
            true
        });
        found && readable
    }

    /// Copies so many bytes of the request, from this offset of it on, to our own memory or from there. False: not all of
    /// them could be.
    #[inline(never)]
    pub fn copy(&self, into_program: bool, offset: u64, own: *mut u8, len: u64) -> bool {
        let (mut passed, mut left, mut own) = (0u64, len, own);
        self.any_element(|base, len| {
            let begin = passed;
            passed = passed.saturating_add(len as u64);
            if passed <= offset || left == 0 {
                return left == 0;
            }
            let inside = offset.saturating_sub(begin);
            let n = (len as u64 - inside).min(left);
            let at = (base as usize).wrapping_add(inside as usize);
            if !kernel::copy_bytes(into_program, own, at, n as usize) {
                return true;
            }
            own = own.wrapping_add(n as usize);
            left -= n;
            left == 0
        });
        left == 0
    }

    /// The whole request at a place of the file, through this descriptor.
    pub fn move_at(&self, write: bool, fd: i32, offset: u64, flags: i32) -> kernel::Raw {
        match *self {
            Data::Buffer(base, len) if flags == 0 => {
                kernel::move_at(write, fd, base as usize, len, offset)
            }
            Data::Buffer(base, len) => {
                let one = libc::iovec {
                    iov_base: base,
                    iov_len: len,
                };
                kernel::move_flagged_at(write, fd, &one, 1, offset, flags)
            }
            Data::Vector(iov, count) if flags == 0 => {
                let n = kernel::move_vector_at(write, fd, iov, count, offset);
                if kernel::is_refused(n) {
                    self.move_each_at(write, fd, offset)
                } else {
                    n
                }
            }
            Data::Vector(iov, count) => {
                kernel::move_flagged_at(write, fd, iov, count, offset, flags)
            }
        }
    }

    /// A vector's elements one by one: a sandbox may know no call that takes it whole.
    fn move_each_at(&self, write: bool, fd: i32, offset: u64) -> kernel::Raw {
        let (mut moved, mut error) = (0u64, 0);
        self.any_element(|base, len| {
            let n = kernel::move_at(write, fd, base as usize, len, offset.saturating_add(moved));
            match u64::try_from(n) {
                Ok(n) => moved = moved.saturating_add(n),
                Err(_) => error = n,
            }
            n != len as isize
        });
        if moved == 0 { error } else { moved as isize }
    }
}
