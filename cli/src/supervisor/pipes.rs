//! What moves between a file and a pipe or a socket: as far as that can be done without waiting. Where nothing can, we wait in
//! the program's place, and give the call back when a signal comes for it, for we can't have its handler run meanwhile.
//! What is spliced the library fences by itself; what is sent into a socket is read here, and written there.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::process::set_in;

use super::listener::Answer;
use super::memory::Piece;
use super::numbers::Copy;
use super::scene::Scene;

/// As much as a pipe usually holds.
const AT_ONCE: usize = 64 << 10;
/// How long a signal may have to wait, in milliseconds.
const WHILE: i32 = 20;

pub struct Sending<'a> {
    pub from: &'a Copy,
    /// In the file; None: its own offset.
    pub at: Option<&'a mut i64>,
    pub to: &'a OwnedFd,
    pub len: usize,
}

enum Put {
    Some(usize),
    NoRoom,
    Failed(i32),
}

impl Sending<'_> {
    /// How many bytes.
    pub fn send(mut self, scene: &mut Scene) -> Result<Answer, Answer> {
        let to = self.to.as_raw_fd();
        let flags = kernel::get_flags(to).unwrap_or(0) as i32;
        if flags & libc::O_ACCMODE == libc::O_RDONLY {
            return Err(Answer::Error(libc::EBADF));
        }
        let waits = flags & libc::O_NONBLOCK == 0;
        let mut moved = 0;
        while moved < self.len {
            match self.part(scene, self.len - moved) {
                Put::Some(0) => break,
                Put::Some(part) => moved += part,
                Put::NoRoom if !waits && moved > 0 => break,
                Put::NoRoom if !waits => return Err(Answer::Error(libc::EAGAIN)),
                Put::NoRoom => match wait(scene, to, libc::POLLOUT) {
                    Ok(()) => {}
                    Err(_) if moved > 0 => break,
                    Err(answer) => return Err(answer),
                },
                Put::Failed(error) => {
                    if error == libc::EPIPE {
                        scene.signal(libc::SIGPIPE);
                    }
                    match moved {
                        0 => return Err(Answer::Error(error)),
                        _ => break,
                    }
                }
            }
        }
        Ok(Answer::Result(moved as i64))
    }

    /// Once; 0: the file has no more.
    fn part(&mut self, scene: &mut Scene, len: usize) -> Put {
        let len = len.min(AT_ONCE);
        let from = self.from.number();
        let place = match &self.at {
            Some(at) => **at,
            None => kernel::lseek(from, 0, libc::SEEK_CUR) as i64,
        };
        let piece = Piece { at: 0, len };
        let Ok(pieces) = scene.room.lay_out(&[piece]) else {
            return Put::Failed(libc::ENOMEM);
        };
        let Some(base) = pieces.here.first().map(|one| one.iov_base) else {
            return Put::Some(0);
        };
        // SAFETY: room of ours of that length.
        let got = unsafe { libc::pread64(from, base, len, place) };
        let Ok(got) = usize::try_from(got) else {
            return Put::Failed(kernel::errno());
        };
        let put = match got {
            0 => return Put::Some(0),
            // SAFETY: that much of the room has just been filled.
            got => put(self.to.as_raw_fd(), unsafe {
                std::slice::from_raw_parts(base.cast(), got)
            }),
        };
        if let Put::Some(part) = put {
            match &mut self.at {
                Some(at) => **at += part as i64,
                None => {
                    kernel::lseek(from, part as i64, libc::SEEK_CUR);
                }
            }
        }
        put
    }
}

/// A splice of which one end is a file; `act` does what can be done without waiting. `pipe`: the other end, and what is
/// waited for there.
pub fn splice(
    scene: &Scene,
    (pipe, events): (i32, i16),
    waits: bool,
    mut act: impl FnMut() -> isize,
) -> Result<Answer, Answer> {
    let blocks = kernel::get_flags(pipe).unwrap_or(0) as i32 & libc::O_NONBLOCK == 0;
    loop {
        let moved = act();
        match (moved, kernel::errno()) {
            (-1, libc::EAGAIN) if waits && blocks => wait(scene, pipe, events)?,
            (-1, libc::EPIPE) => {
                scene.signal(libc::SIGPIPE);
                return Err(Answer::Error(libc::EPIPE));
            }
            _ => return Ok(Answer::of(moved as i64)),
        }
    }
}

/// Until that can be done there.
fn wait(scene: &Scene, fd: i32, events: i16) -> Result<(), Answer> {
    loop {
        let mut one = libc::pollfd {
            fd,
            events,
            revents: 0,
        };
        // SAFETY: one structure, as is said.
        if unsafe { libc::poll(&raw mut one, 1, WHILE) } > 0 {
            return Ok(());
        }
        if !scene.still_waits() {
            return Err(Answer::Given);
        }
        if has_signal(scene.call.thread) {
            return Err(Answer::Error(libc::EINTR));
        }
    }
}

/// Into a socket without waiting, and without a signal to us. What else there is (a terminal, /dev/null) takes it all the same.
fn put(to: i32, bytes: &[u8]) -> Put {
    const QUIETLY: usize = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as usize;
    let arguments = [
        to as usize,
        bytes.as_ptr() as usize,
        bytes.len(),
        QUIETLY,
        0,
        0,
    ];
    // SAFETY: bytes of ours. Raw: it is no file.
    let sent = unsafe { kernel::any(libc::SYS_sendto as usize, arguments) };
    let written = match sent {
        n if n == -(libc::ENOTSOCK as isize) => kernel::write(to, bytes),
        n => n,
    };
    match kernel::result(written) {
        Ok(part) => Put::Some(part),
        Err(rustix::io::Errno::AGAIN) => Put::NoRoom,
        Err(error) => Put::Failed(error.raw_os_error()),
    }
}

/// Whether a signal has come that the thread doesn't block.
fn has_signal(thread: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    let set = |key| set_in(&status, key).unwrap_or(0);
    (set("SigPnd") | set("ShdPnd")) & !set("SigBlk") != 0
}
