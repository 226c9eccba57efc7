//! The next program: whether the library comes into it and sees what it does. If not, that is said before it runs, once for
//! a program; or, where the policy says so, it isn't started at all: exec fails with EACCES, as it does for a file that may
//! not be executed. (ENOEXEC would make shells and `execvp` read it as a script.)
//!
//! The file is asked in the way in which exec itself will ask it: a look at its name, an open, a read of its start, and
//! what it gains. All of it happens in a job, with room of its own, also in a vfork child: what is written there of the
//! parent's memory is what was told, and the parent stands still.

use core::ffi::{CStr, c_char, c_int};

use kernel::errors;
use kernel::obstacle::{Obstacle, obstacle};
use kernel::privilege::{self, Privilege};
use kernel::program::{self, MOST_INTERPRETERS};
use kernel::text::Text;
use lock_table::FileId;
use policy::Policy;

use crate::life::fork;
use crate::life::variables::{self, List};
use crate::tell::events::{self, Event, Kind};
use crate::tell::told::{Mark, Once, first_among_children, first_time};
use crate::tell::trace;
use crate::who::process::{self, Standing};
use crate::who::scratch;

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

/// The flags of `execveat` with which it starts a program.
const STARTING: c_int = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW;

/// What a call says whose program is refused.
pub const REFUSED: c_int = libc::EACCES;

/// Before the program is started with that environment: whether it is not to be.
pub fn is_refused(program: Program, environment: List) -> bool {
    // With a trace on it becomes a process of its own first, with a ring of its own.
    if fork::has_made_no_call() && !trace::is_on() {
        return scratch::roomy(|| look(program, environment));
    }
    match process::standing() {
        Standing::Fenced | Standing::VforkChild => scratch::roomy(|| look(program, environment)),
        _ => false,
    }
}

/// A file of which it is asked, open: given up at the end.
struct Open {
    fd: c_int,
    /// Its bytes can't be read, and it may be run all the same.
    blind: bool,
    /// A number leads to it that is closed at exec: an interpreter couldn't open it any more.
    vanishes: bool,
    facts: libc::stat,
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

    fn of(program: Program) -> Option<Open> {
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
                    bytes if bytes.contains(&b'/') => Open::of(Program::named(name.as_ptr())),
                    bytes => search(bytes),
                }
            }
        }
    }

    /// What runs it, if it is a script.
    fn interpreter(&self) -> Option<Open> {
        let mut start = [0; program::LINE_MAX];
        let length = program::read(self.fd, 0, &mut start);
        let (path, _) = program::interpreter(start.get(..length)?)?;
        let path = terminated(&[path])?;
        Open::of(Program::named(path.as_c_str().as_ptr()))
    }

    fn id(&self) -> FileId {
        FileId {
            dev: self.facts.st_dev,
            ino: self.facts.st_ino,
        }
    }
}

fn starts_with(path: *const c_char, byte: u8) -> bool {
    let mut first = [0u8];
    kernel::copy_from_program(path.cast(), &mut first).is_ok() && first == [byte]
}

/// Bytes as a C string; None: they don't fit.
fn terminated(parts: &[&[u8]]) -> Option<Path> {
    let mut path = Path([0; 4096]);
    let mut at = 0;
    for part in parts {
        path.0.get_mut(at..at + part.len())?.copy_from_slice(part);
        at += part.len();
    }
    path.0.get(at).map(|_| ())?;
    Some(path)
}

struct Path([u8; 4096]);

impl Path {
    fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or(c"")
    }
}

/// As `execvp` does it: the first that may be run.
fn search(name: &[u8]) -> Option<Open> {
    let path = variables::now(c"PATH").map_or(&b"/bin:/usr/bin"[..], CStr::to_bytes);
    path.split(|byte| *byte == b':').find_map(|directory| {
        let slash: &[u8] = if directory.is_empty() { b"" } else { b"/" };
        let path = terminated(&[directory, slash, name])?;
        let found = Open::of(Program::named(path.as_c_str().as_ptr()));
        found.filter(|open| privilege::may_execute(open.fd))
    })
}

/// In a job.
fn look(program: Program, environment: List) -> bool {
    let Some(first) = Open::of(program) else {
        return false;
    };
    let mut next: Option<Open> = None;
    for _ in 0..=MOST_INTERPRETERS {
        let last = next.as_ref().unwrap_or(&first);
        match judge(last, |why| meet(&[&first, last], last, why)) {
            Judged::Obstacle(refused) => return refused,
            Judged::Fine => break,
            Judged::NoElf if last.vanishes => return false,
            Judged::NoElf => match last.interpreter() {
                Some(interpreter) => next = Some(interpreter),
                None => return false, // the kernel knows what to do with it, or says that it doesn't
            },
        }
    }
    let last = next.as_ref().unwrap_or(&first);
    match variables::preload(environment) {
        Some(why) => meet(&[&first, last], &first, &Why::Environment(why)),
        None => false,
    }
}

enum Judged {
    /// Whether it is not to be started.
    Obstacle(bool),
    Fine,
    NoElf,
}

/// Apart: a program's head takes room.
#[inline(never)]
fn judge(open: &Open, met: impl FnOnce(&Why) -> bool) -> Judged {
    if open.blind {
        let gained = privilege::privilege(open.fd, &open.facts);
        return gained.map_or(Judged::Fine, |privilege| {
            Judged::Obstacle(met(&Why::Obstacle(Obstacle::Privilege(privilege))))
        });
    }
    match program::elf(open.fd) {
        Ok(Some(elf)) => {
            let mut name = [0; 256];
            // glibc's loader is known by its name: nothing else without one of its own may be.
            let path = match elf.loader() {
                None => kernel::path_of(open.fd, &mut name),
                Some(_) => &[],
            };
            let covers = process::policy().is_some_and(Policy::covers_own_calls);
            match obstacle(open.fd, &open.facts, &elf, path, covers) {
                Some(obstacle) => Judged::Obstacle(met(&Why::Obstacle(obstacle))),
                None => Judged::Fine,
            }
        }
        Ok(None) => Judged::NoElf,
        // The kernel says so.
        Err(_) => Judged::Obstacle(false),
    }
}

enum Why<'a> {
    Obstacle(Obstacle<'a>),
    Environment(variables::Missing),
}

impl Why<'_> {
    fn number(&self) -> u8 {
        match self {
            Why::Obstacle(Obstacle::Abi(_)) => 1,
            Why::Obstacle(Obstacle::Static) => 2,
            Why::Obstacle(Obstacle::Loader(_)) => 3,
            Why::Obstacle(Obstacle::Privilege(Privilege::Caller)) => 4,
            Why::Obstacle(Obstacle::Privilege(_)) => 5,
            Why::Obstacle(Obstacle::Go) => 6,
            Why::Environment(_) => 7,
        }
    }

    fn reason(&self) -> Text<400> {
        match self {
            Why::Obstacle(obstacle) => Text::of(format_args!("{obstacle}")),
            Why::Environment(missing) => Text::of(format_args!("{}", missing.reason())),
        }
    }

    fn hint(&self) -> &'static str {
        match self {
            Why::Obstacle(obstacle) => obstacle.hint(),
            Why::Environment(missing) => missing.hint(),
        }
    }
}

/// Something stands in the way: whether these are not to be started, which is said if the kernel would start them.
#[cold]
#[inline(never)]
fn meet(started: &[&Open; 2], at: &Open, why: &Why) -> bool {
    let starts = |fd| privilege::may_execute(fd) && !privilege::is_being_written(fd);
    if !started.iter().all(|open| starts(open.fd)) {
        return false;
    }
    let refused = process::refuses_uncovered();
    let id = at.id();
    let mark = Mark::NOTHING
        .and(&id.dev.to_ne_bytes())
        .and(&id.ino.to_ne_bytes())
        .and(&[why.number()]);
    if first_among_children(mark) {
        let reason = why.reason();
        events::emit(&Event {
            fd: at.fd,
            reason: reason.as_str(),
            done: match why {
                _ if refused => "not started (EACCES)",
                Why::Obstacle(Obstacle::Go) => "started; only its calls of libc are fenced",
                _ => "started, and not fenced",
            },
            hint: why.hint(),
            ..Event::about(Kind::Uncovered, Some(id))
        });
    }
    refused
}

/// A library is to be loaded into a namespace of its own, with a libc of its own, which has none of our hooks. Whether it
/// is not to be.
pub fn is_namespace_refused(namespace: libc::c_long) -> bool {
    let own = namespace == 0;
    if own || process::standing() != Standing::Fenced {
        return false;
    }
    let refused = process::refuses_uncovered();
    if first_time(Once::Namespace) {
        events::emit(&Event {
            done: if refused {
                "not loaded"
            } else {
                "passed through"
            },
            ..Event::of(None, &errors::NAMESPACE)
        });
    }
    refused
}
