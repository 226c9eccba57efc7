//! A file that exec and its kin are asked to start, open: found in the way in which exec itself will find it.

use core::ffi::{CStr, c_char, c_int};

use kernel::privilege;
use kernel::program;
use lock_table::FileId;

use crate::life::started::Program;
use crate::life::variables;

/// The flags of `execveat` with which it starts a program.
const STARTING: c_int = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW;

/// Given up at the end.
pub struct Open {
    pub fd: c_int,
    /// Its bytes can't be read, and it may be run all the same.
    pub blind: bool,
    /// A number leads to it that is closed at exec: an interpreter couldn't open it any more.
    pub vanishes: bool,
    pub facts: libc::stat,
}

impl Drop for Open {
    fn drop(&mut self) {
        kernel::close(self.fd);
    }
}

impl Open {
    fn at(dir: c_int, path: *const c_char, flags: c_int) -> Option<Open> {
        let links = flags & libc::AT_SYMLINK_NOFOLLOW;
        let facts = privilege::facts_at(dir, path, links | flags & libc::AT_EMPTY_PATH)?;
        // Whatever else it is, to open it could do something.
        if facts.st_mode & libc::S_IFMT != libc::S_IFREG || facts.st_mode & 0o111 == 0 {
            return None;
        }
        let no_link = if links == 0 { 0 } else { libc::O_NOFOLLOW };
        let quietly = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY | no_link;
        let empty = flags & libc::AT_EMPTY_PATH != 0 && starts_with(path, 0);
        let number = kernel::number_path(dir);
        let vanishes = dir >= 0 && !starts_with(path, b'/') && kernel::is_close_on_exec(dir);
        let (dir, path) = match empty {
            true => (libc::AT_FDCWD, number.as_c_str().as_ptr()),
            false => (dir, path),
        };
        let mut fd = kernel::open_at(dir, path, quietly) as c_int;
        let blind = fd == -libc::EACCES;
        if blind {
            fd = kernel::open_at(dir, path, libc::O_PATH | no_link) as c_int;
        }
        let facts = privilege::facts(fd).filter(|_| fd >= 0);
        if fd >= 0 && facts.is_none() {
            kernel::close(fd);
        }
        facts.map(|facts| Open {
            fd,
            blind,
            vanishes,
            facts,
        })
    }

    /// `found`: where it is found, if it is looked for.
    pub fn of(program: Program, found: &mut Path) -> Option<Open> {
        match program {
            // Refused, or only a question (AT_EXECVE_CHECK): nothing is started.
            Program::At(_, _, flags) if flags & !STARTING != 0 => None,
            Program::At(dir, path, flags) => Open::at(dir, path, flags),
            Program::Number(fd) => Open::at(fd, c"".as_ptr(), libc::AT_EMPTY_PATH),
            Program::Searched(name) => {
                // SAFETY: libc reads it to its end as well, before it asks the kernel for anything.
                let name = unsafe { CStr::from_ptr(name) };
                match name.to_bytes() {
                    [] => None,
                    bytes if bytes.contains(&b'/') => Open::at(libc::AT_FDCWD, name.as_ptr(), 0),
                    bytes => search(bytes, found),
                }
            }
        }
    }

    /// The same by a path that stands there.
    pub fn named(path: &Path) -> Option<Open> {
        Open::at(libc::AT_FDCWD, path.as_c_str().as_ptr(), 0)
    }

    /// What runs it, if it is a script.
    pub fn interpreter(&self) -> Option<Open> {
        let mut start = [0; program::LINE_MAX];
        let length = program::read(self.fd, 0, &mut start);
        let (path, _) = program::interpreter(start.get(..length)?)?;
        let mut room = Path::default();
        room.set(&[path])?;
        Open::named(&room)
    }

    pub fn may_execute(&self) -> bool {
        privilege::may_execute(self.fd)
    }

    pub fn id(&self) -> FileId {
        FileId {
            dev: self.facts.st_dev,
            ino: self.facts.st_ino,
        }
    }
}

pub fn starts_with(path: *const c_char, byte: u8) -> bool {
    let mut first = [0u8];
    kernel::copy_from_program(path.cast(), &mut first).is_ok() && first == [byte]
}

/// A path, terminated.
pub struct Path([u8; Path::ROOM]);

impl Path {
    pub const ROOM: usize = 4096;

    /// Made of these parts. None: they don't fit.
    pub fn set(&mut self, parts: &[&[u8]]) -> Option<()> {
        let mut at = 0;
        for part in parts {
            self.0.get_mut(at..at + part.len())?.copy_from_slice(part);
            at += part.len();
        }
        *self.0.get_mut(at)? = 0;
        Some(())
    }

    pub fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or(c"")
    }
}

impl Default for Path {
    fn default() -> Path {
        Path([0; Path::ROOM])
    }
}

/// As `execvp` does it: the first that may be run.
fn search(name: &[u8], found: &mut Path) -> Option<Open> {
    let path = variables::now(c"PATH").map_or(&b"/bin:/usr/bin"[..], CStr::to_bytes);
    path.split(|byte| *byte == b':').find_map(|directory| {
        let slash: &[u8] = if directory.is_empty() { b"" } else { b"/" };
        found.set(&[directory, slash, name])?;
        Open::named(found).filter(Open::may_execute)
    })
}
