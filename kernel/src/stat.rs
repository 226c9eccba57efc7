//! What the kernel says of a file.

use core::ffi::{CStr, c_int};

use crate::call::{Raw, is_refused};
use crate::known;

/// The file facts that we decide by.
#[derive(Clone, Copy)]
pub struct Stat {
    pub dev: u64,
    pub ino: u64,
    pub rdev: u64,
    pub size: u64,
    pub mode: u32,
    /// How many names the file has.
    pub links: u32,
    /// The mount that the descriptor came by; 0: not known.
    pub mount: u64,
    /// No other mount ever has this number (Linux 6.8).
    pub mount_lasts: bool,
}

/// STATX_MNT_ID_UNIQUE.
const LASTING_MOUNT: u32 = 0x4000;

impl Stat {
    /// # Safety
    /// The fields that are read here have been written.
    unsafe fn of(x: *const libc::statx) -> Stat {
        // SAFETY: as the caller promises.
        unsafe {
            Stat {
                dev: libc::makedev((*x).stx_dev_major, (*x).stx_dev_minor),
                ino: (*x).stx_ino,
                rdev: libc::makedev((*x).stx_rdev_major, (*x).stx_rdev_minor),
                size: (*x).stx_size,
                mode: (*x).stx_mode.into(),
                links: (*x).stx_nlink,
                mount: (*x).stx_mnt_id,
                mount_lasts: (*x).stx_mask & LASTING_MOUNT != 0,
            }
        }
    }

    fn from(found: Raw, s: &libc::stat) -> Result<Stat, i32> {
        if found < 0 {
            return Err(-found as i32);
        }
        Ok(Stat {
            dev: s.st_dev,
            ino: s.st_ino,
            rdev: s.st_rdev,
            size: s.st_size as u64,
            mode: s.st_mode,
            links: u32::try_from(s.st_nlink).unwrap_or(u32::MAX),
            mount: 0,
            mount_lasts: false,
        })
    }
    pub fn is_regular(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFREG
    }
    pub fn is_pipe(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFIFO
    }
    pub fn is_directory(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }
    pub fn is_block_device(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFBLK
    }
}

fn empty_stat() -> libc::stat {
    // SAFETY: plain integers; all-zero is a value.
    unsafe { core::mem::zeroed() }
}

/// By statx without the times: a stat that asks for them makes the next write update them with a finer
/// clock, and so dirty the inode (a microsecond on ext4, measured).
pub fn fstat(fd: c_int) -> Result<Stat, i32> {
    fstat_by(fd, libc::AT_EMPTY_PATH)
}

/// The same, of what this host knows of the file: no server is asked. What it is, and not how long or how often linked.
pub fn fstat_at_once(fd: c_int) -> Result<Stat, i32> {
    fstat_by(fd, libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC)
}

fn fstat_by(fd: c_int, flags: c_int) -> Result<Stat, i32> {
    if known::is_filtered() {
        // The dynamic linker itself has used this one.
        return fstatat(fd, c"".as_ptr(), libc::AT_EMPTY_PATH);
    }
    if let Ok(stat) = statx(fd, c"".as_ptr(), flags) {
        return Ok(stat);
    }
    fstat_without_statx(fd)
}

/// On an old kernel, or under a filter that refuses statx. Apart from who may have it: both take room on the stack.
#[cold]
#[inline(never)]
fn fstat_without_statx(fd: c_int) -> Result<Stat, i32> {
    let mut s = empty_stat();
    let mut n = call!(SYS_fstat, fd, &raw mut s);
    if is_refused(n) {
        n = call!(
            SYS_newfstatat,
            fd,
            c"".as_ptr(),
            &raw mut s,
            libc::AT_EMPTY_PATH
        );
    }
    Stat::from(n, &s)
}

#[inline(never)]
fn statx(dir: c_int, path: *const libc::c_char, flags: c_int) -> Result<Stat, i32> {
    const MOUNT: u32 = 0x1000;
    let asked = libc::STATX_TYPE | libc::STATX_INO | libc::STATX_SIZE | libc::STATX_NLINK;
    let asked = asked | MOUNT | LASTING_MOUNT;
    let mut x = core::mem::MaybeUninit::<libc::statx>::uninit();
    let at = x.as_mut_ptr();
    // What is looked at below is something whatever the kernel does: a filter may say 0 in its place.
    // SAFETY: fields of `x`.
    unsafe {
        (&raw mut (*at).stx_mask).write(0);
        (&raw mut (*at).stx_nlink).write(0);
        (&raw mut (*at).stx_mode).write(0);
        (&raw mut (*at).stx_ino).write(0);
        (&raw mut (*at).stx_size).write(0);
        (&raw mut (*at).stx_rdev_major).write(0);
        (&raw mut (*at).stx_rdev_minor).write(0);
        (&raw mut (*at).stx_dev_major).write(0);
        (&raw mut (*at).stx_dev_minor).write(0);
        (&raw mut (*at).stx_mnt_id).write(0);
    }
    match call!(SYS_statx, dir, path, flags, asked, at) {
        // SAFETY: these fields have been written, above or by the kernel.
        0 => Ok(unsafe { Stat::of(at) }),
        error => Err(-error as i32),
    }
}

fn empty_statx() -> libc::statx {
    // SAFETY: plain integers; all-zero is a value.
    unsafe { core::mem::zeroed() }
}

/// `path` is the program's pointer: a bad one gives EFAULT.
pub fn fstatat(dir: c_int, path: *const libc::c_char, flags: c_int) -> Result<Stat, i32> {
    let mut s = empty_stat();
    let n = call!(SYS_newfstatat, dir, path, &raw mut s, flags);
    if is_refused(n)
        && let Ok(stat) = statx(dir, path, flags)
    {
        return Ok(stat);
    }
    Stat::from(n, &s)
}

pub fn filesystem_magic(fd: c_int) -> Option<i64> {
    magic(|s| call!(SYS_fstatfs, fd, s))
}

/// The same by a name.
pub fn filesystem_magic_at(path: &CStr) -> Option<i64> {
    magic(|s| call!(SYS_statfs, path.as_ptr(), s))
}

fn magic(ask: impl FnOnce(*mut libc::statfs) -> Raw) -> Option<i64> {
    // SAFETY: plain integers; all-zero is a value.
    let mut s: libc::statfs = unsafe { core::mem::zeroed() };
    (ask(&raw mut s) == 0).then_some(s.f_type)
}

/// What direct I/O on this file must be aligned to: memory, and offsets and lengths. None: the
/// filesystem doesn't say.
pub fn direct_alignment(fd: c_int) -> Result<Option<(u32, u32)>, i32> {
    let mut s = empty_statx();
    let (path, flags) = (c"".as_ptr(), libc::AT_EMPTY_PATH);
    let done = call!(SYS_statx, fd, path, flags, libc::STATX_DIOALIGN, &raw mut s);
    if done < 0 {
        return Err(-done as i32);
    }
    let said = s.stx_mask & libc::STATX_DIOALIGN != 0 && s.stx_dio_offset_align != 0;
    Ok(said.then_some((s.stx_dio_mem_align, s.stx_dio_offset_align)))
}

/// The least and the most that one atomic write takes. None: the filesystem doesn't say.
pub fn atomic_sizes(fd: c_int) -> Option<(u64, u64)> {
    const WRITE_ATOMIC: u32 = 0x1_0000;
    let mut s = empty_statx();
    let (path, flags) = (c"".as_ptr(), libc::AT_EMPTY_PATH);
    let done = call!(SYS_statx, fd, path, flags, WRITE_ATOMIC, &raw mut s);
    let said = done == 0 && s.stx_mask & WRITE_ATOMIC != 0;
    said.then_some((
        s.stx_atomic_write_unit_min.into(),
        s.stx_atomic_write_unit_max.into(),
    ))
}

/// When the file was made, in nanoseconds. None: the filesystem doesn't say.
pub fn birth(fd: c_int) -> Option<u64> {
    birth_at(fd, c"".as_ptr(), libc::AT_EMPTY_PATH)
}

/// The same of one that has a name. The pointer is the program's.
pub fn birth_at(dir: c_int, path: *const libc::c_char, flags: c_int) -> Option<u64> {
    let mut s = empty_statx();
    let done = call!(SYS_statx, dir, path, flags, libc::STATX_BTIME, &raw mut s);
    let said = done == 0 && s.stx_mask & libc::STATX_BTIME != 0;
    let (seconds, rest) = (s.stx_btime.tv_sec as u64, s.stx_btime.tv_nsec);
    said.then(|| {
        seconds
            .wrapping_mul(1_000_000_000)
            .wrapping_add(rest.into())
    })
}

pub fn read_link(path: &CStr, into: &mut [u8]) -> Option<usize> {
    let n = call!(
        SYS_readlinkat,
        libc::AT_FDCWD,
        path.as_ptr(),
        into.as_mut_ptr(),
        into.len()
    );
    usize::try_from(n).ok()
}

/// As many entries of a directory as fit; their length, 0 at the end.
pub fn directory_entries(fd: c_int, into: &mut [u8]) -> Raw {
    call!(SYS_getdents64, fd, into.as_mut_ptr(), into.len())
}
