//! What keeps a library that is preloaded out of a program, or leaves it blind there; and what to do about it.

use core::ffi::c_int;
use core::fmt;

use crate::errors;
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
    /// Whether a supervisor, which needs nothing in the program, can fence it all the same.
    pub fn keeps_only_preloads_out(&self) -> bool {
        matches!(self, Obstacle::Static | Obstacle::Loader(_) | Obstacle::Go)
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Obstacle::Abi(_) => errors::OTHER_ARCHITECTURE.todo,
            Obstacle::Static => errors::STATIC.todo,
            Obstacle::Loader(_) => errors::OTHER_LOADER.todo,
            Obstacle::Privilege(Privilege::Caller) => {
                "give up the other user or group for good (setresuid, setresgid) before it is started"
            }
            Obstacle::Privilege(_) => errors::PRIVILEGED.todo,
            Obstacle::Go => {
                "keep it away from files that are used directly; or link it with C (cgo) and write coverage = \"syscalls\" into the policy (x86-64)"
            }
        }
    }
}

impl fmt::Display for Obstacle<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::Abi(abi) => errors::OTHER_ARCHITECTURE.what(&[abi, &Abi::OWN]).fmt(out),
            Obstacle::Static => errors::STATIC.what(&[]).fmt(out),
            Obstacle::Loader(name) => {
                let name = name.escape_ascii();
                errors::OTHER_LOADER.what(&[&name]).fmt(out)
            }
            Obstacle::Privilege(privilege) => errors::PRIVILEGED.what(&[privilege]).fmt(out),
            Obstacle::Go => out
                .write_str("it is a Go program, which makes system calls of its own, without libc"),
        }
    }
}
