//! Opening with `O_TRUNC`. The kernel may wait in an open, for a lease that another process holds or a server that is
//! slow, and nobody may be kept out of the file meanwhile. So where it can't be told apart from the one call, the file
//! is opened first and emptied then, by its number, under the range that a truncate takes.

use core::ffi::{CStr, c_char};

use lock_table::FileId;

use crate::calls::layout::{self, Change};
use crate::calls::numbers;
use crate::what::{descriptors, identity, own};
use crate::who::process;

enum How {
    /// There is nothing that needs a fence.
    Bare,
    /// By the one call, with the whole file held: a copy from the lower layer that need not be made, or a number that
    /// may only read.
    Held,
    /// Opened and then emptied; the file that is there already.
    InTwoSteps(Option<FileId>),
}

/// `path` is the program's pointer; `real` takes the flags.
#[inline(always)]
pub fn open(dir: i32, path: *const c_char, flags: i32, real: impl Fn(i32) -> i32) -> i32 {
    open_known(dir, path, (flags, Some(flags)), real)
}

/// The same where the program's flags stand in its memory, and the kernel reads them there again.
#[inline(always)]
pub fn open_as_written(
    dir: i32,
    path: *const c_char,
    flags: i32,
    real: impl Fn(i32) -> i32,
) -> i32 {
    open_known(dir, path, (flags, None), real)
}

#[inline(never)]
fn open_known(
    dir: i32,
    path: *const c_char,
    (flags, known): (i32, Option<i32>),
    real: impl Fn(i32) -> i32,
) -> i32 {
    if flags & libc::O_TRUNC == 0 || flags & libc::O_PATH != 0 {
        return numbers::opening(known, || real(flags));
    }
    if layout::refused_by_name(dir, path) {
        return kernel::libc_result(-libc::ENOLCK as isize) as i32;
    }
    match how(dir, path, flags) {
        How::Bare => numbers::opening(known, || real(flags)),
        How::Held => numbers::opening(known, || {
            layout::open_truncating(dir, path, flags, || real(flags) as isize) as i32
        }),
        How::InTwoSteps(there) => {
            let errno = kernel::errno();
            let fd = numbers::opening(known, || real(flags & !libc::O_TRUNC));
            if fd < 0 {
                return fd;
            }
            empty(fd, there.is_some(), errno)
        }
    }
}

/// Whether an open with these flags empties a file that is there, and holds nothing while the kernel waits in it.
#[inline(never)]
pub fn waits_for_nobody(path: *const c_char, flags: i32) -> bool {
    matches!(how(libc::AT_FDCWD, path, flags), How::InTwoSteps(Some(_)))
}

/// The file behind a handle, which has no name here.
pub fn open_handle(flags: i32, real: impl Fn(i32) -> i32) -> i32 {
    let writes = matches!(flags & libc::O_ACCMODE, libc::O_WRONLY | libc::O_RDWR);
    let fenced = process::active().is_some() || process::refuses();
    if flags & libc::O_TRUNC == 0 || flags & libc::O_PATH != 0 || !writes || !fenced {
        return numbers::opening(None, || real(flags));
    }
    let errno = kernel::errno();
    let fd = numbers::opening(None, || real(flags & !libc::O_TRUNC));
    if fd < 0 { fd } else { empty(fd, true, errno) }
}

/// An object of shared memory is a file in a directory that everybody knows.
///
/// # Safety
/// `name` is a C string.
pub unsafe fn open_shared(name: *const c_char, flags: i32, real: impl Fn(i32) -> i32) -> i32 {
    const DIRECTORY: &[u8] = b"/dev/shm/";
    // SAFETY: as the caller promises.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    let first = name.iter().position(|b| *b != b'/').unwrap_or(name.len());
    let mut path = [0u8; DIRECTORY.len() + 256];
    let bytes = DIRECTORY.iter().chain(name.iter().skip(first));
    let last = path.len() - 1; // too long a name is cut, and refused
    for (to, from) in path.iter_mut().take(last).zip(bytes) {
        *to = *from;
    }
    open(libc::AT_FDCWD, path.as_ptr().cast(), flags, real)
}

fn how(dir: i32, path: *const c_char, flags: i32) -> How {
    let makes = |also| flags & (libc::O_CREAT | also) == libc::O_CREAT | also;
    if process::active().is_none() || makes(libc::O_EXCL) {
        return How::Bare;
    }
    let follow = match flags & libc::O_NOFOLLOW {
        0 => 0,
        _ => libc::AT_SYMLINK_NOFOLLOW,
    };
    let stat = match kernel::fstatat(dir, path, follow) {
        Ok(stat) if stat.is_regular() => stat,
        // Somebody else may make it in between.
        Err(libc::ENOENT) if makes(0) && may_empty() => return How::InTwoSteps(None),
        _ => return How::Bare,
    };
    if !matches!(flags & libc::O_ACCMODE, libc::O_WRONLY | libc::O_RDWR) {
        return How::Held;
    }
    // Files of the kernel's own look at `O_TRUNC` themselves. They, and layers, have no device.
    if libc::major(stat.dev) == 0 {
        let fd = kernel::open_path(dir, path) as i32;
        let filesystem = kernel::filesystem_magic(fd).map(|m| policy::filesystem_name(m as u64));
        own::close_looked_at(fd);
        match filesystem {
            Some(name) if policy::is_kernel_filesystem(name) => return How::Bare,
            Some("overlay") | None => return How::Held,
            Some(_) => {}
        }
    }
    match may_empty() {
        true => How::InTwoSteps(identity::identity(&stat)),
        false => How::Held,
    }
}

/// The second step; where it fails, the open has failed.
fn empty(fd: i32, was_there: bool, errno: i32) -> i32 {
    let stat = kernel::fstat(fd).ok().filter(kernel::Stat::is_regular);
    // One that this call has just made is left as it is: emptying changes times, and is told.
    if !stat.is_some_and(|s| was_there || s.size != 0) {
        return fd;
    }
    // Looked at first: a file in one mode needs no range.
    if let Some(pinned) = descriptors::pin(fd) {
        pinned.unpin();
    }
    let emptied = layout::change(fd, Change::Truncate(0), || {
        kernel::libc_result(kernel::ftruncate(fd, 0))
    });
    if emptied < 0 {
        let error = kernel::errno();
        numbers::close(fd, || kernel::libc_result(kernel::close_now(fd)) as i32);
        kernel::set_errno(error);
        return -1;
    }
    kernel::set_errno(errno);
    fd
}

/// Whether a file that was opened may be emptied by its number: a sandbox may let it be emptied by opening it only.
fn may_empty() -> bool {
    !kernel::known::is_filtered() && kernel::may(libc::SYS_ftruncate as usize, &[0; 6])
}
