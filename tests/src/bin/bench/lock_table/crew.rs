//! Forks the processes of a run and collects what they found, each by a pipe.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// After so many seconds something hangs.
const LIMIT: u32 = 60;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn interrupted(_: libc::c_int) {
    INTERRUPTED.store(true, Relaxed);
}

/// An interrupt ends the run, and what was made in /dev/shm is removed, as after any error.
pub fn end_in_order_when_interrupted() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only stores into an atomic.
        unsafe { libc::signal(signal, interrupted as *const () as libc::sighandler_t) };
    }
}

struct Member {
    pid: libc::pid_t,
    result: File,
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut status = 0;
        // SAFETY: our child, not waited for yet. If it has ended the signal does nothing.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, &mut status, 0);
        }
    }
}

/// Runs `work` in `n` new processes at once. This process must have no other thread.
pub fn run<R: Serialize + DeserializeOwned>(
    n: usize,
    work: impl Fn(usize) -> R,
) -> Result<Vec<R>, String> {
    let crew: Result<Vec<Member>, String> = (0..n).map(|i| start(|| work(i))).collect();
    let mut results = Vec::new();
    for (i, member) in crew?.iter_mut().enumerate() {
        let mut text = String::new();
        let read = member.result.read_to_string(&mut text);
        if INTERRUPTED.load(Relaxed) {
            return Err("interrupted".to_owned());
        }
        read.map_err(|e| format!("process {i}: {e}"))?;
        let result = serde_json::from_str(&text);
        results.push(result.map_err(|_| format!("process {i} found nothing: it died, or hung"))?);
    }
    Ok(results)
}

fn start<R: Serialize>(work: impl Fn() -> R) -> Result<Member, String> {
    let mut ends = [0; 2];
    // SAFETY: the kernel writes two descriptors to the address of two.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(format!("pipe: {}", std::io::Error::last_os_error()));
    }
    // SAFETY: new descriptors, ours alone.
    let [read, write] = ends.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    // SAFETY: there is one thread, so the child may do what it likes.
    match unsafe { libc::fork() } {
        -1 => Err(format!("fork: {}", std::io::Error::last_os_error())),
        0 => {
            drop(read);
            // SAFETY: plain system calls. The child ends with its parent, with an interrupt, and when it hangs.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
                    libc::signal(signal, libc::SIG_DFL);
                }
                libc::alarm(LIMIT);
            }
            let text = serde_json::to_string(&work()).unwrap_or_default();
            let written = File::from(write).write_all(text.as_bytes());
            // SAFETY: ends the process at once: what the parent has open is the parent's to clean up.
            unsafe { libc::_exit(i32::from(written.is_err())) }
        }
        pid => Ok(Member {
            pid,
            result: File::from(read),
        }),
    }
}
