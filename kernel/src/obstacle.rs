//! What keeps a library that is preloaded out of a program, or leaves it blind there; and what to do about it.

use core::ffi::c_int;
use core::fmt;

use crate::privilege::{self, Privilege};
use crate::program::{Abi, Elf, is_glibc_loader};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle<'a> {
    Abi(Abi),
    Static,
    Loader(&'a [u8]),
    Privilege(Privilege),
    Go,
}

/// Of a program that is open. `path` is what it is called by: glibc's loader, started as a program, preloads too.
/// `covers_own_calls`: the library sees system calls that are made without libc, too, by threads that libc has made.
pub fn obstacle<'a>(
    fd: c_int,
    facts: &libc::stat,
    elf: &'a Elf,
    path: &[u8],
    covers_own_calls: bool,
) -> Option<Obstacle<'a>> {
    if elf.abi != Abi::OWN {
        return Some(Obstacle::Abi(elf.abi));
    }
    match elf.loader() {
        None if !is_glibc_loader(path) => return Some(Obstacle::Static),
        Some(loader) if !is_glibc_loader(loader) => return Some(Obstacle::Loader(loader)),
        _ => {}
    }
    let gained = privilege::privilege(fd, facts).map(Obstacle::Privilege);
    let is_seen = !elf.is_go || covers_own_calls && elf.has_libraries;
    gained.or((!is_seen).then_some(Obstacle::Go))
}

impl Obstacle<'_> {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Obstacle::Abi(_) => "use a pagefence that is built for that architecture",
            Obstacle::Static => "use a dynamically linked build of it",
            Obstacle::Loader(_) => "use a build of it for glibc (musl's own is another)",
            Obstacle::Privilege(Privilege::Caller) => {
                "give up the other user or group for good (setresuid, setresgid) before it is started"
            }
            Obstacle::Privilege(_) => {
                "run it as the user that it would become, or use a copy without the privilege"
            }
            Obstacle::Go => {
                "keep it away from files that are used directly; or link it with C (cgo) and write coverage = \"syscalls\" into the policy (x86-64)"
            }
        }
    }
}

impl fmt::Display for Obstacle<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const IGNORED: &str = "the loader ignores LD_PRELOAD in such a program";
        match self {
            Obstacle::Abi(abi) => write!(out, "it is {abi}, and this pagefence is {}", Abi::OWN),
            Obstacle::Static => {
                out.write_str("it is static, so no library can be preloaded into it")
            }
            Obstacle::Loader(name) => {
                let name = name.escape_ascii();
                write!(out, "its loader is {name}, and the library needs glibc's")
            }
            Obstacle::Privilege(privilege) => write!(out, "{privilege}, and {IGNORED}"),
            Obstacle::Go => out
                .write_str("it is a Go program, which makes system calls of its own, without libc"),
        }
    }
}
