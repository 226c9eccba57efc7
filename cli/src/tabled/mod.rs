//! `pagefence tabled`: has a lock table in memory, sealed, and hands it to whoever may connect.

mod apart;
pub mod args;
mod kept;
mod notify;

use std::fs::{File, Permissions};
use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lock_table::{Fault, Table};
use rustix::fs::{FlockOperation, flock};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use args::TabledArgs;

use crate::exec::c_string;
use crate::failure::Failure;
use crate::say::{Shown, answer};

/// It can't be had here or now.
const NOT_HAD: i32 = 1;
/// Before it is tried again to be the only one, or, where numbers are short, to take a connection.
const PAUSE: Duration = Duration::from_millis(20);
const GRACE: Duration = Duration::from_secs(1);

pub fn tabled(arguments: &TabledArgs) -> Result<i32, Failure> {
    let path = std::path::absolute(&arguments.table)
        .map_err(|error| failed(&arguments.table, &error.to_string(), ""))?;
    match (arguments.stop, arguments.background) {
        (true, _) => apart::stop(&path),
        (_, true) => apart::background(),
        _ => have(&path, arguments),
    }
}

fn have(path: &Path, arguments: &TabledArgs) -> Result<i32, Failure> {
    let _ = std::env::set_current_dir("/"); // where it was started is in nobody's way
    let lock = alone(path)?;
    // Before it is looked who is in the last one's table: who is given that too late for the look sees, once he has it
    // mapped, that another socket stands here now.
    let listener = listen(path)?;
    let (memory, found) = match kept::memory(&lock) {
        Some(kept) => kept,
        None => (make(path, arguments)?, "made now"),
    };
    note(&lock, &memory).map_err(|error| failed(path, &error.to_string(), ""))?;
    let given = only_to_be_opened(&memory).map_err(|error| {
        let message = format!("can't be handed out: {error}");
        failed(path, &message, "is /proc mounted?")
    })?;
    notify::ready(&memory);
    answer(format!("{}: handed out ({found})", path.shown()))?;
    serve(&listener, &given)
}

fn failed(path: &Path, message: &str, advice: &str) -> Failure {
    Failure::new(NOT_HAD, format!("{}: {message}", path.shown()), advice)
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// For as long as the file is open no other service has it; in it stands which memory the last one had.
fn alone(path: &Path) -> Result<File, Failure> {
    let name = beside(path, ".lock");
    let lock = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&name);
    let lock = lock.map_err(|error| {
        let directory = path.parent().unwrap_or(Path::new("/"));
        let advice = format!(
            "make its directory: install -d -o root -g pagefence -m 2750 {}",
            directory.shown()
        );
        failed(&name, &error.to_string(), &advice)
    })?;
    // One that was killed may not have gone yet.
    if is_free_within(&lock, GRACE) {
        return Ok(lock);
    }
    let advice = format!(
        "stop that first: pagefence tabled --stop --table {}",
        path.shown()
    );
    Err(failed(
        path,
        "another pagefence tabled hands it out",
        &advice,
    ))
}

/// Whether no service has the lock, or none any more before that time has passed; then it is this process's.
fn is_free_within(lock: &File, time: Duration) -> bool {
    let begun = Instant::now();
    while flock(lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        if begun.elapsed() >= time {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
    true
}

fn make(path: &Path, arguments: &TabledArgs) -> Result<OwnedFd, Failure> {
    let name = c_string(path.as_os_str())?;
    lock_table::make_sealed(&name, &arguments.room.geometry())
        .map_err(|error| Failure::new(NOT_HAD, error.to_string(), ""))
}

/// For the service that comes after this one, and for who stops this one.
fn note(mut lock: &File, memory: &OwnedFd) -> std::io::Result<()> {
    let (device, inode) = kept::id(memory)?;
    lock.set_len(0)?;
    std::io::Seek::rewind(&mut lock)?;
    let pid = std::process::id();
    lock.write_all(format!("{device} {inode} {pid}\n").as_bytes())
}

/// A number that is good for nothing but to open anew what it stands for, by whoever may.
fn only_to_be_opened(memory: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    let link = format!("/proc/self/fd/{}", memory.as_raw_fd());
    openat(CWD, link, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

/// The socket appears at the path with its rights, in place of the last one's.
fn listen(path: &Path) -> Result<UnixListener, Failure> {
    make_room(path)?;
    let of = |error: std::io::Error| failed(path, &format!("can't listen there: {error}"), "");
    let new = beside(path, ".new");
    let _ = std::fs::remove_file(&new);
    let listener = UnixListener::bind(&new).map_err(of)?;
    let group = lock_table::trusted_group_of(&c_string(path.as_os_str())?);
    let rights = if group.is_some() { 0o660 } else { 0o600 };
    chown(&new, None, group)
        .and_then(|()| std::fs::set_permissions(&new, Permissions::from_mode(rights)))
        .and_then(|()| std::fs::rename(&new, path))
        .map_err(of)?;
    Ok(listener)
}

/// A table that is a file gives way, if nobody is in it.
fn make_room(path: &Path) -> Result<(), Failure> {
    let Ok(found) = path.symlink_metadata() else {
        return Ok(());
    };
    if found.file_type().is_socket() {
        return Ok(());
    }
    Table::remove(&c_string(path.as_os_str())?).map_err(|error| match error.fault() {
        Fault::InUse => failed(
            path,
            "programs are in a table that is a file there",
            "stop them first: pagefence status says who they are",
        ),
        _ => Failure::new(NOT_HAD, error.to_string(), ""),
    })
}

fn serve(listener: &UnixListener, given: &OwnedFd) -> Result<i32, Failure> {
    loop {
        match listener.accept() {
            // Who doesn't take it, or has gone, has none.
            Ok((stream, _)) => drop(give(&stream, given)),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// Without waiting: a socket that is new has room for a byte.
fn give(stream: &UnixStream, given: &OwnedFd) -> rustix::io::Result<usize> {
    let numbers = [given.as_fd()];
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with_it = SendAncillaryBuffer::new(&mut room);
    with_it.push(SendAncillaryMessage::ScmRights(&numbers));
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(stream, &[IoSlice::new(&[0])], &mut with_it, flags)
}
