//! A file that must not outlive this process, however that ends: kill -9 as well. Another process waits for it, one of a
//! session of its own that holds nothing open but a pipe from here.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::exec::c_string;

/// The file, until this is dropped.
pub struct Leftover {
    path: PathBuf,
    /// Its other end is read by who waits; none: nobody does.
    alive: Option<OwnedFd>,
}

impl Leftover {
    /// Before this process has other threads or children. Where no process can be started the file is removed at the end only.
    pub fn of(path: PathBuf) -> Leftover {
        let alive = watched(&path).ok();
        Leftover { path, alive }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        // Another may have the name from now on.
        if let Some(alive) = &self.alive {
            let _ = kernel::without_signals(|| rustix::io::write(alive, b"."));
        }
    }
}

fn watched(path: &Path) -> io::Result<OwnedFd> {
    let path = c_string(path.as_os_str()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // SAFETY: this process has one thread, so its child may do what any program may.
    match unsafe { libc::fork() } {
        0 => {
            drop(write);
            // Its parent ends at once, so it is nobody's child that waits for its own.
            // SAFETY: as above.
            if unsafe { libc::fork() } == 0 {
                wait_and_remove(&read, &path);
            }
            // SAFETY: ends the process without what the original does at its end.
            unsafe { libc::_exit(0) }
        }
        child if child > 0 => {
            // SAFETY: a child of ours; how it ended is of no interest.
            unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
            Ok(write)
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// Until whoever made the pipe has removed the file himself, or is gone.
fn wait_and_remove(alive: &OwnedFd, path: &CString) {
    let kept = alive.as_raw_fd();
    // SAFETY: plain calls on numbers of this process, which uses none of them any more, and on a terminated path.
    unsafe {
        libc::setsid();
        libc::chdir(c"/".as_ptr());
        libc::prctl(libc::PR_SET_NAME, c"pagefence-clean".as_ptr());
        libc::close_range(0, kept.unsigned_abs().saturating_sub(1), 0);
        libc::close_range(kept.unsigned_abs() + 1, u32::MAX, 0);
        let mut byte = 0u8;
        loop {
            let n = libc::read(kept, (&raw mut byte).cast(), 1);
            if n == 0 {
                libc::unlink(path.as_ptr());
            }
            if n >= 0 || *libc::__errno_location() != libc::EINTR {
                return;
            }
        }
    }
}
