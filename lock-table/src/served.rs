//! A table without a name: a service (`pagefence tabled`) has made it in memory, and gives it to whoever may connect to the
//! socket that stands at the table's path.
//!
//! Whoever may write a file may cut it off, and who has it mapped is killed then (`SIGBUS`). What the service gives is
//! sealed: its length can't be changed, by nobody. It gives a number for the memory that can be used for nothing but to
//! open that anew (`O_PATH`): who isn't let in by the memory's own rights gets no further, and each process has an open
//! file description of its own, whose locks are its life (see `death`).
//!
//! Newcomers may find another socket at the path than those had who came before them, for a service that is started anew
//! makes one; it goes on with the old memory as long as somebody has that (`Table::was_removed` asks).

use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::time::Duration;

use rustix::fd::OwnedFd;
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, memfd_create};
use rustix::io::{Errno, IoSliceMut};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, recvmsg, socket_with,
};

use crate::attach::path_of;
use crate::checks::{Fd, is_root, open_link, trusted_group};
use crate::error::{Fault, Path, TableError};
use crate::geometry::Geometry;
use crate::making::fill;

/// What the memory is called, with the path behind it: whoever looks at a process that has it mapped learns where it is had.
const NAME: &[u8] = b"pagefence:";
const MAPPED_AS: &[u8] = b"/memfd:pagefence:";
/// Of a table that is given away: nobody can change its length any more, nor this.
pub const SEALS: SealFlags = SealFlags::SEAL
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW);
/// How long a service that takes connections may be silent.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long one that takes none is asked again: it may be in the middle of being started anew.
const GRACE_NS: u64 = 2_000_000_000;
const PAUSE_MS: i64 = 10;

/// The memory of the table whose service listens at `path`, opened with these flags.
pub(crate) fn receive(path: &Path, flags: OFlags) -> Result<Fd, Fault> {
    if !may_ask() {
        return Err(Fault::Permission); // a sandbox
    }
    let given = kernel::without_signals(|| ask(path));
    let given = given.map_err(|error| match error {
        Errno::CONNREFUSED | Errno::CONNRESET => Fault::NotServed,
        Errno::AGAIN | Errno::TIMEDOUT => Fault::ServiceSilent,
        error => Fault::from_errno(error),
    })?;
    let flags = flags.difference(OFlags::NOFOLLOW);
    let opened = open_link(given.0, flags).map_err(Fault::from_errno)?;
    match rustix::fs::fcntl_get_seals(&opened) {
        Ok(seals) if seals.contains(SEALS) => Ok(opened),
        _ => Err(Fault::NotATable),
    }
}

fn may_ask() -> bool {
    let calls = [
        libc::SYS_socket,
        libc::SYS_setsockopt,
        libc::SYS_connect,
        libc::SYS_getsockopt,
        libc::SYS_recvmsg,
    ];
    calls
        .iter()
        .all(|call| kernel::may(*call as usize, &[0; 6]))
}

/// Again for a while, where there is nobody, or who was there has gone.
fn ask(path: &Path) -> Result<Fd, Errno> {
    let address = SocketAddrUnix::new(path.as_c_str())?;
    let begun = kernel::now_ns();
    loop {
        let given = reach(path, &address).and_then(|socket| take(&socket));
        let has_time = kernel::now_ns().saturating_sub(begun) < GRACE_NS;
        match given {
            Err(Errno::CONNREFUSED | Errno::CONNRESET) if has_time => kernel::sleep_ms(PAUSE_MS),
            given => return given,
        }
    }
}

fn reach(path: &Path, address: &SocketAddrUnix) -> Result<Fd, Errno> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    let socket = Fd::from(socket?);
    set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    connect(&socket, address)?;
    // Whose socket it is decides whether what comes is believed.
    let own = rustix::process::geteuid().as_raw();
    match kernel::privilege::peer_user(socket.0) {
        Some(by) if by == own || is_root(by, path) => Ok(socket),
        _ => Err(Errno::ACCESS),
    }
}

/// The number that comes with the first byte.
fn take(socket: &Fd) -> Result<Fd, Errno> {
    let mut byte = [0];
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with_it = RecvAncillaryBuffer::new(&mut room);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let got = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut with_it,
        flags,
    )?;
    let mut first = None;
    for message in with_it.drain() {
        if let RecvAncillaryMessage::ScmRights(numbers) = message {
            for number in numbers.map(Fd::from) {
                first = first.or(Some(number));
            }
        }
    }
    match first {
        Some(number) => Ok(number),
        None if got.flags.contains(rustix::net::ReturnFlags::CTRUNC) => Err(Errno::MFILE),
        None => Err(Errno::CONNREFUSED), // it ended meanwhile
    }
}

/// Where a table is had that `/proc` shows as a mapping of this name, without what the kernel puts behind it (" (deleted)").
pub fn served_at(mapping: &[u8]) -> Option<&[u8]> {
    mapping.strip_prefix(MAPPED_AS)
}

/// A table in memory, for a service to give away: for root, and the group that shares what lies at `path`.
pub fn make_sealed(path: &CStr, geometry: &Geometry) -> Result<OwnedFd, TableError> {
    let path = path_of(path)?;
    make(&path, geometry).map_err(|fault| TableError::new(fault, &path))
}

fn make(path: &Path, geometry: &Geometry) -> Result<OwnedFd, Fault> {
    if !geometry.is_sane() {
        return Err(Fault::BadGeometry);
    }
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let name = [NAME, path.as_c_str().to_bytes()].concat();
    // A machine may want it said that nobody executes it (vm.memfd_noexec); before Linux 6.3 that can't be said.
    let memory = memfd_create(name.as_slice(), flags | MemfdFlags::NOEXEC_SEAL)
        .or_else(|_| memfd_create(name.as_slice(), flags));
    let memory = memory.map_err(|error| match error {
        Errno::INVAL => Fault::PathTooLong,
        error => Fault::from_errno(error),
    })?;
    fill(&memory, path, geometry)?;
    let sealed = match trusted_group(path) {
        Some(group) => rustix::fs::fchown(&memory, None, Some(rustix::fs::Gid::from_raw(group))),
        // Memory is made open to all.
        None => rustix::fs::fchmod(&memory, Mode::from_raw_mode(0o600)),
    };
    sealed
        .and_then(|()| rustix::fs::fcntl_add_seals(&memory, SEALS))
        .map_err(Fault::from_errno)?;
    Ok(memory)
}
