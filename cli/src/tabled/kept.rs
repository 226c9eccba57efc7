//! The memory that an earlier service has handed out: what systemd has kept of it, or what processes have mapped.

use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, fcntl_get_seals, fstat, openat};

use super::notify;
use crate::scan::processes;
use crate::tables::mapped::TableId;

/// Systemd passes numbers from this one on.
const FIRST: i32 = 3;

pub fn id(memory: &OwnedFd) -> std::io::Result<TableId> {
    let found = fstat(memory)?;
    Ok((found.st_dev, found.st_ino))
}

/// The memory, and where it was found. The lock says which it is.
pub fn memory(lock: &File) -> Option<(OwnedFd, &'static str)> {
    let known = noted(lock)?;
    let from_processes = || mapped(known).map(|memory| (memory, "the one that programs are in"));
    if let Some(memory) = passed().filter(|memory| is_it(memory, known)) {
        // One of another version is of use only to those who are in it.
        if lock_table::is_sound_memory(&memory) {
            return Some((memory, "the one that was kept"));
        }
    }
    from_processes()
}

fn noted(lock: &File) -> Option<TableId> {
    match words(lock)?.as_slice() {
        [device, inode, _] => Some((*device, *inode)),
        _ => None,
    }
}

/// Device and inode of the memory, and the number of the process that has handed it out.
pub fn words(mut lock: &File) -> Option<Vec<u64>> {
    let mut text = String::new();
    lock.read_to_string(&mut text).ok()?;
    let words = text.split_whitespace().map(|word| word.parse().ok());
    words.collect()
}

/// Anybody can make memory, and call it so: this is sealed, and this user's.
fn is_it(memory: &OwnedFd, known: TableId) -> bool {
    let sealed = fcntl_get_seals(memory).is_ok_and(|seals| seals.contains(lock_table::SEALS));
    let own = fstat(memory).is_ok_and(|found| found.st_uid == rustix::process::geteuid().as_raw());
    sealed && own && id(memory).is_ok_and(|id| id == known)
}

/// As systemd gives back what it was left with.
fn passed() -> Option<OwnedFd> {
    let variable = |name| std::env::var(name).ok();
    if variable("LISTEN_PID")?.parse() != Ok(std::process::id()) {
        return None;
    }
    let names = variable("LISTEN_FDNAMES")?;
    let at = names.split(':').position(|name| name == notify::NAME)?;
    let number = FIRST.checked_add(i32::try_from(at).ok()?)?;
    // SAFETY: a plain question, of any number.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: it is open, and was passed to this process to be its own; nobody else here knows of it.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Of whoever has it mapped.
fn mapped(known: TableId) -> Option<OwnedFd> {
    processes::all().into_iter().find_map(|pid| {
        let maps = processes::shared_by(pid).ok()?;
        let map = maps
            .into_iter()
            .find(|map| (map.id.device, map.id.inode) == known)?;
        let link = format!("/proc/{pid}/map_files/{}", map.link);
        let memory = openat(CWD, link, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).ok()?;
        is_it(&memory, known).then_some(memory)
    })
}
