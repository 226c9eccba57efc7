//! What exec and its kin are asked to start, and what they do start: that, or the launcher of a supervisor in its place.

use core::ffi::{c_char, c_int};

/// A null-terminated list of C strings.
pub type List = *const *const c_char;

/// What exec and its kin say of the program that they are to start.
#[derive(Clone, Copy)]
pub enum Program {
    /// From a directory, with the flags of `execveat`.
    At(c_int, *const c_char, c_int),
    Number(c_int),
    /// Looked for in PATH if it has no slash.
    Searched(*const c_char),
}

impl Program {
    pub fn named(path: *const c_char) -> Program {
        Program::At(libc::AT_FDCWD, path, 0)
    }

    /// What `system` and `popen` start.
    pub fn shell() -> Program {
        Program::named(c"/bin/sh".as_ptr())
    }
}

/// Which programs get a supervisor, as the user says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    Never,
    /// Those that no preload can enter.
    Auto,
    Always,
}

impl Which {
    pub fn of(word: Option<&str>) -> Which {
        match word {
            Some("never") => Which::Never,
            Some("always") => Which::Always,
            _ => Which::Auto,
        }
    }
}

/// With which lists. Another program's arguments and path are another program's.
#[derive(Clone, Copy)]
pub struct Start {
    /// What is started instead of the program that was asked for, by its path from the root.
    pub launcher: Option<*const c_char>,
    pub arguments: List,
    pub environment: List,
}

impl Start {
    /// The path to give to a call that was given this one.
    pub fn path(&self, given: *const c_char) -> *const c_char {
        self.launcher.unwrap_or(given)
    }
}
