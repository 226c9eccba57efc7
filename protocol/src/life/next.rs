//! The next program: whether the library comes into it and sees what it does. If not, that is said before it runs, once for
//! a program; or, where the policy says so, it isn't started at all: exec fails with EACCES, as it does for a file that may
//! not be executed. (ENOEXEC would make shells and `execvp` read it as a script.) Where a supervisor can do what the library
//! can't, its launcher is started instead (see `launch`).
//!
//! The file is asked in the way in which exec itself will ask it: a look at its name, an open, a read of its start, and
//! what it gains. All of it happens in a job, with room of its own, also in a vfork child: what is written there of the
//! parent's memory is what was told, and the parent stands still.

use core::ffi::c_int;

use kernel::errors;
use kernel::obstacle::{Obstacle, obstacle};
use kernel::privilege::{self, Privilege};
use kernel::program::{self, MOST_INTERPRETERS};
use kernel::supervised;
use kernel::text::Text;
use policy::Policy;

use crate::life::fork;
use crate::life::launch::{self, Asked, Launch};
use crate::life::opened::{Open, Path};
use crate::life::started::{List, Which};
use crate::life::variables;
use crate::tell::events::{self, Event, Kind};
use crate::tell::told::{Mark, Once, first_among_children, first_time};
use crate::tell::trace;
use crate::who::process::{self, Standing};
use crate::who::scratch;

/// What a call says whose program is refused.
pub const REFUSED: c_int = libc::EACCES;

/// What becomes of it.
pub enum Next {
    AsAsked,
    /// It is not to be started.
    Refused,
    /// The launcher of a supervisor is.
    Launched(Launch),
}

/// Before the program is started with that environment.
pub fn of(asked: &Asked, environment: List) -> Next {
    // With a trace on it becomes a process of its own first, with a ring of its own.
    if fork::has_made_no_call() && !trace::is_on() {
        return scratch::roomy(|| look(asked, environment));
    }
    match process::standing() {
        Standing::Fenced | Standing::VforkChild => scratch::roomy(|| look(asked, environment)),
        _ => Next::AsAsked,
    }
}

/// In a job.
fn look(asked: &Asked, environment: List) -> Next {
    let mut found = Path::default();
    let Some(first) = Open::of(asked.program, &mut found) else {
        return Next::AsAsked;
    };
    let mut next: Option<Open> = None;
    let launch = || launch::prepare(asked, &found).filter(|_| !first.vanishes);
    for _ in 0..=MOST_INTERPRETERS {
        let last = next.as_ref().unwrap_or(&first);
        match judge(last, |why| meet(&[&first, last], last, why, launch)) {
            Judged::Obstacle(next) => return next,
            Judged::Fine => break,
            Judged::NoElf if last.vanishes => return Next::AsAsked,
            Judged::NoElf => match last.interpreter() {
                Some(interpreter) => next = Some(interpreter),
                // The kernel knows what to do with it, or says that it doesn't.
                None => return Next::AsAsked,
            },
        }
    }
    let last = next.as_ref().unwrap_or(&first);
    let starts = [&first, last];
    if launch::which() == Which::Always
        && start(&starts)
        && let Some(launch) = launch()
    {
        return Next::Launched(launch);
    }
    match variables::preload(environment) {
        Some(why) => meet(&starts, &first, &Why::Environment(why), || None),
        None => Next::AsAsked,
    }
}

enum Judged {
    Obstacle(Next),
    Fine,
    NoElf,
}

/// Apart: a program's head takes room.
#[inline(never)]
fn judge(open: &Open, met: impl FnOnce(&Why) -> Next) -> Judged {
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
        Err(_) => Judged::Obstacle(Next::AsAsked),
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

/// Whether the kernel would start these.
fn start(files: &[&Open; 2]) -> bool {
    let starts = |file: &&Open| file.may_execute() && !privilege::is_being_written(file.fd);
    files.iter().all(starts)
}

/// Something stands in the way: whether these are not to be started, which is said if the kernel would start them; or behind
/// a supervisor.
#[cold]
#[inline(never)]
fn meet(
    started: &[&Open; 2],
    at: &Open,
    why: &Why,
    launch: impl FnOnce() -> Option<Launch>,
) -> Next {
    if !start(started) {
        return Next::AsAsked;
    }
    if matches!(why, Why::Obstacle(obstacle) if launch::helps(obstacle)) {
        if supervised::is_supervised() {
            // Since this program started: it is the launcher itself.
            return Next::AsAsked;
        }
        if let Some(launch) = launch() {
            return Next::Launched(launch);
        }
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
    match refused {
        true => Next::Refused,
        false => Next::AsAsked,
    }
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
