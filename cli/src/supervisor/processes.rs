//! The processes whose calls are made here: which thread belongs to which, and when they end.

use std::collections::HashMap;
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex, RwLock};

use rustix::event::epoll;

use crate::process::says;

use super::numbers::Copies;
use super::rights::Standing;

pub struct Process {
    pub number: u32,
    /// By which its numbers are copied, and by which its end is heard of.
    pub handle: OwnedFd,
    pub copies: Copies,
    pub standing: Standing,
}

pub struct Processes {
    threads: RwLock<HashMap<u32, Arc<Process>>>,
    all: Mutex<HashMap<u32, Arc<Process>>>,
    /// Hears of their ends.
    ends: OwnedFd,
}

/// Threads come and go, and their numbers stay known until there are so many.
const MOST_THREADS: usize = 4096;

impl Processes {
    pub fn new() -> rustix::io::Result<Processes> {
        Ok(Processes {
            threads: RwLock::default(),
            all: Mutex::default(),
            ends: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        })
    }

    /// Whose thread that is, as far as is known: a thread's number may be another's by now, which who copies by it sees.
    pub fn of(&self, thread: u32) -> Option<Arc<Process>> {
        let known = self.threads.read().ok()?.get(&thread).cloned();
        known.or_else(|| self.look(thread))
    }

    /// Looks once more.
    pub fn look(&self, thread: u32) -> Option<Arc<Process>> {
        let number = group_of(thread)?;
        let process = self.process(number)?;
        let mut threads = self.threads.write().ok()?;
        if threads.len() >= MOST_THREADS {
            threads.clear();
        }
        threads.insert(thread, process.clone());
        Some(process)
    }

    fn process(&self, number: u32) -> Option<Arc<Process>> {
        let mut all = self.all.lock().ok()?;
        if let Some(known) = all.get(&number).filter(|known| !known.has_ended()) {
            return Some(known.clone());
        }
        let process = Arc::new(Process {
            number,
            handle: handle(number)?,
            copies: Copies::default(),
            standing: Standing::default(),
        });
        let data = epoll::EventData::new_u64(number.into());
        let _ = epoll::add(&self.ends, &process.handle, data, epoll::EventFlags::IN);
        all.insert(number, process.clone());
        Some(process)
    }

    pub fn sweep_for_ever(&self) {
        let mut events = Vec::with_capacity(16);
        loop {
            events.clear();
            let room = rustix::buffer::spare_capacity(&mut events);
            if epoll::wait(&self.ends, room, None).is_ok() {
                self.sweep();
            }
        }
    }

    /// Those that have ended are gone, and with them all that was kept for them.
    fn sweep(&self) {
        let ended: Vec<_> = match self.all.lock() {
            Ok(mut all) => all.extract_if(|_, one| one.has_ended()).collect(),
            Err(_) => return,
        };
        if ended.is_empty() {
            return;
        }
        for (_, process) in &ended {
            // A call under way may keep the process for a while longer.
            let _ = epoll::delete(&self.ends, &process.handle);
            process.copies.forget_all();
        }
        if let Ok(mut threads) = self.threads.write() {
            threads.retain(|_, process| !process.has_ended());
        }
    }

    pub fn each(&self) -> Vec<Arc<Process>> {
        let all = self.all.lock();
        all.map_or_else(|_| Vec::new(), |all| all.values().cloned().collect())
    }
}

impl Process {
    pub fn has_ended(&self) -> bool {
        kernel::is_ready(self.handle.as_raw_fd(), libc::POLLIN)
    }
}

/// The process that a thread belongs to.
fn group_of(thread: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    says(&status, "Tgid").parse().ok()
}

pub fn handle(number: u32) -> Option<OwnedFd> {
    let arguments = [number as usize, 0, 0, 0, 0, 0];
    // SAFETY: plain numbers. Raw: the library has no business with this number.
    let got = unsafe { kernel::any(libc::SYS_pidfd_open as usize, arguments) };
    let number = i32::try_from(got).ok().filter(|number| *number >= 0)?;
    // SAFETY: a number that the kernel has just made, and nobody else's.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}
