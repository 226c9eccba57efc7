//! What makes numbers that are no files, messages that carry numbers to other processes, and directories.

use crate::doors::messages::{received, received_all, sending, sending_one};
use crate::doors::stdio::{both, by, number_by, terminal};
use crate::doors::symbol::Libc;
use crate::table::calls;
use core::ffi::{c_char, c_int, c_uint, c_void};
use libc::{DIR, mmsghdr, msghdr, sigset_t, size_t, sockaddr, socklen_t, ssize_t, timespec};
use protocol::calls::numbers::{closing_elsewhere, made_elsewhere, made_other};

calls! { Libc "Other descriptors" {
"opens a directory": [opendir]
    fn(path: *const c_char) -> *mut DIR, |real| {
    let dir = by(|| real(path));
    if !dir.is_null() {
        made_elsewhere(libc::dirfd(dir));
    }
    dir
}
"closes a directory": [closedir]
    fn(dir: *mut DIR) -> c_int, |real| {
    let fd = if dir.is_null() { -1 } else { libc::dirfd(dir) };
    closing_elsewhere(fd, || real(dir))
}
"makes memory that is a file": [memfd_create 2.27] = SYS_memfd_create
    fn(name: *const c_char, flags: c_uint) -> c_int, |real| { made_elsewhere(number_by(|| real(name, flags))) }

"makes a socket": [socket] = SYS_socket
    fn(domain: c_int, kind: c_int, protocol: c_int) -> c_int, |real| { made_other(number_by(|| real(domain, kind, protocol))) }
"makes two sockets": [socketpair] = SYS_socketpair
    fn(domain: c_int, kind: c_int, protocol: c_int, pair: *mut c_int) -> c_int, |real| {
    both(number_by(|| real(domain, kind, protocol, pair)), pair)
}
"accepts a connection": [accept] = SYS_accept
    fn(fd: c_int, from: *mut sockaddr, len: *mut socklen_t) -> c_int, |real| { made_other(number_by(|| real(fd, from, len))) }
"accepts a connection, with flags": [accept4] = SYS_accept4
    fn(fd: c_int, from: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int, |real| {
    made_other(number_by(|| real(fd, from, len, flags)))
}
"makes a pipe": [pipe] unlisted [__pipe] = SYS_pipe on "x86_64"
    fn(pair: *mut c_int) -> c_int, |real| { both(number_by(|| real(pair)), pair) }
"makes a pipe, with flags": [pipe2] = SYS_pipe2
    fn(pair: *mut c_int, flags: c_int) -> c_int, |real| { both(number_by(|| real(pair, flags)), pair) }
"makes a counter": [eventfd] = SYS_eventfd2
    fn(count: c_uint, flags: c_int) -> c_int, |real| { made_other(number_by(|| real(count, flags))) }
    by SYS_eventfd on "x86_64" fn(count: c_uint) -> c_int, |real| { made_other(number_by(|| real(count))) }
"makes what waits for many": [epoll_create] = SYS_epoll_create on "x86_64"
    fn(size: c_int) -> c_int, |real| { made_other(number_by(|| real(size))) }
"makes what waits for many, with flags": [epoll_create1] = SYS_epoll_create1
    fn(flags: c_int) -> c_int, |real| { made_other(number_by(|| real(flags))) }
"makes what watches files": [inotify_init] = SYS_inotify_init on "x86_64"
    fn() -> c_int, |real| { made_other(number_by(|| real())) }
"makes what watches files, with flags": [inotify_init1] = SYS_inotify_init1
    fn(flags: c_int) -> c_int, |real| { made_other(number_by(|| real(flags))) }
"makes what watches and allows": [fanotify_init] = SYS_fanotify_init
    fn(flags: c_uint, open: c_uint) -> c_int, |real| { made_other(number_by(|| real(flags, open))) }
"makes a terminal": [posix_openpt]
    fn(flags: c_int) -> c_int, |real| { made_other(number_by(|| real(flags))) }
"makes a terminal, to read and to write": [getpt]
    fn() -> c_int, |real| { made_other(number_by(|| real())) }
"makes both ends of a terminal": unlisted [openpty]
    fn(master: *mut c_int, slave: *mut c_int, name: *mut c_char, how: *const c_void, size: *const c_void) -> c_int, |real| {
    terminal(real(master, slave, name, how, size), &[master, slave])
}
"makes a terminal, and a child on its other end": unlisted [forkpty]
    fn(master: *mut c_int, name: *mut c_char, how: *const c_void, size: *const c_void) -> c_int, |real| {
    let child = real(master, name, how, size);
    match child {
        // The child's own terminal took these places.
        0 => (0..3).for_each(|fd| { made_other(fd); }),
        _ => { terminal(child.min(0), &[master]); }
    }
    child
}
"takes a terminal as its own": unlisted [login_tty]
    fn(fd: c_int) -> c_int, |real| {
    let result = closing_elsewhere(fd, || real(fd));
    (0..3).for_each(|fd| { made_elsewhere(fd); });
    result
}
"makes a queue of messages": variadic [mq_open] = SYS_mq_open
    fn(name: *const c_char, flags: c_int, mode: libc::mode_t, how: *const c_void) -> c_int, |real| {
    made_other(number_by(|| real(name, flags, mode, how)))
}
"opens a queue of messages that is there": unlisted [__mq_open_2]
    fn(name: *const c_char, flags: c_int) -> c_int, |real| { made_other(number_by(|| real(name, flags))) }
"closes a queue of messages": [mq_close]
    fn(fd: c_int) -> c_int, |real| { closing_elsewhere(fd, || real(fd)) }
"makes a timer": [timerfd_create] = SYS_timerfd_create
    fn(clock: c_int, flags: c_int) -> c_int, |real| { made_other(number_by(|| real(clock, flags))) }
"makes what signals can be read from": [signalfd]
    fn(fd: c_int, mask: *const sigset_t, flags: c_int) -> c_int, |real| { made_other(number_by(|| real(fd, mask, flags))) }
    by SYS_signalfd4 fn(fd: c_int, mask: *const c_void, size: size_t, flags: c_int) -> c_int, |real| {
    made_other(number_by(|| real(fd, mask, size, flags)))
}
    by SYS_signalfd on "x86_64" fn(fd: c_int, mask: *const c_void, size: size_t) -> c_int, |real| {
    made_other(number_by(|| real(fd, mask, size)))
}
"makes a number for a process": unlisted [pidfd_open 2.36] = SYS_pidfd_open
    fn(pid: c_int, flags: c_uint) -> c_int, |real| { made_other(number_by(|| real(pid, flags))) }
"takes a number from a process": unlisted [pidfd_getfd 2.36] = SYS_pidfd_getfd
    fn(pid: c_int, fd: c_int, flags: c_uint) -> c_int, |real| { made_elsewhere(number_by(|| real(pid, fd, flags))) }

"sends a message, perhaps with numbers": [sendmsg] = SYS_sendmsg
    fn(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t, |real| {
    sending_one(message);
    real(fd, message, flags)
}
"sends messages, perhaps with numbers": [sendmmsg] = SYS_sendmmsg
    fn(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int, |real| {
    sending(messages, count);
    real(fd, messages, count, flags)
}
"receives a message, perhaps with numbers": [recvmsg] = SYS_recvmsg
    fn(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t, |real| {
    let got = real(fd, message, flags);
    if got >= 0 {
        received(message);
    }
    got
}
"receives messages, perhaps with numbers": [recvmmsg] = SYS_recvmmsg
    fn(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int, limit: *mut timespec) -> c_int, |real| {
    received_all(messages, real(fd, messages, count, flags, limit))
}
}}
