//! One call under way: who makes it, and what is needed to make it for him.

use std::sync::Arc;

use super::listener::{Answer, Call, Listener};
use super::memory::Room;
use super::mirrors::Mirrors;
use super::numbers::{self, Copy, Found};
use super::processes::{Process, Processes};
use super::restarts::Watch;
use super::rights::Rights;
use super::said::Said;

/// What all threads of the supervisor share.
pub struct Shared {
    pub listener: Listener,
    pub processes: Processes,
    pub mirrors: Mirrors,
    pub said: Said,
    pub rights: Rights,
    pub watch: &'static Watch,
}

pub struct Scene<'a> {
    pub shared: &'static Shared,
    pub call: &'a Call,
    pub process: Arc<Process>,
    pub room: &'a mut Room,
}

impl Scene<'_> {
    /// The file that an argument stands for, or the answer where it stands for none.
    pub fn file(&self, which: usize) -> Result<Arc<Copy>, Answer> {
        self.file_of(self.call.fd(which))
    }

    pub fn file_of(&self, fd: i32) -> Result<Arc<Copy>, Answer> {
        match numbers::find(self, fd) {
            Found::File(copy) => Ok(copy),
            Found::Other => Err(Answer::Itself),
            Found::OutOfReach => Err(self.out_of_reach()),
        }
    }

    /// The process doesn't let itself be looked into.
    pub fn out_of_reach(&self) -> Answer {
        match self.still_waits() {
            true => self.shared.said.out_of_reach(self.process.number),
            false => Answer::Given,
        }
    }

    /// One that the kernel would raise, were the call the caller's own.
    pub fn signal(&self, which: i32) {
        if self.still_waits() {
            let (process, thread) = (self.process.number as usize, self.call.thread as usize);
            let arguments = [process, thread, which as usize, 0, 0, 0];
            // SAFETY: plain numbers.
            let _ = unsafe { kernel::any(libc::SYS_tgkill as usize, arguments) };
        }
    }

    pub fn still_waits(&self) -> bool {
        self.shared.listener.still_waits(self.call)
    }
}
