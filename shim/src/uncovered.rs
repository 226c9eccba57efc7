//! Doors to a file that this library doesn't cover: said (once for each file), not hidden. And `syscall`,
//! the odd door to the covered ones.

use crate::elsewhere::{received, sending, sending_one};
use crate::{family, resolve_all};
use core::ffi::{c_char, c_int, c_long, c_uint, c_ulong, c_void};
use libc::{iovec, off64_t, pid_t, size_t, ssize_t};
use protocol::data::Data;
use protocol::data::{Position, Transfer};
use protocol::emptying::{open as opening, open_handle};
use protocol::exec::exec;
use protocol::fork::sharing;
use protocol::layout::{Change, change, truncate_path};
use protocol::locked::{lock_all, unlock_all};
use protocol::mappings::{Map, map, unmap};
use protocol::numbers::{self as ours, uncovered};
use protocol::remaps::{Remap, protect, remap};
use protocol::transfer::{seek, transfer};

/// The head of a `struct aiocb` (POSIX) or `struct iocb` (Linux), as far as it names the descriptor.
fn number_at(block: *const c_void, offset: usize) -> c_int {
    let mut fd = [0 as c_int];
    let at = (block as usize).wrapping_add(offset) as *const c_int;
    match protocol::raw::copy_from_program(at, &mut fd) {
        Ok(()) => fd.first().copied().unwrap_or(-1),
        Err(_) => -1,
    }
}

const POSIX_AIO: &str = "POSIX aio";

family! { aio_read, aio_read64, aio_write, aio_write64 => (block: *mut c_void) -> c_int, |real| {
    uncovered(number_at(block, 0), POSIX_AIO);
    real(block)
}}
family! { lio_listio, lio_listio64 => (mode: c_int, list: *const *mut c_void, count: c_int, event: *mut c_void) -> c_int, |real| {
    for i in 0..usize::try_from(count).unwrap_or(0).min(1024) {
        let mut block = [core::ptr::null_mut::<c_void>()];
        if protocol::raw::copy_from_program(list.wrapping_add(i), &mut block).is_ok() {
            block.iter().for_each(|b| uncovered(number_at(*b, 0), POSIX_AIO));
        }
    }
    real(mode, list, count, event)
}}
family! { copy_file_range => (from: c_int, at: *mut off64_t, to: c_int, into: *mut off64_t, n: size_t, flags: c_uint) -> ssize_t, |real| {
    ours::asking_both(from, to, || {
        ours::uncovered_if_mixed(from, "copy_file_range");
        ours::uncovered_if_mixed(to, "copy_file_range");
        real(from, at, to, into, n, flags)
    })
}}
family! { sendfile, sendfile64 => (to: c_int, from: c_int, at: *mut off64_t, n: size_t) -> ssize_t, |real| {
    ours::asking_both(from, to, || {
        ours::uncovered_if_mixed(from, "sendfile");
        ours::uncovered_if_mixed(to, "sendfile");
        real(to, from, at, n)
    })
}}
family! { splice => (from: c_int, at: *mut off64_t, to: c_int, into: *mut off64_t, n: size_t, flags: c_uint) -> ssize_t, |real| {
    ours::asking_both(from, to, || {
        ours::uncovered_if_mixed(from, "splice");
        ours::uncovered_if_mixed(to, "splice");
        real(from, at, to, into, n, flags)
    })
}}
family! { process_vm_writev => (pid: pid_t, local: *const iovec, n: c_ulong, remote: *const iovec, m: c_ulong, flags: c_ulong) -> ssize_t, |real| {
    protocol::once::uncovered_call("process_vm_writev");
    real(pid, local, n, remote, m, flags)
}}

/// libaio's: there only in programs that load it.
pub mod io_submit {
    use super::*;
    redhook::hook! {
        unsafe fn io_submit(context: c_ulong, count: c_long, blocks: *const *mut c_void) -> c_int => hook {
            tell_submitted(count, blocks);
            if crate::exists(b"io_submit\0") {
                // SAFETY: the real function gets what the program gave for it.
                return unsafe { redhook::real!(io_submit)(context, count, blocks) };
            }
            // SAFETY: the same request, straight to the kernel; libaio too returns the negative error.
            let raw = unsafe {
                protocol::raw::any(libc::SYS_io_submit as usize, [context as usize, count as usize, blocks as usize, 0, 0, 0])
            };
            raw as c_int
        }
    }
}

fn tell_submitted(count: c_long, blocks: *const *mut c_void) {
    for i in 0..usize::try_from(count).unwrap_or(0).min(1024) {
        let mut block = [core::ptr::null_mut::<c_void>()];
        if protocol::raw::copy_from_program(blocks.wrapping_add(i), &mut block).is_ok() {
            block
                .iter()
                .for_each(|b| uncovered(number_at(*b, 20), "io_submit"));
        }
    }
}

/// Apart from `syscall`, which has room on the stack for all that it may be asked for.
#[inline(never)]
fn moving(asked: &Transfer, call: &dyn Fn() -> c_long) -> c_long {
    transfer(asked, || call() as isize) as c_long
}

family! { syscall => (number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long, |real| {
    let call = || real(number, a, b, c, d, e, f);
    let fd = a as c_int;
    let moves = |write, vector, at, flags| {
        let data = if vector { Data::Vector(b as *const iovec, c) } else { Data::Buffer(b as *mut c_void, c) };
        moving(&Transfer { fd, write, data, at, flags }, &call)
    };
    // The v2 forms pass the offset in two halves, of which 64-bit kernels use the first.
    let current_or = |at: usize| if at as i64 == -1 { Position::Offset } else { Position::At(at as i64) };
    match number {
        libc::SYS_read => moves(false, false, Position::Offset, 0),
        libc::SYS_write => moves(true, false, Position::Offset, 0),
        libc::SYS_pread64 => moves(false, false, Position::At(d as i64), 0),
        libc::SYS_pwrite64 => moves(true, false, Position::At(d as i64), 0),
        libc::SYS_readv => moves(false, true, Position::Offset, 0),
        libc::SYS_writev => moves(true, true, Position::Offset, 0),
        libc::SYS_preadv => moves(false, true, Position::At(d as i64), 0),
        libc::SYS_pwritev => moves(true, true, Position::At(d as i64), 0),
        libc::SYS_preadv2 => moves(false, true, current_or(d), f as c_int),
        libc::SYS_pwritev2 => moves(true, true, current_or(d), f as c_int),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open | libc::SYS_creat => opens(real, number, [a, b, c, d, e, f]),
        libc::SYS_openat | libc::SYS_openat2 => opens(real, number, [a, b, c, d, e, f]),
        _ => other(real, number, [a, b, c, d, e, f]),
    }
}}

type Syscall = unsafe extern "C" fn(c_long, usize, usize, usize, usize, usize, usize) -> c_long;

/// One way to open a file: `real` takes the flags.
#[inline(never)]
fn open_with(dir: c_int, path: usize, flags: usize, real: &dyn Fn(usize) -> c_long) -> c_long {
    let (path, flags) = (path as *const c_char, flags as c_int);
    c_long::from(opening(dir, path, flags, |flags| {
        real(flags as usize) as c_int
    }))
}

/// What opens a file.
///
/// # Safety
/// The arguments are the program's own for this call.
#[inline(never)]
unsafe fn opens(real: Syscall, number: c_long, [a, b, c, d, e, f]: [usize; 6]) -> c_long {
    // SAFETY: the real function gets what the program gave for it, or other flags.
    let real = |number, a, b, c, d, e, f| unsafe { real(number, a, b, c, d, e, f) };
    match number {
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open => open_with(libc::AT_FDCWD, a, b, &|flags| {
            real(number, a, flags, c, d, e, f)
        }),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_creat => {
            let flags = (libc::O_CREAT | libc::O_TRUNC | libc::O_WRONLY) as usize;
            open_with(libc::AT_FDCWD, a, flags, &|flags| {
                real(libc::SYS_open, a, flags, b, d, e, f)
            })
        }
        libc::SYS_openat => open_with(a as c_int, b, c, &|flags| {
            real(number, a, b, flags, d, e, f)
        }),
        _ => openat2(a as c_int, b, (c, d), &|how| {
            real(number, a, b, how, d, e, f)
        }),
    }
}

/// Its flags stand in a struct of the program's: others go in a copy, which `real` takes the address of.
#[inline(never)]
fn openat2(
    dir: c_int,
    path: usize,
    (how, size): (usize, usize),
    real: &dyn Fn(usize) -> c_long,
) -> c_long {
    let mut copy = [0u64; 8];
    let there = copy.get_mut(..(size / 8).min(8)).unwrap_or(&mut []);
    let known = protocol::raw::copy_from_program(how as *const u64, there).is_ok();
    let given = copy.first().filter(|_| known).map_or(0, |f| *f as usize);
    open_with(dir, path, given, &|flags| {
        if flags == given || size > size_of_val(&copy) {
            return real(how);
        }
        let mut other = copy;
        other.iter_mut().take(1).for_each(|f| *f = flags as u64);
        real(other.as_ptr() as usize)
    })
}

/// What neither reads nor writes nor opens.
///
/// # Safety
/// The arguments are the program's own for this call.
#[inline(never)]
unsafe fn other(real: Syscall, number: c_long, [a, b, c, d, e, f]: [usize; 6]) -> c_long {
    // SAFETY: the real function gets exactly what the program gave for it.
    let real = |number, a, b, c, d, e, f| unsafe { real(number, a, b, c, d, e, f) };
    let call = || real(number, a, b, c, d, e, f);
    let fd = a as c_int;
    let pointer = || call() as *mut c_void;
    match number {
        libc::SYS_lseek => seek(fd, call),
        libc::SYS_ftruncate => change(fd, Change::Truncate(b as i64), || call() as isize) as c_long,
        libc::SYS_truncate => truncate_path(a as *const c_char, || call() as isize) as c_long,
        libc::SYS_fallocate => {
            let what = Change::Allocate {
                mode: b as c_int,
                offset: c as i64,
                len: d as i64,
            };
            change(fd, what, || call() as isize) as c_long
        }
        libc::SYS_fsync | libc::SYS_fdatasync | libc::SYS_sync_file_range => {
            c_long::from(ours::sync(fd, || call() as c_int))
        }
        libc::SYS_mmap => {
            let ask = Map {
                at: a,
                len: b,
                prot: c as c_int,
                flags: d as c_int,
                fd: e as c_int,
                offset: f as i64,
            };
            map(&ask, |flags| {
                real(number, a, b, c, flags as usize, e, f) as *mut c_void
            }) as c_long
        }
        libc::SYS_munmap => c_long::from(unmap(a as *mut c_void, b, || call() as c_int)),
        libc::SYS_mprotect | libc::SYS_pkey_mprotect => {
            c_long::from(protect(a as *mut c_void, b, c as c_int, || call() as c_int))
        }
        libc::SYS_mlockall => c_long::from(lock_all(a as c_int, |flags| {
            real(number, flags as usize, b, c, d, e, f) as c_int
        })),
        libc::SYS_munlockall => c_long::from(unlock_all(|| call() as c_int)),
        libc::SYS_mremap => remap(
            &Remap {
                at: a,
                old_len: b,
                new_len: c,
                flags: d as c_int,
            },
            pointer,
        ) as c_long,
        libc::SYS_close => c_long::from(ours::close(fd, || call() as c_int)),
        libc::SYS_close_range => c_long::from(ours::close_range(
            a as c_uint,
            b as c_uint,
            c as c_int,
            |first, last, flags| {
                real(
                    number,
                    first as usize,
                    last as usize,
                    flags as usize,
                    0,
                    0,
                    0,
                ) as c_int
            },
        )),
        libc::SYS_dup => c_long::from(ours::dup(fd, || call() as c_int)),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_dup2 => c_long::from(ours::dup_to(fd, b as c_int, || call() as c_int)),
        libc::SYS_dup3 => c_long::from(ours::dup_to(fd, b as c_int, || call() as c_int)),
        libc::SYS_fcntl => c_long::from(ours::fcntl(fd, b as c_int, c, || call() as c_int)),
        libc::SYS_memfd_create
        | libc::SYS_pidfd_open
        | libc::SYS_pidfd_getfd
        | libc::SYS_socket
        | libc::SYS_accept4
        | libc::SYS_eventfd2
        | libc::SYS_epoll_create1 => c_long::from(ours::made_elsewhere(call() as c_int)),
        libc::SYS_open_by_handle_at => c_long::from(open_handle(c as c_int, |flags| {
            real(number, a, b, flags as usize, d, e, f) as c_int
        })),
        libc::SYS_sendmsg => {
            sending_one(b as *const libc::msghdr);
            call()
        }
        libc::SYS_sendmmsg => {
            sending(b as *const libc::mmsghdr, c as c_uint);
            call()
        }
        libc::SYS_copy_file_range | libc::SYS_splice => {
            ours::uncovered_if_mixed(fd, "copy_file_range or splice");
            ours::uncovered_if_mixed(c as c_int, "copy_file_range or splice");
            call()
        }
        libc::SYS_sendfile => {
            ours::uncovered_if_mixed(fd, "sendfile");
            ours::uncovered_if_mixed(b as c_int, "sendfile");
            call()
        }
        libc::SYS_execve => exec(c as *const *const c_char, |env| {
            real(number, a, b, env as usize, d, e, f)
        }),
        libc::SYS_execveat => exec(d as *const *const c_char, |env| {
            real(number, a, b, c, env as usize, e, f)
        }),
        libc::SYS_recvmsg => {
            let got = call();
            if got >= 0 {
                received(b as *const libc::msghdr);
            }
            got
        }
        #[cfg(target_arch = "x86_64")]
        libc::SYS_fork => {
            sharing();
            protocol::fork::making(call)
        }
        libc::SYS_clone => {
            protocol::fork::cloning(a as c_int);
            call()
        }
        libc::SYS_clone3 => {
            let mut flags = [0u64];
            let known = protocol::raw::copy_from_program(a as *const u64, &mut flags).is_ok();
            protocol::fork::cloning(flags.first().filter(|_| known).map_or(0, |f| *f as c_int));
            call()
        }
        libc::SYS_io_submit => {
            tell_submitted(b as c_long, c as *const *mut c_void);
            call()
        }
        libc::SYS_io_uring_setup | libc::SYS_io_uring_enter | libc::SYS_io_uring_register
            if protocol::rings::refused() =>
        {
            protocol::raw::set_errno(libc::ENOSYS);
            -1
        }
        libc::SYS_process_vm_writev => {
            protocol::once::uncovered_call("process_vm_writev");
            call()
        }
        libc::SYS_prctl => crate::rights::control(fd, b, c, || call() as isize) as c_long,
        libc::SYS_seccomp => crate::rights::seccomp(a, b, c, || call() as isize) as c_long,
        _ if crate::rights::takes_rights(number) => {
            if number == libc::SYS_unshare && fd & libc::CLONE_FILES != 0 {
                ours::unsharing();
            }
            protocol::rights::before_losing();
            call()
        }
        _ => call(),
    }
}

resolve_all!(
    aio_read,
    aio_read64,
    aio_write,
    aio_write64,
    lio_listio,
    lio_listio64,
    copy_file_range,
    sendfile,
    sendfile64,
    splice,
    process_vm_writev,
    syscall,
);
