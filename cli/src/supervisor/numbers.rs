//! Copies of the programs' numbers (`pidfd_getfd`): a copy is the same open file description, with its offset and its flags.
//!
//! A copy is kept from its first use until the program gives its number up, because a description lives (and with it a
//! `flock`, or a deleted file's room) as long as anybody has it. Whether a number still stands for its copy is asked of the
//! kernel at each use (`kcmp`), so that no way of changing a number need be known here for the right file to be met.
//! What is no file isn't kept at all: who waits for a pipe's end waits for its last holder.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex};

use super::processes::Process;
use super::scene::Scene;

/// A regular file or a block device.
pub struct Copy {
    fd: OwnedFd,
    pub is_block: bool,
}

/// By the number that the program has.
#[derive(Default)]
pub struct Copies(Mutex<HashMap<i32, Arc<Copy>>>);

/// What a number stands for.
pub enum Found {
    File(Arc<Copy>),
    /// A pipe, a socket, nothing at all: the kernel knows what to do.
    Other,
    /// It can't be looked at, so nothing is known of it.
    OutOfReach,
}

impl Copies {
    fn get(&self, fd: i32) -> Option<Arc<Copy>> {
        self.0.lock().ok()?.get(&fd).cloned()
    }

    pub fn keep(&self, fd: i32, copy: Arc<Copy>) {
        if let Ok(mut all) = self.0.lock() {
            all.insert(fd, copy);
        }
    }

    /// The program is about to give these up. (What is taken out is closed when nothing is locked.)
    pub fn forget(&self, first: u32, last: u32) {
        let gone: Vec<_> = match self.0.lock() {
            Ok(mut all) if first == last => all.remove(&(first as i32)).into_iter().collect(),
            Ok(mut all) => {
                let range = first..=last;
                let out = all.extract_if(|fd, _| range.contains(&(*fd as u32)));
                out.map(|(_, copy)| copy).collect()
            }
            Err(_) => return,
        };
        drop(gone);
    }

    pub fn forget_all(&self) {
        self.forget(0, u32::MAX);
    }
}

impl Copy {
    pub fn number(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    /// None: it is no file.
    fn of(fd: OwnedFd) -> Option<Copy> {
        let kind = kernel::privilege::facts(fd.as_raw_fd())?.st_mode & libc::S_IFMT;
        let is_block = kind == libc::S_IFBLK;
        (is_block || kind == libc::S_IFREG).then_some(Copy { fd, is_block })
    }

    /// Of a number that has just been opened here.
    pub fn opened(fd: OwnedFd) -> Option<Arc<Copy>> {
        Copy::of(fd).map(Arc::new)
    }
}

/// What the caller's number stands for.
pub fn find(scene: &Scene, fd: i32) -> Found {
    let (call, mut process) = (scene.call, scene.process.clone());
    if fd < 0 {
        return Found::Other;
    }
    if let Some(copy) = process.copies.get(fd) {
        if is_same(call.thread, fd, copy.number()) {
            return Found::File(copy);
        }
        process.copies.forget(fd as u32, fd as u32);
    }
    for _ in 0..3 {
        let fresh = match take(&process, fd) {
            Ok(fresh) => fresh,
            Err(libc::EBADF) => return Found::Other,
            Err(libc::ESRCH) => {
                match scene.shared.processes.look(call.thread) {
                    Some(again) => process = again,
                    None => return Found::OutOfReach,
                }
                continue;
            }
            Err(_) => return Found::OutOfReach,
        };
        if is_same(call.thread, fd, fresh.as_raw_fd()) {
            let Some(copy) = Copy::of(fresh).map(Arc::new) else {
                return Found::Other;
            };
            process.copies.keep(fd, copy.clone());
            return Found::File(copy);
        }
        // Another's thread by now, or the number has changed hands: once more.
        if let Some(again) = scene.shared.processes.look(call.thread) {
            process = again;
        }
    }
    Found::OutOfReach
}

/// The caller's number that stands for no file, for the time of a call. None: it isn't open.
pub fn other(scene: &Scene, fd: i32) -> Option<OwnedFd> {
    let number = take(&scene.process, fd).ok()?;
    is_same(scene.call.thread, fd, number.as_raw_fd()).then_some(number)
}

/// By the library's own door, for it must know that the number stands for something new.
fn take(process: &Process, fd: i32) -> Result<OwnedFd, i32> {
    // SAFETY: plain numbers.
    let got = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.handle.as_raw_fd(), fd, 0) };
    match i32::try_from(got) {
        // SAFETY: a number that the kernel has just made, and nobody else's.
        Ok(number) if number >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(number) }),
        _ => Err(kernel::errno()),
    }
}

/// Whether the thread's number and ours are one open file description.
fn is_same(thread: u32, fd: i32, own: i32) -> bool {
    const FILE: usize = 0;
    let this = std::process::id() as usize;
    let arguments = [thread as usize, this, FILE, fd as usize, own as usize, 0];
    // SAFETY: plain numbers.
    unsafe { kernel::any(libc::SYS_kcmp as usize, arguments) == 0 }
}
