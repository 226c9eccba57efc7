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

/// The same to a descriptor of the program's: what a reader will take without waiting.
pub fn write_politely(fd: c_int, bytes: &[u8]) {
    let mut asked = libc::pollfd {
        fd,
        events: libc::POLLOUT,
        revents: 0,
    };
    let now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let ready = call!(SYS_ppoll, &raw mut asked, 1, &raw const now, 0, 0);
    if ready == 1 && asked.revents & libc::POLLOUT != 0 {
        write_quietly(fd, bytes);
    }
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

/// Something of the program's, eight bytes or more, read by our own instructions once the kernel has said that it can be:
/// a sixth of what copying it through the kernel costs. Only for what the program must leave where it is meanwhile.
#[allow(clippy::not_unsafe_ptr_arg_deref)] // Followed only where the kernel has just read.
pub fn look_at_program<T: Copy>(from: *const T) -> Result<T, i32> {
    if in_each_page(from as usize, size_of::<T>()).any(is_known_unreadable) {
        return Err(libc::EFAULT);
    }
    // SAFETY: the kernel has just read in these pages, or the program says that they are there.
    Ok(unsafe { from.read_unaligned() })
}

/// The same the other way: the kernel has said that it can be written.
#[allow(clippy::not_unsafe_ptr_arg_deref)] // Followed only where the kernel has just written.
pub fn put_in_program<T: Copy>(from: &[T], to: *mut T) -> Result<(), i32> {
    if in_each_page(to as usize, size_of_val(from)).any(is_known_unwritable) {
        return Err(libc::EFAULT);
    }
    for (i, value) in from.iter().enumerate() {
        // SAFETY: the kernel has just written in these pages, or the program says that they are there.
        unsafe { to.add(i).write_unaligned(*value) };
    }
    Ok(())
}

/// Where eight bytes of the range lie, for every page (or part of one) that it touches.
fn in_each_page(from: usize, bytes: usize) -> impl Iterator<Item = usize> {
    const PAGE: usize = 4096;
    let end = from.saturating_add(bytes);
    let last = end.saturating_sub(8);
    let more = (from / PAGE + 1).saturating_mul(PAGE);
    let more = (more..end).step_by(PAGE).map(move |at| at.min(last));
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
