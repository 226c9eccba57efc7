//! What changes a file's length or its blocks, and what waits for the device, by number and by name.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::limits;
use super::listener::Answer;
use super::memory;
use super::names::{self, Named};
use super::numbers::Copy;
use super::scene::Scene;

/// None: it is none of these.
pub fn change(scene: &mut Scene) -> Option<Answer> {
    let call = scene.call;
    let result = match call.number() {
        libc::SYS_ftruncate => truncated(scene),
        libc::SYS_truncate => truncated_by_name(scene),
        libc::SYS_fallocate => allocated(scene),
        libc::SYS_fsync => synced(scene, |fd| {
            // SAFETY: a number of ours.
            unsafe { libc::fsync(fd) }
        }),
        libc::SYS_fdatasync => synced(scene, |fd| {
            // SAFETY: a number of ours.
            unsafe { libc::fdatasync(fd) }
        }),
        libc::SYS_sync_file_range => synced(scene, |fd| {
            let (at, len, flags) = (call.offset(1), call.offset(2), call.flags(3) as u32);
            // SAFETY: a number of ours.
            unsafe { libc::sync_file_range(fd, at, len, flags) }
        }),
        _ => return emptied(scene),
    };
    Some(result.unwrap_or_else(|answer| answer))
}

fn truncated(scene: &Scene) -> Result<Answer, Answer> {
    let copy = scene.file(0)?;
    let len = scene.call.offset(1);
    limits::of_length(scene, &copy, len)?;
    // SAFETY: a number of ours.
    let result = unsafe { libc::ftruncate64(copy.number(), len) };
    Ok(Answer::of(result.into()))
}

fn allocated(scene: &Scene) -> Result<Answer, Answer> {
    let copy = scene.file(0)?;
    let call = scene.call;
    let (mode, at, len) = (call.flags(1), call.offset(2), call.offset(3));
    if mode & libc::FALLOC_FL_KEEP_SIZE == 0 {
        limits::of_length(scene, &copy, at.saturating_add(len))?;
    }
    // SAFETY: a number of ours.
    let result = unsafe { libc::fallocate64(copy.number(), mode, at, len) };
    Ok(Answer::of(result.into()))
}

fn synced(scene: &Scene, act: impl Fn(i32) -> i32) -> Result<Answer, Answer> {
    let copy = scene.file(0)?;
    Ok(Answer::of(act(copy.number()).into()))
}

fn truncated_by_name(scene: &Scene) -> Result<Answer, Answer> {
    let path = memory::path(scene.call.thread, scene.call.size(0)).map_err(Answer::Error)?;
    let Named::File(file) = names::find(scene, libc::AT_FDCWD, &path, 0)? else {
        return Err(Answer::Itself);
    };
    let number = opened(&file, libc::O_WRONLY)?;
    let copy = Copy::opened(number).ok_or(Answer::Itself)?;
    let len = scene.call.offset(1);
    limits::of_length(scene, &copy, len)?;
    // SAFETY: a number of ours.
    let result = unsafe { libc::ftruncate64(copy.number(), len) };
    Ok(Answer::of(result.into()))
}

/// What is opened with `O_TRUNC` is emptied: where it is a file that is there it is opened here, and the program gets the number.
fn emptied(scene: &Scene) -> Option<Answer> {
    let (dir, path, flags) = opening(scene)?;
    Some(opened_emptied(scene, dir, path, flags).unwrap_or_else(|answer| answer))
}

/// The directory, the address of the path, and the flags. None: it is another call.
fn opening(scene: &Scene) -> Option<(i32, usize, i32)> {
    let call = scene.call;
    match call.number() {
        libc::SYS_openat => Some((call.fd(0), call.size(1), call.flags(2))),
        libc::SYS_openat2 => {
            let flags = memory::word(call.thread, call.size(2)).unwrap_or(0);
            Some((call.fd(0), call.size(1), flags as i32))
        }
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open => Some((libc::AT_FDCWD, call.size(0), call.flags(1))),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_creat => {
            let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
            Some((libc::AT_FDCWD, call.size(0), flags))
        }
        _ => None,
    }
}

fn opened_emptied(scene: &Scene, dir: i32, path: usize, flags: i32) -> Result<Answer, Answer> {
    // A path is no use, and what is made anew is empty.
    let exclusive = libc::O_CREAT | libc::O_EXCL;
    if flags & libc::O_TRUNC == 0 || flags & libc::O_PATH != 0 || flags & exclusive == exclusive {
        return Err(Answer::Itself);
    }
    if scene.call.number() == libc::SYS_openat2 {
        is_sound(scene)?;
    }
    let path = memory::path(scene.call.thread, path).map_err(Answer::Error)?;
    let Named::File(file) = names::find(scene, dir, &path, flags & libc::O_NOFOLLOW)? else {
        return Err(Answer::Itself);
    };
    // What `openat2` asks for besides is asked of a call that empties nothing.
    if scene.call.number() == libc::SYS_openat2 && !asks_nothing_more(scene) {
        return Err(scene.shared.said.not_covered(
            scene.process.number,
            "a file is emptied by openat2 with conditions on its path",
        ));
    }
    let kept = flags & !(libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW);
    let number = opened(&file, kept)?;
    let close_on_exec = flags & libc::O_CLOEXEC != 0;
    let given = scene
        .shared
        .listener
        .give(scene.call, number.as_raw_fd(), close_on_exec)
        .map_err(|error| Answer::Error(error.raw_os_error().unwrap_or(libc::EIO)))?;
    if let Some(copy) = Copy::opened(number) {
        scene.process.copies.keep(given, copy);
    }
    Ok(Answer::Given)
}

/// Whether the kernel takes what a call of `openat2` asks for, whatever the path is: it looks at that first.
fn is_sound(scene: &Scene) -> Result<(), Answer> {
    let (at, len) = (scene.call.size(2), scene.call.size(3));
    let mut how = vec![0; len.min(64 << 10)];
    memory::fetch(scene.call.thread, at, &mut how).ok_or(Answer::Error(libc::EFAULT))?;
    let nowhere = usize::MAX; // no directory
    let arguments = [
        nowhere,
        c".".as_ptr() as usize,
        how.as_ptr() as usize,
        len,
        0,
        0,
    ];
    // SAFETY: a terminated path, and a structure of ours of that length, or of more than a page of any kernel.
    let said = unsafe { kernel::any(libc::SYS_openat2 as usize, arguments) };
    match -said as i32 {
        libc::EBADF => Ok(()),
        error => Err(Answer::Error(error)),
    }
}

fn asks_nothing_more(scene: &Scene) -> bool {
    let resolve = scene.call.size(2) + 16;
    memory::word(scene.call.thread, resolve) == Some(0)
}

/// Opens a file that was found.
fn opened(file: &OwnedFd, flags: i32) -> Result<OwnedFd, Answer> {
    let path = kernel::number_path(file.as_raw_fd());
    // SAFETY: a terminated path.
    let number = unsafe { libc::open64(path.as_c_str().as_ptr(), flags | libc::O_CLOEXEC) };
    match number {
        -1 => Err(Answer::Error(kernel::errno())),
        // SAFETY: a number that was just made, and nobody else's.
        number => Ok(unsafe { OwnedFd::from_raw_fd(number) }),
    }
}
