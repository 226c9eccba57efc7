//! The process between the one that becomes the program and the supervisor. It starts the supervisor, passes on the number by
//! which calls are heard of, and keeps it, too, for one thing: if the supervisor is killed, calls wait until that has been said.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::exec::Plan;
use crate::say::tell;

use super::said;

/// Where the supervisor finds the socket by which the listener comes.
pub const SOCKET: i32 = 3;

pub fn pair() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// To the end of the supervisor. `launcher`: the socket to the one that becomes the program, which `program` is a handle of.
pub fn stand_by(supervisor: &Plan, launcher: &OwnedFd, program: &OwnedFd) -> ! {
    let Ok((ours, theirs)) = pair() else { end(1) };
    // SAFETY: this process has one thread, so its child may go on as any program.
    let child = unsafe { libc::fork() };
    if child == 0 {
        become_supervisor(supervisor, &theirs);
    }
    // Nobody waits for an end of what we had open.
    close_all_but(&mut [launcher, program, &ours].map(|kept| kept.as_raw_fd()));
    std::mem::forget(theirs);
    let listener = pass_on(launcher, &ours);
    close_all_but(&mut [
        program.as_raw_fd(),
        listener.as_ref().map_or(-1, |one| one.as_raw_fd()),
    ]);
    let mut status = 0;
    // SAFETY: a child of ours.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    if libc::WIFSIGNALED(status) {
        let text = format!(
            "pagefence: the supervisor of this program was killed (signal {}): its file calls fail from now on (ENOSYS); start it again\n",
            libc::WTERMSIG(status)
        );
        said::say_there(program, text.as_bytes());
    }
    end(0)
}

/// At once: what our parent will run at its end isn't for us.
fn end(code: i32) -> ! {
    // SAFETY: a plain call.
    unsafe { libc::_exit(code) }
}

/// None: one of them has given up, which the other sees by the socket.
fn pass_on(launcher: &OwnedFd, supervisor: &OwnedFd) -> Option<OwnedFd> {
    let mut ready = [0];
    let is_ready = rustix::io::read(supervisor, &mut ready) == Ok(1);
    if !is_ready || rustix::io::write(launcher, &ready).is_err() {
        return None;
    }
    let listener = receive(launcher)?;
    hand_over(supervisor, &listener).ok()?;
    Some(listener)
}

fn become_supervisor(supervisor: &Plan, socket: &OwnedFd) -> ! {
    // SAFETY: plain calls on numbers; this process becomes another program now.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        libc::dup2(null, 0);
        libc::dup2(null, 1);
        if socket.as_raw_fd() == SOCKET {
            libc::fcntl(SOCKET, libc::F_SETFD, 0);
        } else {
            libc::dup2(socket.as_raw_fd(), SOCKET);
        }
        libc::close_range(SOCKET as u32 + 1, u32::MAX, 0);
    }
    tell(supervisor.exec());
    end(1)
}

/// -1 stands for none.
fn close_all_but(kept: &mut [i32]) {
    kept.sort_unstable();
    let mut first = 0;
    for number in kept.iter().filter_map(|number| u32::try_from(*number).ok()) {
        if number > first {
            // SAFETY: plain numbers, of a process that uses none of them any more.
            unsafe { libc::close_range(first, number - 1, 0) };
        }
        first = number + 1;
    }
    // SAFETY: as above.
    unsafe { libc::close_range(first, u32::MAX, 0) };
}

pub fn hand_over(socket: &OwnedFd, listener: &OwnedFd) -> rustix::io::Result<usize> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with_it = SendAncillaryBuffer::new(&mut room);
    let numbers = [listener.as_fd()];
    with_it.push(SendAncillaryMessage::ScmRights(&numbers));
    sendmsg(
        socket,
        &[IoSlice::new(b"l")],
        &mut with_it,
        SendFlags::NOSIGNAL,
    )
}

/// None: nobody sends one any more.
pub fn receive(socket: &OwnedFd) -> Option<OwnedFd> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with_it = RecvAncillaryBuffer::new(&mut room);
    let mut byte = [0];
    let into = &mut [std::io::IoSliceMut::new(&mut byte)];
    recvmsg(socket, into, &mut with_it, RecvFlags::CMSG_CLOEXEC).ok()?;
    with_it.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut numbers) => numbers.next(),
        _ => None,
    })
}
