//! The calls by which a program gives up rights: what its files will need later is got before (`protocol::rights`), and a
//! sandbox is asked what it leaves us (`protocol::sandbox`).

use crate::{family, resolve_all};
use core::ffi::{c_char, c_int, c_long, c_ulong, c_void};
use libc::{gid_t, size_t, uid_t};
use protocol::rights::before_losing;
use protocol::sandbox::{Entering, enter};

const SECCOMP_STRICT: usize = 1;
const SECCOMP_FILTER: usize = 2;

fn filter(program: usize, all_threads: bool) -> Entering {
    Entering::Filter {
        program: program as *const _,
        all_threads,
    }
}

/// prctl(2).
pub fn control(option: c_int, mode: usize, program: usize, real: impl Fn() -> isize) -> isize {
    const SET_SECCOMP: c_int = 22;
    const SET_NO_NEW_PRIVS: c_int = 38;
    let failed = |n| n < 0;
    match (option, mode) {
        (SET_SECCOMP, SECCOMP_STRICT) => enter(&Entering::Strict, failed, real),
        (SET_SECCOMP, SECCOMP_FILTER) => enter(&filter(program, false), failed, real),
        (SET_NO_NEW_PRIVS, _) => {
            before_losing();
            real()
        }
        _ => real(),
    }
}

/// seccomp(2), which libc has no name for.
pub fn seccomp(operation: usize, flags: usize, program: usize, real: impl Fn() -> isize) -> isize {
    const SET_MODE_STRICT: usize = 0;
    const SET_MODE_FILTER: usize = 1;
    const TSYNC: usize = 1;
    const NEW_LISTENER: usize = 8;
    match operation {
        SET_MODE_STRICT if flags == 0 && program == 0 => enter(&Entering::Strict, |n| n < 0, real),
        SET_MODE_FILTER => {
            let listens = flags & NEW_LISTENER != 0;
            // Without a listener a number above 0 is a thread that couldn't be bound.
            let failed = |n: isize| n < 0 || (n > 0 && !listens);
            let result = enter(&filter(program, flags & TSYNC != 0), failed, real);
            if listens && result >= 0 {
                protocol::numbers::made_other(result as c_int);
            }
            result
        }
        _ => real(),
    }
}

/// The numbers of calls after which files can't be opened any more that could be before.
pub fn takes_rights(number: c_long) -> bool {
    const LANDLOCK_RESTRICT_SELF: c_long = 446;
    matches!(
        number,
        libc::SYS_setuid
            | libc::SYS_setgid
            | libc::SYS_setreuid
            | libc::SYS_setregid
            | libc::SYS_setresuid
            | libc::SYS_setresgid
            | libc::SYS_setfsuid
            | libc::SYS_setfsgid
            | libc::SYS_setgroups
            | libc::SYS_capset
            | libc::SYS_chroot
            | libc::SYS_pivot_root
            | libc::SYS_umount2
            | libc::SYS_unshare
            | libc::SYS_setns
            | LANDLOCK_RESTRICT_SELF
    )
}

family! { prctl => (option: c_int, a: c_ulong, b: c_ulong, c: c_ulong, d: c_ulong) -> c_int, |real| {
    control(option, a as usize, b as usize, || real(option, a, b, c, d) as isize) as c_int
}}

family! { setuid, seteuid, setfsuid => (id: uid_t) -> c_int, |real| {
    before_losing();
    real(id)
}}
family! { setgid, setegid, setfsgid => (id: gid_t) -> c_int, |real| {
    before_losing();
    real(id)
}}
family! { setreuid, setregid => (id: uid_t, effective: uid_t) -> c_int, |real| {
    before_losing();
    real(id, effective)
}}
family! { setresuid, setresgid => (id: uid_t, effective: uid_t, saved: uid_t) -> c_int, |real| {
    before_losing();
    real(id, effective, saved)
}}
family! { setgroups => (count: size_t, list: *const gid_t) -> c_int, |real| {
    before_losing();
    real(count, list)
}}
family! { initgroups => (user: *const c_char, group: gid_t) -> c_int, |real| {
    before_losing();
    real(user, group)
}}
family! { capset => (head: *mut c_void, data: *const c_void) -> c_int, |real| {
    before_losing();
    real(head, data)
}}
family! { chroot, umount => (path: *const c_char) -> c_int, |real| {
    before_losing();
    real(path)
}}
family! { umount2 => (path: *const c_char, flags: c_int) -> c_int, |real| {
    before_losing();
    real(path, flags)
}}
family! { unshare => (flags: c_int) -> c_int, |real| {
    before_losing();
    if flags & libc::CLONE_FILES != 0 {
        protocol::numbers::unsharing();
    }
    real(flags)
}}
family! { setns => (fd: c_int, kind: c_int) -> c_int, |real| {
    before_losing();
    real(fd, kind)
}}

resolve_all!(
    prctl, setuid, seteuid, setfsuid, setgid, setegid, setfsgid, setreuid, setregid, setresuid,
    setresgid, setgroups, initgroups, capset, chroot, umount, umount2, unshare, setns,
);
