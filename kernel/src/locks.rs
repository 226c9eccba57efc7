//! Locks on bytes of a file, by which the kernel says who lives.

use rustix::fd::RawFd;
use rustix::io::Errno;

use crate::call::{own_call, result};

fn one_byte(kind: i32, at: u64) -> libc::flock {
    bytes(kind, at, 1)
}

fn bytes(kind: i32, at: u64, count: u64) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: at as libc::off_t,
        l_len: count as libc::off_t,
        l_pid: 0, // the kernel insists on zero for locks of an open file description
    }
}

/// Whose a lock on a byte is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holder {
    /// An open file description's: of all who share it.
    Description,
    /// This process's (POSIX): a forked child doesn't have it, and it goes with the process, at exec, or when the process
    /// closes any descriptor of the file.
    Process,
}

impl Holder {
    fn set(self) -> i32 {
        match self {
            Holder::Description => libc::F_OFD_SETLK,
            Holder::Process => libc::F_SETLK,
        }
    }

    fn get(self) -> i32 {
        match self {
            Holder::Description => libc::F_OFD_GETLK,
            Holder::Process => libc::F_GETLK,
        }
    }
}

fn lock_call(fd: RawFd, command: i32, lock: &mut libc::flock) -> Result<(), Errno> {
    let call = [
        fd as usize,
        command as usize,
        (&raw mut *lock) as usize,
        0,
        0,
        0,
    ];
    // SAFETY: the kernel reads and writes one struct flock, whose layout on 64-bit is libc's.
    result(unsafe { own_call(libc::SYS_fcntl as usize, call) }).map(|_| ())
}

/// Takes byte `at` exclusively, through `fd`. Never waits.
pub fn lock_byte(holder: Holder, fd: RawFd, at: u64) -> Result<(), Errno> {
    lock_call(fd, holder.set(), &mut one_byte(libc::F_WRLCK, at))
}

/// Takes so many bytes from `at` on, all or none.
pub fn lock_bytes(holder: Holder, fd: RawFd, at: u64, count: u64) -> Result<(), Errno> {
    lock_call(fd, holder.set(), &mut bytes(libc::F_WRLCK, at, count))
}

/// Lets go of byte `at`.
pub fn unlock_byte(holder: Holder, fd: RawFd, at: u64) -> Result<(), Errno> {
    lock_call(fd, holder.set(), &mut one_byte(libc::F_UNLCK, at))
}

/// Does somebody else hold byte `at`?
pub fn byte_is_locked(holder: Holder, fd: RawFd, at: u64) -> Result<bool, Errno> {
    let mut lock = one_byte(libc::F_WRLCK, at);
    lock_call(fd, holder.get(), &mut lock)?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}
