//! What a program gains when it is started: the loader then ignores what is to be preloaded (AT_SECURE).

use core::ffi::c_int;
use core::fmt;

use crate::known;
use crate::paths::number_path;

/// What makes the kernel say so, if anything does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// The file's owner is another user, and the file is setuid.
    User(u32),
    /// The same of its group.
    Group(u32),
    Capabilities,
    /// Nothing of the file's: the process that starts it has taken on another user or group for a while.
    Caller,
}

impl fmt::Display for Privilege {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Privilege::User(id) => write!(out, "it is setuid (to user {id})"),
            Privilege::Group(id) => write!(out, "it is setgid (to group {id})"),
            Privilege::Capabilities => out.write_str("it has file capabilities"),
            Privilege::Caller => {
                out.write_str("it is started by a process that acts for another user or group")
            }
        }
    }
}

/// Of a file that is open, with what is known of it; in this process, or in one that has its rights.
pub fn privilege(fd: c_int, file: &libc::stat) -> Option<Privilege> {
    if known::is_filtered() {
        // Not all that is asked here may be asked; who can put on a filter gains nothing, but for root.
        return None;
    }
    let [user, group, of_user, of_group] = ids();
    let has = |bits: u32| file.st_mode & bits == bits;
    let (setuid, setgid) = (has(libc::S_ISUID), has(libc::S_ISGID | libc::S_IXGRP));
    // Root has the capabilities already, and so gains nothing.
    let capable = user != 0 && has_capabilities(fd);
    let counts = (setuid || setgid || capable) && !gains_nothing(fd);
    match (counts && setuid, counts && setgid) {
        (true, _) if file.st_uid != user => Some(Privilege::User(file.st_uid)),
        (_, true) if file.st_gid != group => Some(Privilege::Group(file.st_gid)),
        (by_user, by_group) if !by_user && of_user != user || !by_group && of_group != group => {
            Some(Privilege::Caller)
        }
        _ => (counts && capable).then_some(Privilege::Capabilities),
    }
}

/// The user and the group that this process is, and those that it acts for.
fn ids() -> [u32; 4] {
    [
        call!(SYS_getuid),
        call!(SYS_getgid),
        call!(SYS_geteuid),
        call!(SYS_getegid),
    ]
    .map(|id| id as u32)
}

/// The process has forbidden it itself, or its mount does.
fn gains_nothing(fd: c_int) -> bool {
    const NOSUID: i64 = 2;
    // SAFETY: plain integers; all-zero is a value.
    let mut mount: libc::statfs64 = unsafe { core::mem::zeroed() };
    let forbidden = call!(SYS_prctl, libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) > 0;
    forbidden || call!(SYS_fstatfs, fd, &raw mut mount) == 0 && mount.f_flags as i64 & NOSUID != 0
}

fn has_capabilities(fd: c_int) -> bool {
    let mut value = [0_u8; 64];
    let name = c"security.capability".as_ptr();
    let length = call!(SYS_fgetxattr, fd, name, value.as_mut_ptr(), value.len());
    // A word of flags, then words of permitted and inheritable capabilities: any bit counts.
    let words = value.get(4..usize::try_from(length).unwrap_or(0));
    words.is_some_and(|words| words.iter().any(|byte| *byte != 0))
}

/// What the kernel says of a file, its owner too.
pub fn facts(fd: c_int) -> Option<libc::stat> {
    // SAFETY: plain integers; all-zero is a value.
    let mut s: libc::stat = unsafe { core::mem::zeroed() };
    (call!(SYS_fstat, fd, &raw mut s) == 0).then_some(s)
}

/// Who listens at the other end of a socket that was connected. (Not through rustix: a peer in another PID namespace has the
/// number 0 here, which is none to it.)
pub fn peer_user(socket: c_int) -> Option<u32> {
    let mut peer = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    let got = call!(
        SYS_getsockopt,
        socket,
        libc::SOL_SOCKET,
        libc::SO_PEERCRED,
        &raw mut peer,
        &raw mut length
    );
    (got == 0).then_some(peer.uid)
}

/// The same of a name.
pub fn facts_at(dir: c_int, path: *const libc::c_char, flags: c_int) -> Option<libc::stat> {
    // SAFETY: plain integers; all-zero is a value.
    let mut s: libc::stat = unsafe { core::mem::zeroed() };
    (call!(SYS_newfstatat, dir, path, &raw mut s, flags) == 0).then_some(s)
}

/// Whether this process may run it: as execve asks, with the rights that it acts with.
pub fn may_execute(fd: c_int) -> bool {
    if known::is_filtered() {
        return facts(fd).is_some_and(|file| file.st_mode & 0o111 != 0);
    }
    let flags = libc::AT_EACCESS | libc::AT_EMPTY_PATH;
    match call!(SYS_faccessat2, fd, c"".as_ptr(), libc::X_OK, flags) {
        0 => true,
        // An older kernel asks with the ids that it is, and not those that it acts for.
        n if n == -(libc::ENOSYS as isize) => {
            let path = number_path(fd);
            call!(
                SYS_faccessat,
                libc::AT_FDCWD,
                path.as_c_str().as_ptr(),
                libc::X_OK
            ) == 0
        }
        _ => false,
    }
}

/// Whether the kernel says that nobody can start it now, because somebody has it open for writing. An older kernel can't be
/// asked.
pub fn is_being_written(fd: c_int) -> bool {
    const ONLY_ASK: c_int = 0x1_0000; // AT_EXECVE_CHECK: Linux 6.14
    if known::is_filtered() {
        return false;
    }
    let arguments = [c"".as_ptr(), core::ptr::null()];
    let flags = libc::AT_EMPTY_PATH | ONLY_ASK;
    let said = call!(SYS_execveat, fd, c"".as_ptr(), arguments.as_ptr(), 0, flags);
    said == -(libc::ETXTBSY as isize)
}
