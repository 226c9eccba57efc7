//! libc functions that open or close a descriptor by themselves, past the hooks: what we knew of the
//! number is forgotten, and its next use looks again; or that make something which is no file. And those
//! that hand descriptions to other processes.

use crate::numbers::{close, open};
use crate::{family, resolve_all};
use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use libc::{DIR, FILE, msghdr, sockaddr, socklen_t, ssize_t};
use libc::{O_CLOEXEC, O_CREAT, O_RDWR, O_TRUNC, O_WRONLY};
use protocol::emptying::{open_handle, open_shared};
use protocol::fork::sharing;
use protocol::layout::{stream_is_refused, truncating_stream};
use protocol::numbers::{closing_elsewhere, made_elsewhere, made_other, making, reopening};

/// The number behind a stream; -1: none.
fn number(stream: *mut FILE) -> c_int {
    // SAFETY: a stream that the program is about to use or has just been given.
    if stream.is_null() {
        -1
    } else {
        unsafe { libc::fileno(stream) }
    }
}

/// A call that makes a number, or several, and says -1 when it can't.
fn number_by(real: impl Fn() -> c_int) -> c_int {
    making(real, |result| *result == -1)
}

/// One that makes something with a number, and says null when it can't.
fn by<T>(real: impl Fn() -> *mut T) -> *mut T {
    making(real, |made| made.is_null())
}

/// What libc reads and writes through a stream can't be hooked by name.
fn streamed(stream: *mut FILE) -> *mut FILE {
    let fd = made_elsewhere(number(stream));
    protocol::numbers::streamed(fd);
    stream
}

/// Opening for writing empties the file.
fn opening(path: *const c_char, mode: *const c_char, real: impl Fn() -> *mut FILE) -> *mut FILE {
    if !path.is_null() && stream_is_refused(path) {
        return core::ptr::null_mut();
    }
    // SAFETY: the mode is a C string that libc is about to read too.
    let letters = unsafe { CStr::from_ptr(mode) }.to_bytes();
    // Not if it must be new. (libc looks at no more letters.)
    let is_new = letters.iter().take(7).any(|letter| *letter == b'x');
    let empties = !path.is_null() && letters.first() == Some(&b'w') && !is_new;
    streamed(if empties {
        truncating_stream(path, real)
    } else {
        real()
    })
}

/// How a stream's file is opened that is emptied first; None: it isn't, or its mode says more than fdopen knows.
fn emptying(path: *const c_char, mode: *const c_char) -> Option<c_int> {
    if path.is_null() {
        return None;
    }
    // SAFETY: the mode is a C string that libc is about to read too.
    let letters = unsafe { CStr::from_ptr(mode) }.to_bytes();
    let mut flags = O_WRONLY | O_CREAT | O_TRUNC;
    for letter in letters.strip_prefix(b"w")? {
        flags = match letter {
            b'b' => flags,
            b'e' => flags | O_CLOEXEC,
            b'+' => flags & !O_WRONLY | O_RDWR,
            _ => return None,
        };
    }
    protocol::emptying::waits_for_nobody(path, flags).then_some(flags)
}

/// Opened, emptied, and then made a stream: nobody is kept out of the file while the kernel waits in the open.
fn opened_in_steps(path: *const c_char, mode: *const c_char, flags: c_int) -> *mut FILE {
    // SAFETY: what the program gave to fopen, and a number that was made for it.
    unsafe {
        let fd = protocol::emptying::open(libc::AT_FDCWD, path, flags, |flags| {
            open::real()(path, flags, 0o666)
        });
        if fd < 0 {
            return core::ptr::null_mut();
        }
        let stream = fdopen::real()(fd, mode);
        if stream.is_null() {
            let errno = protocol::raw::errno();
            protocol::numbers::close(fd, || close::real()(fd));
            protocol::raw::set_errno(errno);
        }
        stream
    }
}

family! { fopen, fopen64, _IO_fopen => (path: *const c_char, mode: *const c_char) -> *mut FILE, |real| {
    match emptying(path, mode) {
        Some(flags) => streamed(opened_in_steps(path, mode, flags)),
        None => opening(path, mode, || by(|| real(path, mode))),
    }
}}
family! { freopen, freopen64 => (path: *const c_char, mode: *const c_char, stream: *mut FILE) -> *mut FILE, |real| {
    let fd = number(stream);
    // Without a path: the stream's own file.
    let own = protocol::raw::number_path(fd);
    let named = if path.is_null() { own.as_c_str().as_ptr() } else { path };
    reopening(fd, || opening(named, mode, || real(path, mode, stream)), core::ptr::null_mut())
}}
family! { fdopen, _IO_fdopen => (fd: c_int, mode: *const c_char) -> *mut FILE, |real| {
    let stream = if protocol::words::is_ours(fd) { real(-1, mode) } else { real(fd, mode) };
    if !stream.is_null() {
        protocol::numbers::streamed(fd);
    }
    stream
}}
family! { fclose, _IO_fclose => (stream: *mut FILE) -> c_int, |real| { closing_elsewhere(number(stream), || real(stream)) }}
family! { tmpfile, tmpfile64 => () -> *mut FILE, |real| { streamed(by(|| real())) }}
family! { popen, _IO_popen => (command: *const c_char, kind: *const c_char) -> *mut FILE, |real| {
    sharing();
    streamed(protocol::fork::making(|| by(|| real(command, kind))))
}}
family! { pclose => (stream: *mut FILE) -> c_int, |real| { closing_elsewhere(number(stream), || real(stream)) }}
family! { opendir => (path: *const c_char) -> *mut DIR, |real| {
    let dir = by(|| real(path));
    if !dir.is_null() {
        made_elsewhere(libc::dirfd(dir));
    }
    dir
}}
family! { closedir => (dir: *mut DIR) -> c_int, |real| {
    let fd = if dir.is_null() { -1 } else { libc::dirfd(dir) };
    closing_elsewhere(fd, || real(dir))
}}

family! { mkstemp, mkstemp64 => (template: *mut c_char) -> c_int, |real| { made_elsewhere(real(template)) }}
family! { mkostemp, mkostemp64, mkstemps, mkstemps64 => (template: *mut c_char, number: c_int) -> c_int, |real| {
    made_elsewhere(real(template, number))
}}
family! { mkostemps, mkostemps64 => (template: *mut c_char, suffix: c_int, flags: c_int) -> c_int, |real| {
    made_elsewhere(real(template, suffix, flags))
}}
family! { shm_open => (name: *const c_char, flags: c_int, mode: c_uint) -> c_int, |real| {
    open_shared(name, flags, |flags| number_by(|| real(name, flags, mode)))
}}
family! { memfd_create => (name: *const c_char, flags: c_uint) -> c_int, |real| { made_elsewhere(number_by(|| real(name, flags))) }}

family! { socket => (domain: c_int, kind: c_int, protocol: c_int) -> c_int, |real| { made_other(number_by(|| real(domain, kind, protocol))) }}
family! { socketpair => (domain: c_int, kind: c_int, protocol: c_int, pair: *mut c_int) -> c_int, |real| {
    both(number_by(|| real(domain, kind, protocol, pair)), pair)
}}
family! { pipe, __pipe => (pair: *mut c_int) -> c_int, |real| { both(number_by(|| real(pair)), pair) }}
family! { pipe2 => (pair: *mut c_int, flags: c_int) -> c_int, |real| { both(number_by(|| real(pair, flags)), pair) }}
family! { accept => (fd: c_int, from: *mut sockaddr, len: *mut socklen_t) -> c_int, |real| { made_other(number_by(|| real(fd, from, len))) }}
family! { accept4 => (fd: c_int, from: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int, |real| {
    made_other(number_by(|| real(fd, from, len, flags)))
}}
family! { eventfd => (count: c_uint, flags: c_int) -> c_int, |real| { made_other(number_by(|| real(count, flags))) }}
family! { epoll_create, epoll_create1, inotify_init1, posix_openpt => (number: c_int) -> c_int, |real| { made_other(number_by(|| real(number))) }}
family! { inotify_init, getpt => () -> c_int, |real| { made_other(number_by(|| real())) }}
family! { timerfd_create => (clock: c_int, flags: c_int) -> c_int, |real| { made_other(number_by(|| real(clock, flags))) }}
family! { signalfd => (fd: c_int, mask: *const c_void, flags: c_int) -> c_int, |real| { made_other(number_by(|| real(fd, mask, flags))) }}
family! { fanotify_init => (flags: c_uint, open: c_uint) -> c_int, |real| { made_other(number_by(|| real(flags, open))) }}
family! { pidfd_open => (pid: c_int, flags: c_uint) -> c_int, |real| { made_other(number_by(|| real(pid, flags))) }}
family! { pidfd_getfd => (pid: c_int, fd: c_int, flags: c_uint) -> c_int, |real| { made_elsewhere(number_by(|| real(pid, fd, flags))) }}
family! { open_by_handle_at => (mount: c_int, handle: *mut c_void, flags: c_int) -> c_int, |real| {
    open_handle(flags, |flags| number_by(|| real(mount, handle, flags)))
}}
family! { daemon => (stay: c_int, keep: c_int) -> c_int, |real| {
    let result = real(stay, keep);
    (0..3).for_each(|fd| { made_elsewhere(fd); });
    result
}}

/// The call has filled in two numbers.
fn both(result: c_int, pair: *const c_int) -> c_int {
    if result == 0 {
        // SAFETY: the kernel has just written both.
        unsafe {
            made_other(*pair);
            made_other(*pair.add(1));
        }
    }
    result
}

/// Whether a message may hand descriptors over: before it is sent, the receiver may be quick.
fn hands_over(message: *const msghdr) -> bool {
    // SAFETY: plain integers and pointers; all-zero is a value.
    let mut header: [msghdr; 1] = unsafe { core::mem::zeroed() };
    protocol::raw::copy_from_program(message, &mut header).is_ok()
        && header
            .iter()
            .any(|h| !h.msg_control.is_null() && h.msg_controllen > 0)
}

pub fn sending(messages: *const libc::mmsghdr, count: c_uint) {
    for i in 0..count.min(1024) as usize {
        // The header comes first in each.
        if hands_over(messages.wrapping_add(i).cast()) {
            return sharing();
        }
    }
}

pub fn sending_one(message: *const msghdr) {
    if hands_over(message) {
        sharing();
    }
}

family! { sendmsg => (fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t, |real| {
    sending_one(message);
    real(fd, message, flags)
}}
family! { sendmmsg => (fd: c_int, messages: *mut libc::mmsghdr, count: c_uint, flags: c_int) -> c_int, |real| {
    sending(messages, count);
    real(fd, messages, count, flags)
}}
family! { recvmsg => (fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t, |real| {
    let got = real(fd, message, flags);
    if got >= 0 {
        received(message);
    }
    got
}}
family! { recvmmsg => (fd: c_int, messages: *mut libc::mmsghdr, count: c_uint, flags: c_int, limit: *mut libc::timespec) -> c_int, |real| {
    let got = real(fd, messages, count, flags, limit);
    for i in 0..usize::try_from(got).unwrap_or(0) {
        received(&raw mut (*messages.add(i)).msg_hdr);
    }
    got
}}

/// Forget the numbers that came with a message.
pub fn received(message: *const msghdr) {
    // SAFETY: the kernel has just filled the message in; the macros stay within msg_controllen.
    unsafe {
        if (*message).msg_control.is_null() {
            return;
        }
        let mut part = libc::CMSG_FIRSTHDR(message);
        while !part.is_null() {
            if (*part).cmsg_level == libc::SOL_SOCKET && (*part).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*part).cmsg_len.saturating_sub(libc::CMSG_LEN(0) as usize);
                let numbers = libc::CMSG_DATA(part).cast::<c_int>();
                for i in 0..bytes / size_of::<c_int>() {
                    made_elsewhere(numbers.add(i).read_unaligned());
                }
            }
            part = libc::CMSG_NXTHDR(message, part);
        }
    }
}

resolve_all!(
    fopen,
    fopen64,
    freopen,
    freopen64,
    fclose,
    tmpfile,
    tmpfile64,
    popen,
    pclose,
    opendir,
    closedir,
    mkstemp,
    mkstemp64,
    mkostemp,
    mkostemp64,
    mkstemps,
    mkstemps64,
    mkostemps,
    mkostemps64,
    shm_open,
    memfd_create,
    socket,
    socketpair,
    pipe,
    pipe2,
    accept,
    accept4,
    eventfd,
    epoll_create,
    epoll_create1,
    inotify_init1,
    posix_openpt,
    inotify_init,
    getpt,
    timerfd_create,
    signalfd,
    fanotify_init,
    open_by_handle_at,
    daemon,
    sendmsg,
    sendmmsg,
    recvmsg,
    recvmmsg,
    fdopen,
    pidfd_open,
    pidfd_getfd,
    _IO_fopen,
    _IO_fdopen,
    _IO_fclose,
    _IO_popen,
    __pipe
);
