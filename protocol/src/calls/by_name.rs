//! Files that a call names by a path.

use core::ffi::c_char;

use policy::{Mode, Settings};

use crate::what::names::ask;
use crate::what::{hands, own};
use crate::who::process;

/// What the policy says of the file that a path leads to; None: it is not fenced. `path` is the program's pointer.
pub fn ask_by_path(dir: i32, path: *const c_char) -> Option<Settings> {
    said_by_path(dir, path).filter(|_| process::enters_table())
}

/// Where it depends on the name, the file is opened to look at it only. No lease is broken by that, nobody is told of
/// it, and closing it drops no POSIX lock.
fn said_by_path(dir: i32, path: *const c_char) -> Option<Settings> {
    let policy = process::policy()?;
    if let Some(settings) = policy.for_all() {
        return Some(*settings).filter(|s| s.mode != Mode::Off);
    }
    let fd = open_to_look(dir, path);
    let Ok(stat) = kernel::fstat(fd) else {
        // No number is free. Rather one that is fenced for nothing.
        return policy.first_fenced().copied();
    };
    let said = ask(fd, &stat);
    said.look_for_others(fd);
    own::close_looked_at(fd);
    said.settings
}

fn open_to_look(dir: i32, path: *const c_char) -> i32 {
    let fd = kernel::open_path(dir, path);
    let full = fd == -(libc::EMFILE as isize) && hands::shed();
    (if full {
        kernel::open_path(dir, path)
    } else {
        fd
    }) as i32
}
