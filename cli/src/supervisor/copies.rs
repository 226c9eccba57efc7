//! What the kernel moves from one number to another, and `ioctl`s that move blocks.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use super::limits;
use super::listener::Answer;
use super::memory::{self, MOST};
use super::numbers::{self, Copy, Found};
use super::pipes::{self, Sending};
use super::scene::Scene;

pub const CLONE: u32 = 0x4004_9409;
pub const CLONE_RANGE: u32 = 0x4020_940d;
pub const DEDUPE_RANGE: u32 = 0xc018_9436;
pub const DISCARD: u32 = 0x1277;
pub const SECURE_DISCARD: u32 = 0x127d;
pub const ZERO_OUT: u32 = 0x127f;

/// None: it is none of these.
pub fn copy(scene: &mut Scene) -> Option<Answer> {
    let result = match scene.call.number() {
        libc::SYS_copy_file_range => copied(scene),
        libc::SYS_sendfile => sent(scene),
        libc::SYS_splice => spliced(scene),
        libc::SYS_ioctl => controlled(scene),
        _ => return None,
    };
    Some(result.unwrap_or_else(|answer| answer))
}

/// An offset of the program's, for the time of a call.
struct Offset {
    at: usize,
    now: i64,
}

impl Offset {
    /// None: the number's own.
    fn fetch(scene: &Scene, at: usize) -> Result<Option<Offset>, Answer> {
        if at == 0 {
            return Ok(None);
        }
        let now = memory::word(scene.call.thread, at).ok_or(Answer::Error(libc::EFAULT))?;
        let now = now as i64;
        Ok(Some(Offset { at, now }))
    }

    fn put(&self, scene: &Scene) -> Result<(), Answer> {
        let put = memory::put(scene.call.thread, self.at, &self.now.to_ne_bytes());
        put.ok_or(Answer::Error(libc::EFAULT))
    }
}

fn pointer(offset: &mut Option<Offset>) -> *mut i64 {
    offset
        .as_mut()
        .map_or(std::ptr::null_mut(), |one| &raw mut one.now)
}

fn put_both(scene: &Scene, from: &Option<Offset>, to: &Option<Offset>) -> Result<(), Answer> {
    for offset in [from, to].into_iter().flatten() {
        offset.put(scene)?;
    }
    Ok(())
}

fn copied(scene: &Scene) -> Result<Answer, Answer> {
    let call = scene.call;
    let (from, to) = (scene.file(0)?, scene.file(2)?);
    let mut at = Offset::fetch(scene, call.size(1))?;
    let mut into = Offset::fetch(scene, call.size(3))?;
    let place = into.as_ref().map(|into| into.now);
    let len = limits::of_write(scene, &to, place, call.size(4))?;
    let (flags, at_now, into_now) = (call.flags(5) as u32, pointer(&mut at), pointer(&mut into));
    // SAFETY: numbers of ours, and offsets of ours or none.
    let moved =
        unsafe { libc::copy_file_range(from.number(), at_now, to.number(), into_now, len, flags) };
    if moved > 0 {
        put_both(scene, &at, &into)?;
    }
    Ok(Answer::of(moved as i64))
}

fn sent(scene: &mut Scene) -> Result<Answer, Answer> {
    let call = scene.call;
    let from = scene.file(1)?;
    let to = End::of(scene, call.fd(0))?;
    let mut at = Offset::fetch(scene, call.size(2))?;
    let len = call.size(3).min(MOST);
    let answer = match &to {
        End::File(to) => {
            let len = limits::of_write(scene, to, None, len)?;
            let (to, from, at) = (to.number(), from.number(), pointer(&mut at));
            // SAFETY: numbers of ours, and an offset of ours or none.
            Ok(Answer::of(
                unsafe { libc::sendfile64(to, from, at, len) } as i64
            ))
        }
        // As the kernel does it: as much as there is room for.
        End::Other(to) if is_pipe(to) => {
            let waited_for = (to.as_raw_fd(), libc::POLLOUT);
            is_within(&from, &at)?;
            pipes::splice(scene, waited_for, true, || {
                let (to, from, at) = (to.as_raw_fd(), from.number(), pointer(&mut at));
                let flags = libc::SPLICE_F_NONBLOCK;
                // SAFETY: as above.
                unsafe { libc::splice(from, at, to, std::ptr::null_mut(), len, flags) }
            })
        }
        End::Other(to) => {
            let at = at.as_mut().map(|at| &mut at.now);
            let sending = Sending {
                from: &from,
                at,
                to,
                len,
            };
            sending.send(scene)
        }
    };
    // Whatever became of it, as the kernel does.
    put_both(scene, &at, &None)?;
    answer
}

/// Whether a file can have anything so far out: `sendfile` has an error for it, and `splice` none.
fn is_within(from: &Copy, at: &Option<Offset>) -> Result<(), Answer> {
    const FAR: i64 = 1 << 43;
    let Some(mut place) = at.as_ref().map(|at| at.now).filter(|at| *at >= FAR) else {
        return Ok(());
    };
    let nowhere = std::fs::File::create("/dev/null").map_err(|_| Answer::Error(libc::EINVAL))?;
    // SAFETY: numbers of ours and an offset of ours; what comes of it is lost.
    let sent = unsafe { libc::sendfile64(nowhere.as_raw_fd(), from.number(), &raw mut place, 1) };
    match sent {
        -1 => Err(Answer::Error(kernel::errno())),
        _ => Ok(()),
    }
}

fn is_pipe(number: &OwnedFd) -> bool {
    let facts = kernel::privilege::facts(number.as_raw_fd());
    facts.is_some_and(|facts| facts.st_mode & libc::S_IFMT == libc::S_IFIFO)
}

/// One end of a splice or of a sending, as we have it.
enum End {
    File(Arc<Copy>),
    Other(OwnedFd),
}

impl End {
    fn of(scene: &Scene, fd: i32) -> Result<End, Answer> {
        match numbers::find(scene, fd) {
            Found::File(file) => Ok(End::File(file)),
            Found::OutOfReach => Err(scene.out_of_reach()),
            // The kernel says what it says of a number that isn't open.
            Found::Other => Ok(End::Other(numbers::other(scene, fd).ok_or(Answer::Itself)?)),
        }
    }

    fn number(&self) -> i32 {
        match self {
            End::File(file) => file.number(),
            End::Other(pipe) => pipe.as_raw_fd(),
        }
    }
}

fn spliced(scene: &Scene) -> Result<Answer, Answer> {
    let call = scene.call;
    let (from, to) = (End::of(scene, call.fd(0))?, End::of(scene, call.fd(2))?);
    let mut at = Offset::fetch(scene, call.size(1))?;
    let mut into = Offset::fetch(scene, call.size(3))?;
    let mut len = call.size(4);
    let waited_for = match (&from, &to) {
        (End::Other(_), End::Other(_)) => return Err(Answer::Itself),
        (End::Other(pipe), End::File(file)) => {
            let place = into.as_ref().map(|into| into.now);
            len = limits::of_write(scene, file, place, len)?;
            (pipe.as_raw_fd(), libc::POLLIN)
        }
        (End::File(_), to) => (to.number(), libc::POLLOUT),
    };
    let flags = call.arguments[5] as u32;
    let answer = pipes::splice(
        scene,
        waited_for,
        flags & libc::SPLICE_F_NONBLOCK == 0,
        || {
            let (from, to) = (from.number(), to.number());
            let (at, into) = (pointer(&mut at), pointer(&mut into));
            let flags = flags | libc::SPLICE_F_NONBLOCK;
            // SAFETY: numbers of ours, and offsets of ours or none.
            unsafe { libc::splice(from, at, to, into, len, flags) }
        },
    )?;
    if matches!(answer, Answer::Result(1..)) {
        put_both(scene, &at, &into)?;
    }
    Ok(answer)
}

fn controlled(scene: &Scene) -> Result<Answer, Answer> {
    let call = scene.call;
    let request = call.arguments[1] as u32;
    let file = scene.file(0)?;
    match request {
        CLONE => {
            let from = scene.file(2)?;
            Ok(control(file.number(), request, from.number() as usize))
        }
        CLONE_RANGE => {
            let mut range = [0_i64; 4];
            fetch(scene, call.size(2), &mut range)?;
            let from = scene.file_of(range[0] as i32)?;
            range[0] = from.number().into();
            Ok(control(file.number(), request, range.as_ptr() as usize))
        }
        DISCARD | SECURE_DISCARD | ZERO_OUT => {
            let mut range = [0_i64; 2];
            fetch(scene, call.size(2), &mut range)?;
            Ok(control(file.number(), request, range.as_ptr() as usize))
        }
        DEDUPE_RANGE => deduped(scene, file.number()),
        _ => Err(Answer::Itself),
    }
}

fn fetch(scene: &Scene, at: usize, words: &mut [i64]) -> Result<(), Answer> {
    for (place, word) in words.iter_mut().enumerate() {
        let got = memory::word(scene.call.thread, at + place * 8);
        *word = got.ok_or(Answer::Error(libc::EFAULT))? as i64;
    }
    Ok(())
}

fn control(fd: i32, request: u32, argument: usize) -> Answer {
    // SAFETY: a number of ours, and a number or a structure of ours as the request has it.
    Answer::of(unsafe { libc::ioctl(fd, request.into(), argument) }.into())
}

/// `struct file_dedupe_range`: offset, length, a count in the lower 16 bits; then for each its number, offset, bytes, status.
fn deduped(scene: &Scene, fd: i32) -> Result<Answer, Answer> {
    let (thread, at) = (scene.call.thread, scene.call.size(2));
    let mut head = [0_i64; 3];
    fetch(scene, at, &mut head)?;
    let count = usize::from(head[2] as u16);
    let mut all = vec![0_i64; 3 + count * 4];
    fetch(scene, at, &mut all)?;
    let theirs: Vec<i64> = all[3..].iter().step_by(4).copied().collect();
    let mut kept = Vec::new();
    for (one, number) in theirs.iter().enumerate() {
        // What is no file is refused by the kernel, by its own word.
        if let Found::File(copy) = numbers::find(scene, *number as i32) {
            all[3 + one * 4] = copy.number().into();
            kept.push(copy);
        } else {
            all[3 + one * 4] = -1;
        }
    }
    let answer = control(fd, DEDUPE_RANGE, all.as_mut_ptr() as usize);
    for (one, number) in theirs.iter().enumerate() {
        all[3 + one * 4] = *number;
    }
    let bytes: Vec<u8> = all.iter().flat_map(|word| word.to_ne_bytes()).collect();
    memory::put(thread, at, &bytes).ok_or(Answer::Error(libc::EFAULT))?;
    Ok(answer)
}
