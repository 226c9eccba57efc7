//! What systemd is told (`sd_notify(3)`): that the table can be had, and to keep it for the next one.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, sendmsg_addr, socket_with,
};

/// What the memory is called there.
pub const NAME: &str = "table";

/// Nobody need listen.
pub fn ready(memory: &OwnedFd) {
    let Some(address) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let address = match address.as_bytes() {
        [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name),
        path => SocketAddrUnix::new(path),
    };
    if let Ok(address) = address {
        let _ = say(
            &address,
            &format!("FDSTORE=1\nFDNAME={NAME}\n"),
            Some(memory),
        );
        let _ = say(&address, "READY=1\n", None);
    }
}

fn say(address: &SocketAddrUnix, words: &str, with: Option<&OwnedFd>) -> rustix::io::Result<usize> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with_it = SendAncillaryBuffer::new(&mut room);
    let numbers = with.map(|number| [number.as_fd()]);
    if let Some(numbers) = &numbers {
        with_it.push(SendAncillaryMessage::ScmRights(numbers));
    }
    let words = [IoSlice::new(words.as_bytes())];
    sendmsg_addr(&socket, address, &words, &mut with_it, SendFlags::NOSIGNAL)
}
