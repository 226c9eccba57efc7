//! The calls by which a program gives up rights: what its files will need later is got before (`protocol::life::rights`), and a
//! sandbox is asked what it leaves us (`protocol::life::sandbox`).

use crate::doors::rights::{control, limiting, losing, seccomp, unsharing};
use crate::doors::symbol::Libc;
use crate::table::calls;
use core::ffi::{c_char, c_int, c_long, c_uint, c_ulong, c_void};
use libc::{RLIMIT_FSIZE, gid_t, pid_t, rlimit, rlimit64, size_t, uid_t};

calls! { Libc "Giving up rights" {
"does many things with a process: a sandbox, no new rights": variadic [prctl] = SYS_prctl
    fn(option: c_int, a: c_ulong, b: c_ulong, c: c_ulong, d: c_ulong) -> c_int, |real| {
    control(option, a as usize, b as usize, || real(option, a, b, c, d) as isize) as c_int
}
"enters a sandbox": = SYS_seccomp
    fn(operation: c_uint, flags: c_uint, program: usize) -> c_int, |real| {
    seccomp(operation, flags, program, || real(operation, flags, program) as isize) as c_int
}
"enters a sandbox for files": = SYS_landlock_restrict_self
    fn(rules: c_int, flags: c_uint) -> c_int, |real| { losing(|| real(rules, flags)) }

"becomes another user": [setuid] = SYS_setuid
    fn(id: uid_t) -> c_int, |real| { losing(|| real(id)) }
"acts as another user": [seteuid]
    fn(id: uid_t) -> c_int, |real| { losing(|| real(id)) }
"uses files as another user": [setfsuid] = SYS_setfsuid
    fn(id: uid_t) -> c_int, |real| { losing(|| real(id)) }
"becomes another group": [setgid] = SYS_setgid
    fn(id: gid_t) -> c_int, |real| { losing(|| real(id)) }
"acts as another group": [setegid]
    fn(id: gid_t) -> c_int, |real| { losing(|| real(id)) }
"uses files as another group": [setfsgid] = SYS_setfsgid
    fn(id: gid_t) -> c_int, |real| { losing(|| real(id)) }
"becomes or acts as another user": [setreuid] = SYS_setreuid
    fn(id: uid_t, effective: uid_t) -> c_int, |real| { losing(|| real(id, effective)) }
"becomes or acts as another group": [setregid] = SYS_setregid
    fn(id: gid_t, effective: gid_t) -> c_int, |real| { losing(|| real(id, effective)) }
"becomes, acts as or gives up another user": [setresuid] = SYS_setresuid
    fn(id: uid_t, effective: uid_t, saved: uid_t) -> c_int, |real| { losing(|| real(id, effective, saved)) }
"becomes, acts as or gives up another group": [setresgid] = SYS_setresgid
    fn(id: gid_t, effective: gid_t, saved: gid_t) -> c_int, |real| { losing(|| real(id, effective, saved)) }
"changes the further groups": [setgroups] = SYS_setgroups
    fn(count: size_t, list: *const gid_t) -> c_int, |real| { losing(|| real(count, list)) }
"changes the further groups to a user's": [initgroups]
    fn(user: *const c_char, group: gid_t) -> c_int, |real| { losing(|| real(user, group)) }
"gives up capabilities": unlisted [capset] = SYS_capset
    fn(head: *mut c_void, data: *const c_void) -> c_int, |real| { losing(|| real(head, data)) }

"limits what it may have": [setrlimit] = SYS_setrlimit
    fn(resource: c_uint, limit: *const rlimit) -> c_int, |real| {
    limiting(resource, !limit.is_null());
    real(resource, limit)
}
"limits what it may have, in 64 bits": [setrlimit64]
    fn(resource: c_uint, limit: *const rlimit64) -> c_int, |real| {
    limiting(resource, !limit.is_null());
    real(resource, limit)
}
"limits what a process may have": [prlimit] = SYS_prlimit64
    fn(process: pid_t, resource: c_uint, limit: *const rlimit, old: *mut rlimit) -> c_int, |real| {
    limiting(resource, !limit.is_null());
    real(process, resource, limit, old)
}
"limits what a process may have, in 64 bits": [prlimit64]
    fn(process: pid_t, resource: c_uint, limit: *const rlimit64, old: *mut rlimit64) -> c_int, |real| {
    limiting(resource, !limit.is_null());
    real(process, resource, limit, old)
}
"limits how long a file may become, or asks for that": unlisted [ulimit]
    fn(what: c_int, limit: c_long) -> c_long, |real| {
    limiting(RLIMIT_FSIZE, true);
    real(what, limit)
}
"limits what it may have, as BSD's programs did": unlisted [vlimit]
    fn(resource: c_int, limit: c_int) -> c_int, |real| {
    limiting(RLIMIT_FSIZE, true);
    real(resource, limit)
}

"takes another root": [chroot] = SYS_chroot
    fn(path: *const c_char) -> c_int, |real| { losing(|| real(path)) }
"mounts another root": unlisted [pivot_root] = SYS_pivot_root
    fn(root: *const c_char, old: *const c_char) -> c_int, |real| { losing(|| real(root, old)) }
"takes a mount away": [umount]
    fn(path: *const c_char) -> c_int, |real| { losing(|| real(path)) }
"takes a mount away, with flags": [umount2] = SYS_umount2
    fn(path: *const c_char, flags: c_int) -> c_int, |real| { losing(|| real(path, flags)) }
"leaves what is shared": [unshare] = SYS_unshare
    fn(flags: c_int) -> c_int, |real| { unsharing(flags, || real(flags)) }
"enters a namespace": [setns] = SYS_setns
    fn(fd: c_int, kind: c_int) -> c_int, |real| { losing(|| real(fd, kind)) }
}}
