//! The caller's limit on the size of files (`RLIMIT_FSIZE`), which the kernel asks of who makes the call: of us.

use std::mem::MaybeUninit;

use super::listener::Answer;
use super::numbers::Copy;
use super::scene::Scene;

/// None: there is none.
fn limit(process: u32) -> Option<u64> {
    let mut now = MaybeUninit::<libc::rlimit64>::uninit();
    let at = now.as_mut_ptr() as usize;
    let arguments = [process as usize, libc::RLIMIT_FSIZE as usize, 0, at, 0, 0];
    // SAFETY: a structure of ours, which is filled in where that succeeds.
    let got = unsafe { kernel::any(libc::SYS_prlimit64 as usize, arguments) };
    if got != 0 {
        return limit_shown(process);
    }
    // SAFETY: filled in.
    let most = unsafe { now.assume_init() }.rlim_cur;
    (most != libc::RLIM64_INFINITY).then_some(most)
}

/// The same by a longer way, which is open to all: of a process that acts for another user.
fn limit_shown(process: u32) -> Option<u64> {
    let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).ok()?;
    let mut lines = limits.lines();
    let line = lines.find_map(|line| line.strip_prefix("Max file size"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// How much of a write at this place may be made; Err: none of it.
pub fn of_write(scene: &Scene, copy: &Copy, at: Option<i64>, len: usize) -> Result<usize, Answer> {
    let Some(most) = (!copy.is_block && len > 0)
        .then(|| limit(scene.process.number))
        .flatten()
    else {
        return Ok(len);
    };
    let fd = copy.number();
    let appends = kernel::get_flags(fd).is_ok_and(|flags| flags & libc::O_APPEND as u32 != 0);
    let place = match at {
        _ if appends => kernel::privilege::facts(fd).map_or(0, |facts| facts.st_size),
        Some(place) => place,
        None => kernel::lseek(fd, 0, libc::SEEK_CUR) as i64,
    };
    let left = most.saturating_sub(u64::try_from(place).unwrap_or(0));
    match left {
        0 => Err(exceeded(scene)),
        left => Ok(len.min(usize::try_from(left).unwrap_or(usize::MAX))),
    }
}

/// Before a file comes to be that long, if it isn't.
pub fn of_length(scene: &Scene, copy: &Copy, len: i64) -> Result<(), Answer> {
    let Some(most) = limit(scene.process.number) else {
        return Ok(());
    };
    let now = kernel::privilege::facts(copy.number()).map_or(0, |facts| facts.st_size);
    let (len, now) = (len.max(0).unsigned_abs(), now.max(0).unsigned_abs());
    if len > most && len > now {
        return Err(exceeded(scene));
    }
    Ok(())
}

/// The signal that the kernel raises, and its error.
pub fn exceeded(scene: &Scene) -> Answer {
    scene.signal(libc::SIGXFSZ);
    Answer::Error(libc::EFBIG)
}
