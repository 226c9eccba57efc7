//! Reading and writing: with the program's buffers as bare addresses, which only the kernel follows.

use core::ffi::{c_int, c_void};

use crate::call::{Raw, is_refused, result};
use crate::known;
use crate::signals::without_signals;

pub fn lseek(fd: c_int, offset: i64, whence: c_int) -> Raw {
    call!(SYS_lseek, fd, offset, whence)
}

/// Empties a part of a file, beyond its end, too.
pub fn punch(fd: c_int, offset: u64, len: u64) {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    call!(SYS_fallocate, fd, mode, offset, len);
}

/// Space for so many bytes, and the file is that long.
pub fn allocate(fd: c_int, len: u64) -> Raw {
    call!(SYS_fallocate, fd, 0, 0, len)
}

pub fn ftruncate(fd: c_int, to: u64) -> Raw {
    call!(SYS_ftruncate, fd, to)
}

/// One buffer of the program's, at a place of the file. Of the calls that do it, the first that may be made: a sandbox
/// may know only one of them.
pub fn move_at(write: bool, fd: c_int, base: usize, len: usize, offset: u64) -> Raw {
    let n = match write {
        true => call!(SYS_pwrite64, fd, base, len, offset),
        false => call!(SYS_pread64, fd, base, len, offset),
    };
    if !is_refused(n) {
        return n;
    }
    let one = libc::iovec {
        iov_base: base as *mut c_void,
        iov_len: len,
    };
    let n = move_vector_at(write, fd, &one, 1, offset);
    if !is_refused(n) {
        return n;
    }
    move_flagged_at(write, fd, &one, 1, offset, 0)
}

/// The same with a vector of buffers.
pub fn move_vector_at(
    write: bool,
    fd: c_int,
    iov: *const libc::iovec,
    count: usize,
    offset: u64,
) -> Raw {
    match write {
        true => call!(SYS_pwritev, fd, iov, count, offset, 0),
        false => call!(SYS_preadv, fd, iov, count, offset, 0),
    }
}

/// And with `RWF_*`, which only this form takes.
pub fn move_flagged_at(
    write: bool,
    fd: c_int,
    iov: *const libc::iovec,
    count: usize,
    offset: u64,
    flags: c_int,
) -> Raw {
    match write {
        true => call!(SYS_pwritev2, fd, iov, count, offset, 0, flags),
        false => call!(SYS_preadv2, fd, iov, count, offset, 0, flags),
    }
}

pub fn read(fd: c_int, into: &mut [u8]) -> Raw {
    call!(SYS_read, fd, into.as_mut_ptr(), into.len())
}

pub fn write(fd: c_int, bytes: &[u8]) -> Raw {
    call!(SYS_write, fd, bytes.as_ptr(), bytes.len())
}

/// Writes something of ours: that raises no signal in the program, whatever becomes of it.
pub fn write_quietly(fd: c_int, bytes: &[u8]) -> Raw {
    let done = without_signals(|| result(write(fd, bytes)));
    done.map_or_else(|e| -(e.raw_os_error() as isize), |n| n as isize)
}

/// The same to a descriptor of the program's: what a reader will take without waiting. Whether it would.
pub fn write_politely(fd: c_int, bytes: &[u8]) -> bool {
    let ready = is_ready(fd, libc::POLLOUT);
    if ready {
        write_quietly(fd, bytes);
    }
    ready
}

/// Writes to a pipe what it takes without waiting; EOPNOTSUPP: the kernel doesn't know how.
pub fn write_now(fd: c_int, from: usize, len: usize) -> Raw {
    let one = libc::iovec {
        iov_base: from as *mut c_void,
        iov_len: len,
    };
    const AT_THE_OFFSET: isize = -1;
    let flags = libc::RWF_NOWAIT;
    call!(
        SYS_pwritev2,
        fd,
        &raw const one,
        1,
        AT_THE_OFFSET,
        AT_THE_OFFSET,
        flags
    )
}

/// Whether poll says this of the number now.
pub fn is_ready(fd: c_int, events: i16) -> bool {
    let mut asked = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    let now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let ready = call!(SYS_ppoll, &raw mut asked, 1, &raw const now, 0, 0);
    ready == 1 && asked.revents & events != 0
}

/// How many bytes fit in a pipe; 0: not known.
pub fn pipe_capacity(fd: c_int) -> usize {
    usize::try_from(call!(SYS_fcntl, fd, libc::F_GETPIPE_SZ, 0)).unwrap_or(0)
}

/// Copies from the program's memory; a bad address is EFAULT instead of a crash.
#[allow(clippy::not_unsafe_ptr_arg_deref)] // Followed only where the kernel has just read.
pub fn copy_from_program<T: Copy>(from: *const T, to: &mut [T]) -> Result<(), i32> {
    let bytes = core::mem::size_of_val(to);
    let local = libc::iovec {
        iov_base: to.as_mut_ptr().cast(),
        iov_len: bytes,
    };
    let remote = libc::iovec {
        iov_base: from as *mut c_void,
        iov_len: bytes,
    };
    let done = call!(
        SYS_process_vm_readv,
        known::pid(),
        &raw const local,
        1,
        &raw const remote,
        1,
        0
    );
    if done == bytes as isize {
        return Ok(());
    }
    if done >= 0 || done == -(libc::EFAULT as isize) {
        return Err(libc::EFAULT);
    }
    // A filter that refuses it. Ask another way whether the bytes can be read, then read them.
    let (first, end) = (from as usize / 8 * 8, (from as usize).saturating_add(bytes));
    if !(first..end).step_by(8).all(is_readable) {
        return Err(libc::EFAULT);
    }
    for (i, cell) in to.iter_mut().enumerate() {
        // SAFETY: the kernel has just read these bytes.
        *cell = unsafe { from.add(i).read_unaligned() };
    }
    Ok(())
}

/// Copies to the program's memory; a bad address is EFAULT instead of a crash.
#[allow(clippy::not_unsafe_ptr_arg_deref)] // Followed only where the kernel has just looked.
pub fn copy_to_program<T: Copy>(from: &[T], to: *mut T) -> Result<(), i32> {
    let bytes = size_of_val(from);
    let local = libc::iovec {
        iov_base: from.as_ptr().cast_mut().cast(),
        iov_len: bytes,
    };
    let remote = libc::iovec {
        iov_base: to.cast(),
        iov_len: bytes,
    };
    let (local, remote) = (&raw const local, &raw const remote);
    let done = call!(SYS_process_vm_writev, known::pid(), local, 1, remote, 1, 0);
    if done >= 0 || done == -(libc::EFAULT as isize) {
        let all = done == bytes as isize;
        return all.then_some(()).ok_or(libc::EFAULT);
    }
    // A filter that refuses it. Of less than eight bytes it can't be asked whether they can be written.
    if bytes >= 8 {
        return put_in_program(from, to);
    }
    if is_known_unreadable(to as usize / 8 * 8) {
        return Err(libc::EFAULT);
    }
    for (i, value) in from.iter().enumerate() {
        // SAFETY: the kernel has just read in this page, and the program says that it is to be written.
        unsafe { to.add(i).write_unaligned(*value) };
    }
    Ok(())
}

/// Many bytes between our own memory and the program's. False: not all could be copied, or a filter refuses it.
pub fn copy_bytes(into_program: bool, own: *mut u8, program: usize, len: usize) -> bool {
    let one = |at| libc::iovec {
        iov_base: at,
        iov_len: len,
    };
    let (local, remote) = (one(own.cast()), one(program as *mut c_void));
    let (local, remote) = (&raw const local, &raw const remote);
    let done = match into_program {
        true => call!(SYS_process_vm_writev, known::pid(), local, 1, remote, 1, 0),
        false => call!(SYS_process_vm_readv, known::pid(), local, 1, remote, 1, 0),
    };
    done == len as isize
}

/// Something of the program's, eight bytes or more, read by our own instructions once the kernel has said that it can be:
/// a sixth of what copying it through the kernel costs. Only for what the program must leave where it is meanwhile.
pub fn look_at_program<T: Copy>(from: *const T) -> Result<T, i32> {
    Pages::default().look_at(from)
}

/// The same the other way: the kernel has said that it can be written.
pub fn put_in_program<T: Copy>(from: &[T], to: *mut T) -> Result<(), i32> {
    Pages::default().put(from, to)
}

/// The same in one pass over many things that lie close together, in which nobody waits: the kernel is asked once a page,
/// and all must stay where it is until the pass is over. A pass reads, or it writes.
pub struct Pages {
    /// Of which the kernel has said that it can be done.
    known: [usize; 4],
    next: usize,
}

impl Default for Pages {
    fn default() -> Pages {
        let known = [usize::MAX; 4];
        Pages { known, next: 0 }
    }
}

impl Pages {
    /// Where this lies, which is on the caller's stack, both can be done: there many programs have what they pass.
    pub fn beside<T>(own: &T) -> Pages {
        let at = (&raw const *own) as usize;
        let known = [at / STEP, usize::MAX, usize::MAX, usize::MAX];
        Pages { known, next: 1 }
    }

    #[allow(clippy::not_unsafe_ptr_arg_deref)] // Followed only where the kernel has just read.
    pub fn look_at<T: Copy>(&mut self, from: *const T) -> Result<T, i32> {
        self.ask(from as usize, size_of::<T>(), is_known_unreadable)?;
        // SAFETY: the kernel has just read in these pages, or the program says that they are there.
        Ok(unsafe { from.read_unaligned() })
    }

    #[allow(clippy::not_unsafe_ptr_arg_deref)] // Followed only where the kernel has just written.
    pub fn put<T: Copy>(&mut self, from: &[T], to: *mut T) -> Result<(), i32> {
        self.ask(to as usize, size_of_val(from), is_known_unwritable)?;
        for (i, value) in from.iter().enumerate() {
            // SAFETY: the kernel has just written in these pages, or the program says that they are there.
            unsafe { to.add(i).write_unaligned(*value) };
        }
        Ok(())
    }

    #[inline]
    fn ask(&mut self, at: usize, bytes: usize, is_bad: fn(usize) -> bool) -> Result<(), i32> {
        let (first, last) = (at / STEP, at.saturating_add(bytes.saturating_sub(1)) / STEP);
        let known = |page| self.known.contains(&page);
        match last - first <= 1 && known(first) && known(last) {
            true => Ok(()),
            false => self.ask_each(at, bytes, is_bad),
        }
    }

    #[inline(never)]
    fn ask_each(&mut self, at: usize, bytes: usize, is_bad: fn(usize) -> bool) -> Result<(), i32> {
        for at in in_each_page(at, bytes) {
            if is_bad(at) {
                return Err(libc::EFAULT);
            }
            if let Some(place) = self.known.get_mut(self.next % 4) {
                *place = at / STEP;
            }
            self.next = self.next.wrapping_add(1);
        }
        Ok(())
    }
}

/// The same for a list of pointers to texts, which may lie anywhere and are long: the kernel is asked once a page, even
/// where they lie in many pages in no order.
pub struct Texts {
    /// Readable pages, each in a place of its number.
    known: [usize; 32],
}

impl Default for Texts {
    fn default() -> Texts {
        let known = [usize::MAX; 32];
        Texts { known }
    }
}

impl Texts {
    /// Whether a list that ends with a null can be read, and every text in it.
    #[allow(clippy::not_unsafe_ptr_arg_deref)] // Followed only where the kernel has just read.
    pub fn are_readable(&mut self, list: *const *const libc::c_char) -> bool {
        let mut at = list;
        loop {
            let last = (at as usize).saturating_add(size_of_val(&at) - 1);
            if !self.is_page_there(at as usize) || !self.is_page_there(last) {
                return false;
            }
            // SAFETY: the kernel has just read in these pages, or the program says that they are there.
            let text = unsafe { at.read_unaligned() };
            if text.is_null() {
                return true;
            }
            if !self.is_text_there(text as usize) {
                return false;
            }
            at = at.wrapping_add(1);
        }
    }

    fn is_text_there(&mut self, mut at: usize) -> bool {
        while self.is_page_there(at) {
            let rest = STEP - at % STEP;
            // SAFETY: as above: the rest of the page.
            let bytes = unsafe { core::slice::from_raw_parts(at as *const u8, rest) };
            if bytes.contains(&0) {
                return true;
            }
            at = at.wrapping_add(rest);
        }
        false
    }

    #[inline]
    fn is_page_there(&mut self, at: usize) -> bool {
        let page = at / STEP;
        let Some(place) = self.known.get_mut(page % 32) else {
            return false;
        };
        if *place != page {
            if is_known_unreadable(page * STEP) {
                return false;
            }
            *place = page;
        }
        true
    }
}

const STEP: usize = 4096; // no kernel has smaller pages

/// Where eight bytes of the range lie, for every page (or part of one) that it touches.
fn in_each_page(from: usize, bytes: usize) -> impl Iterator<Item = usize> {
    let end = from.saturating_add(bytes);
    let last = end.saturating_sub(8);
    let more = (from / STEP + 1).saturating_mul(STEP);
    let more = (more..end).step_by(STEP).map(move |at| at.min(last));
    core::iter::once(from).chain(more)
}

/// Whether eight bytes can't be written: the signal mask is put there. Where a sandbox doesn't let us ask, the program is
/// believed.
fn is_known_unwritable(address: usize) -> bool {
    let said = call!(SYS_rt_sigprocmask, libc::SIG_BLOCK, 0, address, 8);
    address == NO_MASK || said == -(libc::EFAULT as isize)
}

/// Of this address the kernel takes it that no mask is meant.
const NO_MASK: usize = 0;

fn is_known_unreadable(address: usize) -> bool {
    address == NO_MASK || asked_to_read(address) == -(libc::EFAULT as isize)
}

/// Whether eight bytes can be read: a signal mask is copied before the senseless command is refused.
fn is_readable(address: usize) -> bool {
    asked_to_read(address) == -(libc::EINVAL as isize)
}

fn asked_to_read(address: usize) -> Raw {
    const SENSELESS: usize = 255;
    call!(SYS_rt_sigprocmask, SENSELESS, address, 0, 8)
}
