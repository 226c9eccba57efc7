//! Exec and spawn: the new program stays fenced, and keeps the POSIX locks that it would have kept.

use core::ffi::{CStr, c_int};
use core::fmt::Write;

use kernel::text::Line;
use lock_table::FileId;

use crate::life::fork;
use crate::life::launch::{self, Asked};
use crate::life::next::{self, Next};
use crate::life::room;
use crate::life::started::{List, Program, Start};
use crate::life::variables::{self, Extra, text, variable, with_ours};
use crate::what::file::POSIX_LOCKED;
use crate::what::kept;
use crate::what::state::{KEPT as PLACES, Kept};
use crate::what::{changes, files, identity, seconds};
use crate::who::process::active;
use crate::who::registry;

/// Files on which the process held POSIX locks when it became this program, until they are met again:
/// "FD:DEV:INO,...". FD is a second descriptor that was kept open for their sake, or -1.
const KEPT: &CStr = c"PAGEFENCE_KEPT";

/// In the constructor.
pub fn take_kept_descriptors() {
    let places = text(KEPT).unwrap_or("").split(',').filter_map(parse);
    for (kept, (fd, id)) in kept::list().iter().zip(places) {
        // Another program in between may have used the number for something else.
        let ours =
            fd >= 0 && kernel::fstat(fd).ok().as_ref().and_then(identity::identity) == Some(id);
        if ours {
            kernel::set_close_on_exec(fd, true);
            changes::claim(fd);
        }
        kept.put(if ours { fd } else { -1 }, id);
    }
    // SAFETY: in the constructor, before the program runs.
    unsafe { libc::unsetenv(KEPT.as_ptr()) };
}

fn parse(entry: &str) -> Option<(i32, FileId)> {
    let mut parts = entry.split(':');
    let fd = parts.next()?.parse().ok()?;
    let dev = parts.next()?.parse().ok()?;
    let ino = parts.next()?.parse().ok()?;
    Some((fd, FileId { dev, ino }))
}

/// posix_spawn: a child that becomes this program, with this environment.
#[inline(never)]
pub fn spawn(
    program: Program,
    arguments: List,
    given: List,
    real: impl FnOnce(&Start) -> c_int,
) -> c_int {
    fork::sharing();
    let asked = asked(program, Some(arguments));
    if !variables::is_readable(given) {
        return fork::making(|| real(&as_asked(arguments, given)));
    }
    fork::making(|| {
        with_ours(given, None, |list| {
            started(&asked, arguments, list, real).unwrap_or(next::REFUSED)
        })
    })
}

/// `system` and `popen`, with the program's own environment. None: the shell is not to be started, and errno says so.
pub fn shell<R>(environment: List, real: impl FnOnce() -> R) -> Option<R> {
    fork::sharing();
    let asked = asked(Program::shell(), None);
    if variables::is_readable(environment) && matches!(next::of(&asked, environment), Next::Refused)
    {
        kernel::set_errno(next::REFUSED);
        return None;
    }
    Some(real())
}

fn asked(program: Program, arguments: Option<List>) -> Asked {
    Asked {
        program,
        arguments,
        stack: room::stack_here(),
    }
}

fn as_asked(arguments: List, environment: List) -> Start {
    Start {
        launcher: None,
        arguments,
        environment,
    }
}

/// None: it is not to be started.
#[inline(always)]
fn started(
    asked: &Asked,
    arguments: List,
    environment: List,
    real: impl FnOnce(&Start) -> c_int,
) -> Option<c_int> {
    match next::of(asked, environment) {
        Next::AsAsked => Some(real(&as_asked(arguments, environment))),
        Next::Launched(launch) => Some(launch.start(environment, real)),
        Next::Refused => None,
    }
}

/// The exec family: this process becomes another program; returns only if that failed.
#[inline(never)]
pub fn exec(
    program: Program,
    arguments: List,
    given: List,
    real: impl FnOnce(&Start) -> c_int,
) -> c_int {
    if !variables::is_readable(given) {
        return fork::making(|| real(&as_asked(arguments, given)));
    }
    let asked = asked(program, Some(arguments));
    let real = |list| {
        started(&asked, arguments, list, real).unwrap_or_else(|| {
            kernel::set_errno(next::REFUSED);
            -1
        })
    };
    // Our second descriptors close at exec, and with them would go the POSIX locks on their files.
    let mut any = false;
    // A child that has used nothing yet holds no locks.
    if !fork::has_made_no_call() && active().is_some() {
        each_to_keep(&mut |_, _| any = true);
    }
    if !any {
        return fork::making(|| with_ours(given, None, real));
    }
    // Under the registry lock they stay ours.
    let close_on_exec = |on: bool| {
        let _registry = registry::lock();
        each_to_keep(&mut |fd, _| {
            if fd >= 0 {
                kernel::set_close_on_exec(fd, on);
            }
        });
    };
    close_on_exec(false);
    let extra = Extra {
        room: KEPT_ROOM,
        write: &write_kept,
    };
    let result = fork::making(|| with_ours(given, Some(&extra), real));
    let errno = kernel::errno();
    close_on_exec(true);
    kernel::set_errno(errno);
    result
}

/// The most that the variable takes: its name, and three numbers for each place.
const KEPT_ROOM: usize = 64 + PLACES * 64;

fn write_kept(to: &mut [u8]) {
    let mut text = Line::new(to);
    let _ = text.write_str(KEPT.to_str().unwrap_or(""));
    let mut separator = '=';
    each_to_keep(&mut |fd, id| {
        let _ = write!(text, "{separator}{fd}:{}:{}", id.dev, id.ino);
        separator = ',';
    });
    text.end();
}

/// Files with POSIX locks, and the descriptors of ours that must not close (-1: there is none). At most
/// what fits the variable.
fn each_to_keep(act: &mut dyn FnMut(i32, FileId)) {
    let mut left = PLACES;
    let mut act = |fd, id| {
        if left > 0 {
            left -= 1;
            act(fd, id);
        }
    };
    for (_, file) in files::all().filter(|(_, f)| f.has(POSIX_LOCKED)) {
        let mut none = true;
        for fd in seconds::numbers(file) {
            none = false;
            act(fd, file.id());
        }
        if none {
            act(-1, file.id());
        }
    }
    for (fd, id) in kept::list().iter().filter_map(Kept::get) {
        act(fd, id);
    }
}

/// Our variables as they were, for programs that exec with an environment of their own making.
pub fn remember_environment(keep: bool) {
    variables::remember(keep, KEPT);
    launch::know(text(c"PAGEFENCE_SUPERVISE"), variable(c"PAGEFENCE_COMMAND"));
}
