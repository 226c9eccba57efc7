//! What the supervisor says, and by what way. Its standard error is a pipe to itself: what the library and we write there
//! goes on to the standard error that the program has at that time. Kept open here, the program's own would keep
//! whoever reads it waiting for an end that doesn't come while a daemon is supervised.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::process::{says, set_in};
use crate::say;

use super::listener::Answer;
use super::processes::{Process, Processes};

pub struct Said {
    /// What isn't covered is refused, and not only said.
    refuses: bool,
    once: Mutex<HashSet<String>>,
}

impl Said {
    pub fn new(refuses: bool) -> Said {
        Said {
            refuses,
            once: Mutex::default(),
        }
    }

    /// The process doesn't let itself be looked into: it has made itself undumpable, or became another user.
    pub fn out_of_reach(&self, process: u32) -> Answer {
        if is_dying(process) {
            return Answer::Itself;
        }
        self.not_covered(
            process,
            "its supervisor can't look into it (it acts for another user, or has forbidden it: PR_SET_DUMPABLE)",
        )
    }

    /// Said once, and done by the kernel, or refused.
    pub fn not_covered(&self, process: u32, what: &str) -> Answer {
        let is_news = self
            .once
            .lock()
            .is_ok_and(|mut once| once.insert(what.to_owned()));
        if is_news {
            let done = if self.refuses {
                "refused (EACCES)"
            } else {
                "passed through"
            };
            say::tell(format_args!(
                "pagefence: uncovered: supervised process {process}: {what}: {done}"
            ));
        }
        match self.refuses {
            true => Answer::Error(libc::EACCES),
            false => Answer::Itself,
        }
    }
}

/// Whether it has been killed: then nobody can look into it, and its call comes to nothing.
fn is_dying(process: u32) -> bool {
    const KILLED: u64 = 1 << (libc::SIGKILL - 1);
    let Ok(status) = std::fs::read_to_string(format!("/proc/{process}/status")) else {
        return true;
    };
    let pending = |key| set_in(&status, key).unwrap_or(0);
    says(&status, "State").starts_with(['Z', 'X'])
        || (pending("SigPnd") | pending("ShdPnd")) & KILLED != 0
}

/// Says on the standard error of one of them, the first that takes it, what comes out of the pipe. Ends with this process.
pub fn pass_on(pipe: OwnedFd, first: Arc<Process>, processes: &'static Processes) {
    let mut pipe = File::from(pipe);
    thread::spawn(move || {
        let mut room = [0; 4096];
        while let Ok(len @ 1..) = pipe.read(&mut room) {
            let mut all = vec![first.clone()];
            all.extend(processes.each());
            let _ = all.iter().any(|one| say_there(&one.handle, &room[..len]));
        }
    });
}

/// Raw: the library is not to take that number for one of the program's files.
pub fn say_there(process: &OwnedFd, text: &[u8]) -> bool {
    let handle = process.as_raw_fd() as usize;
    // SAFETY: plain numbers.
    let got = unsafe {
        let arguments = [handle, libc::STDERR_FILENO as usize, 0, 0, 0, 0];
        kernel::any(libc::SYS_pidfd_getfd as usize, arguments)
    };
    let Ok(number @ 0..) = i32::try_from(got) else {
        return false;
    };
    let said = kernel::write_politely(number, text);
    kernel::close(number);
    said
}
