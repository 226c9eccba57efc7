//! Exec and spawn: the new program stays fenced, and keeps the POSIX locks that it would have kept.

use core::ffi::CStr;
use core::fmt::Write;
use core::sync::atomic::{AtomicI32, AtomicU64, Ordering::*};

use lock_table::FileId;

use crate::direct::second;
use crate::raw;
use crate::text::Line;
use crate::what::descriptors;
use crate::what::files::{self, POSIX_LOCKED};
use crate::what::own;
use crate::who::process::{active, text};
use crate::who::variables::{self, Extra, List, with_ours};
use crate::who::{fork, registry};

/// Files on which the process held POSIX locks when it became this program, until they are met again:
/// "FD:DEV:INO,...". FD is a second descriptor that was kept open for their sake, or -1.
const KEPT: &CStr = c"PAGEFENCE_KEPT";
static LIST: [Kept; 32] = [const { Kept::new() }; 32];

struct Kept {
    /// 0: an empty place; else the descriptor + 2.
    fd: AtomicI32,
    dev: AtomicU64,
    ino: AtomicU64,
}

impl Kept {
    const fn new() -> Kept {
        Kept {
            fd: AtomicI32::new(0),
            dev: AtomicU64::new(0),
            ino: AtomicU64::new(0),
        }
    }
    fn id(&self) -> FileId {
        FileId {
            dev: self.dev.load(Relaxed),
            ino: self.ino.load(Relaxed),
        }
    }
    fn get(&self) -> Option<(i32, FileId)> {
        let fd = self.fd.load(Acquire);
        (fd != 0).then(|| (fd - 2, self.id()))
    }
    fn take(&self) -> Option<i32> {
        match self.fd.swap(0, AcqRel) {
            0 => None,
            fd => Some(fd - 2),
        }
    }
}

/// What an earlier program of this process kept for this file: a descriptor, or -1.
pub fn kept_for(id: FileId) -> impl Iterator<Item = i32> {
    LIST.iter()
        .filter(move |kept| kept.get().is_some_and(|(_, of)| of == id))
        .filter_map(Kept::take)
}

/// In the constructor.
pub fn take_kept_descriptors() {
    let places = text(KEPT).unwrap_or("").split(',').filter_map(parse);
    for (kept, (fd, id)) in LIST.iter().zip(places) {
        // Another program in between may have used the number for something else.
        let ours =
            fd >= 0 && raw::fstat(fd).ok().as_ref().and_then(descriptors::identity) == Some(id);
        if ours {
            raw::set_close_on_exec(fd, true);
            own::claim(fd);
        }
        kept.dev.store(id.dev, Relaxed);
        kept.ino.store(id.ino, Relaxed);
        kept.fd.store(if ours { fd + 2 } else { 1 }, Release);
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

/// The program takes this number for itself; whether it was one that was kept. Under the registry lock.
pub fn surrender(fd: i32) -> bool {
    LIST.iter()
        .any(|kept| kept.fd.compare_exchange(fd + 2, 1, AcqRel, Acquire).is_ok())
}

/// In a forked child: its parent's locks are not its own.
pub fn close_kept_in_child() {
    for fd in LIST.iter().filter_map(Kept::take).filter(|fd| *fd >= 0) {
        raw::close(fd);
        own::disown(fd);
    }
}

/// posix_spawn: a child with this environment.
#[inline(never)]
pub fn spawn<R>(given: List, real: impl FnOnce(List) -> R) -> R {
    fork::sharing();
    fork::making(|| with_ours(given, None, real))
}

/// The exec family: this process becomes another program; returns only if that failed.
#[inline(never)]
pub fn exec<R>(given: List, real: impl FnOnce(List) -> R) -> R {
    // Our second descriptors close at exec, and with them would go the POSIX locks on their files.
    let mut any = false;
    if active().is_some() {
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
                raw::set_close_on_exec(fd, on);
            }
        });
    };
    close_on_exec(false);
    let extra = Extra {
        room: KEPT_ROOM,
        write: &write_kept,
    };
    let result = fork::making(|| with_ours(given, Some(&extra), real));
    let errno = raw::errno();
    close_on_exec(true);
    raw::set_errno(errno);
    result
}

/// The most that the variable takes: its name, and three numbers for each place.
const KEPT_ROOM: usize = 64 + LIST.len() * 64;

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
    let mut left = LIST.len();
    let mut act = |fd, id| {
        if left > 0 {
            left -= 1;
            act(fd, id);
        }
    };
    for (_, file) in files::all().filter(|(_, f)| f.has(POSIX_LOCKED)) {
        let mut none = true;
        for fd in second::numbers(file) {
            none = false;
            act(fd, file.id());
        }
        if none {
            act(-1, file.id());
        }
    }
    for (fd, id) in LIST.iter().filter_map(Kept::get) {
        act(fd, id);
    }
}

/// Our variables as they were, for programs that exec with an environment of their own making.
pub fn remember_environment(keep: bool) {
    variables::remember(keep, KEPT);
}
